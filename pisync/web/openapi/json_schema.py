"""marshmallow schemas as JSON Schema: adds what apispec can't know of our fields and rules."""

import re
from collections.abc import Mapping
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.field_converter import DEFAULT_FIELD_MAPPING
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields, validate

from pisync.model.fleet import MAX_DEVICES
from pisync.model.outcome import FAILURES, MESSAGE_LENGTH, SUCCESS
from pisync.model.parsing.fields import (
    DeviceIds,
    OneOf,
    SentTimestamp,
    Statuses,
    Text,
    Timestamp,
)
from pisync.model.parsing.profile import OutcomeSchema, ProfileSchema
from pisync.model.script import MAX_STEPS
from pisync.web.contract import (
    fleet_schemas,
    schemas,
)
from pisync.web.contract.fleet_schemas import (
    DeviceSpecSchema,
    FirstDataField,
    ScriptBody,
    StepSchema,
)
from pisync.web.contract.headers import DEVICE_ID

Json = dict[str, Any]

_TIMESTAMP: Json = {
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
    "examples": ["2026-11-22T07:40:12.000000Z"],
}
_SENT_TIMESTAMP: Json = {
    "pattern": (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
        r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
    ),
    "examples": ["2026-11-22T07:40:12.000000Z", "2026-11-22T09:40:12+02:00"],
}

_WITHOUT_NUL = r"^[^\u0000]*$"

_SUCCESS: Json = {"sync_status_code": {"const": SUCCESS}, "error_message": {"type": "null"}}
_FAILURE: Json = {
    "sync_status_code": {"enum": list(FAILURES)},
    "error_message": {"type": "string", "minLength": 1, "maxLength": MESSAGE_LENGTH},
}
_A_FAILURE: Json = {"properties": _FAILURE, "required": list(_FAILURE)}
_NEVER: Json = {"not": {}}
_NO_OUTCOME: Json = {"sync_status_code": _NEVER, "error_message": _NEVER, "delay": _NEVER}

_RULES: Mapping[type[Schema], Json] = {
    schemas.AccountBody: {"minProperties": 1},
    schemas.SyncBody: {"minProperties": 1, "maxProperties": 1},
    OutcomeSchema: {"anyOf": [{"properties": _SUCCESS}, _A_FAILURE]},
    fleet_schemas.DeviceSpecSchema: {
        "anyOf": [
            {"properties": {**_SUCCESS, "last_sync_at": {"type": "string"}}},
            _A_FAILURE,
        ]
    },
    fleet_schemas.StepSchema: {
        "anyOf": [
            {"properties": {**_SUCCESS, "hold": _NEVER}, "required": ["sync_status_code"]},
            {"properties": {**_FAILURE, "hold": _NEVER}, "required": list(_FAILURE)},
            {"properties": _NO_OUTCOME, "required": ["hold"]},
        ]
    },
    ProfileSchema: {
        "allOf": [
            {
                "properties": {
                    "outcomes": {"contains": {"properties": {"weight": {"exclusiveMinimum": 0}}}}
                }
            }
        ]
    },
    fleet_schemas.ClockBody: {
        "anyOf": [
            {"properties": {"mode": {"const": "real"}}},
            {"properties": {"mode": {"const": "manual"}, "speed": _NEVER}},
        ]
    },
}
"""What schemas check across their fields, in the words of JSON Schema.

It has none for comparing values: that `min` is not above `max`, that a device's sync is not after
its attempt, that no id comes twice, that only the last step is sticky.
"""


def name_of(schema: type[Schema] | Schema) -> str:
    """Return the name of a schema in the document."""
    kind = schema if isinstance(schema, type) else type(schema)
    if kind is ProfileSchema:
        return "PartialProfile"  # what answers show is the Profile
    return kind.__name__.removesuffix("Schema")


class Converter(OpenAPIConverter):
    """Turns schemas and their fields into JSON Schema."""

    field_mapping = {  # noqa: RUF012 - as its base has it
        **DEFAULT_FIELD_MAPPING,
        Timestamp: ("string", "date-time"),
        SentTimestamp: ("string", "date-time"),
        DeviceIds: ("array", None),
        Statuses: ("array", None),
    }

    def schema2jsonschema(self, schema: Schema) -> Json:
        """Return a schema with its rules, described by the first line of its docstring."""
        if isinstance(schema, ScriptBody):
            found = self._list_of(StepSchema, minItems=1, maxItems=MAX_STEPS)
        else:
            found = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
            for kind in type(schema).__mro__:
                found |= _RULES.get(kind, {})
        return {**found, "description": (type(schema).__doc__ or "").partition("\n")[0]}

    def field2property(self, field: fields.Field[Any]) -> Json:
        """Return a field with what its kind asks for."""
        found = super().field2property(field)
        _mend(found, field)
        match field:
            case SentTimestamp():
                found |= _SENT_TIMESTAMP
            case Timestamp():
                found |= _TIMESTAMP
            case Text() if not {"pattern", "enum"} & found.keys():
                found["pattern"] = _WITHOUT_NUL
            case Statuses():
                found["items"] = {"type": "integer", "enum": list(field.codes)}
            case DeviceIds():
                found |= {"items": DEVICE_ID, "maxItems": field.max}
            case FirstDataField():
                count = {"type": "integer", "minimum": 0, "maximum": MAX_DEVICES}
                listed = self._list_of(DeviceSpecSchema, maxItems=MAX_DEVICES)
                found["oneOf"] = [count, listed]
            case OneOf():
                found |= self._one_of(field)
        return found

    def _list_of(self, schema: type[Schema], **limits: int) -> Json:
        return {"type": "array", "items": self._ref(schema), **limits}

    def _one_of(self, field: OneOf) -> Json:
        refs = {name: self._ref(type(schema)) for name, schema in field.schemas.items()}
        mapping = {name: ref["$ref"] for name, ref in refs.items()}
        return {
            "oneOf": list(refs.values()),
            "discriminator": {"propertyName": field.tag, "mapping": mapping},
        }

    def _ref(self, schema: type[Schema]) -> Json:
        ref: Json = self.resolve_nested_schema(schema)  # type: ignore[no-untyped-call]
        return ref

    def list2param(self, field: fields.Field[Any], **kwargs: Any) -> Json:
        """Say how a list is written in a query: `400,500`, and never empty."""
        if not isinstance(field, Statuses):
            return super().list2param(field, **kwargs)
        kwargs["ret"]["schema"]["minItems"] = 1
        return {"style": "form", "explode": False}


class Plugin(MarshmallowPlugin):
    """apispec's plugin, with our converter."""

    Converter = Converter

    def __init__(self) -> None:
        super().__init__(schema_name_resolver=name_of)


def _mend(found: Json, field: fields.Field[Any]) -> None:
    """Put right what apispec makes of defaults, patterns and open ranges."""
    if found.get("default", ...) is None:
        del found["default"]  # it stands for "not given"
    if "pattern" in found:
        # A whole match, in JavaScript's way.
        found["pattern"] = re.sub(r"^\^?(.*)\\Z$", r"^\1$", found["pattern"])
    for validator in field.validators:
        if isinstance(validator, validate.Range) and not validator.min_inclusive:
            found["exclusiveMinimum"] = found.pop("minimum")
