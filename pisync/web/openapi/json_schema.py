"""marshmallow schemas as JSON Schema: adds to apispec our fields and rules."""

import re
from collections.abc import Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.field_converter import DEFAULT_FIELD_MAPPING
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields, validate

from pisync.fleet_files.schema import MAX_SCRIPTS, Scripts
from pisync.model.fleet import MAX_DEVICES
from pisync.model.outcome import (
    FAILURES,
    MESSAGE_LENGTH,
    OUTCOME_CODES,
    PENDING,
    STATUS_CODES,
    SUCCESS,
)
from pisync.model.parsing.faults import FaultRuleSchema, FaultsBody
from pisync.model.parsing.fields import (
    DeviceIds,
    Flag,
    Int,
    ListOf,
    OneOf,
    QueryInt,
    QueryList,
    SentMoment,
    SentTimestamp,
    Statuses,
    Text,
    Timestamp,
)
from pisync.model.parsing.profile import (
    OutcomeSchema,
    PhaseSchema,
    ProfileSchema,
    WeightedOutcomeSchema,
)
from pisync.model.plans.script import MAX_STEPS
from pisync.model.requests.fault import FAULT_STATUSES, MAX_RULES
from pisync.model.timestamp import RELATIVE
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
from pisync.web.contract.requests.schemas import HttpStatuses, Words
from pisync.web.contract.schemas import DEVICE_ID as DEVICE_ID_PATTERN
from pisync.web.openapi.docstrings import docstring

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

_SENT_MOMENT: Json = {
    # No `format`: a `date-time` is not relative. So the pattern says what it can of the calendar.
    "pattern": (
        r"^([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
        r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
        rf"|{RELATIVE.replace('(?:', '(')})$"
    ),
    "examples": ["now-2h", "now", "2026-11-22T07:40:12.000000Z"],
}

_TIMESTAMPS: Mapping[type[fields.Field[Any]], Json] = {
    Timestamp: _TIMESTAMP,
    SentTimestamp: _SENT_TIMESTAMP,
    SentMoment: _SENT_MOMENT,
}

_WITHOUT_NUL = r"^[^\u0000]*$"


def _codes(
    codes: Sequence[int], prefix: str, names: Mapping[int, str] = MappingProxyType({})
) -> Json:
    """The schema of an enum.

    Args:
        codes: What it may be.
        prefix: What the names of codes begin with. No two enums share one: Go has one room for all.
        names: Codes that have a name of their own.
    """
    return {
        "type": "integer",
        "enum": list(codes),
        "x-enum-varnames": [names.get(code, f"{prefix}_{code}") for code in codes],
    }


ENUMS: Mapping[str, Json] = {
    "StatusCode": {
        "description": "A device's status: 200 success, 202 pending, 400, 404 and 500 failed.",
        **_codes(STATUS_CODES, "FAILED", {SUCCESS: "SUCCESS", PENDING: "PENDING"}),
    },
    "OutcomeCode": {
        "description": "How an attempt ends: 200 success, 400, 404 and 500 failed.",
        **_codes(OUTCOME_CODES, "OUTCOME"),
    },
    "FaultStatus": {
        "description": "The status that a fault answers.",
        **_codes(FAULT_STATUSES, "FAULT"),
    },
    "FailureCode": {"description": "How a failed attempt ends.", **_codes(FAILURES, "FAILURE")},
}
"""Schemas of the status codes, by name, so that generated code has one type for each."""

_INT32 = 2**31 - 1
"""The largest integer that generated code has room for where no format is given."""

_IS_SUCCESS: Json = {"properties": {"sync_status_code": {"const": SUCCESS}}}
_HAS_NO_MESSAGE: Json = {"properties": {"error_message": {"const": None}}}
_HAS_MESSAGE: Json = {
    "properties": {
        "error_message": {"type": "string", "minLength": 1, "maxLength": MESSAGE_LENGTH}
    },
    "required": ["error_message"],
}
_NEVER: Json = {"not": {}}

_RULES: Mapping[type[Schema], Json] = {
    schemas.AccountBody: {"minProperties": 1},
    fleet_schemas.FleetChangesBody: {"minProperties": 1},
    schemas.SyncBody: {
        "minProperties": 1,
        "maxProperties": 1,
        "if": {"required": ["all"]},
        "then": {"properties": {"all": {"const": True}}},
    },
    OutcomeSchema: {"if": _IS_SUCCESS, "then": _HAS_NO_MESSAGE, "else": _HAS_MESSAGE},
    fleet_schemas.DeviceSpecSchema: {
        "if": _IS_SUCCESS,
        "then": {
            "properties": {**_HAS_NO_MESSAGE["properties"], "last_sync_at": {"type": "string"}}
        },
        "else": _HAS_MESSAGE,
    },
    fleet_schemas.StepSchema: {
        "if": {"required": ["hold"]},
        "then": {
            "properties": {
                **dict.fromkeys(("sync_status_code", "error_message", "delay", "polls"), _NEVER),
                "hold": {"const": True},
            }
        },
        "else": {
            "required": ["sync_status_code"],
            "dependentSchemas": {"polls": {"properties": {"delay": _NEVER}}},
            "if": _IS_SUCCESS,
            "then": _HAS_NO_MESSAGE,
            "else": _HAS_MESSAGE,
        },
    },
    FaultRuleSchema: {
        "dependentSchemas": {"share": {"properties": {"first": _NEVER}}},
        "if": {"properties": {"fault": {"properties": {"kind": {"const": "delay"}}}}},
        "then": {"properties": {"when": {"const": "after"}}},
    },
    PhaseSchema: {"if": {"not": {"required": ["delay"]}}, "then": {"required": ["outcomes"]}},
    fleet_schemas.ClockBody: {
        "if": {"properties": {"mode": {"enum": ["manual", "auto"]}}},
        "then": {"properties": {"speed": _NEVER}},
    },
}
"""What schemas check across their fields, in the words of JSON Schema.

These are words that generators of code pass over: with `anyOf` or `allOf` beside `properties`, some
lose the properties, others make classes without a sensible name. JSON Schema has no words for
comparing values: that `min` is not above `max`, that a device's sync is not after its attempt, that
no id comes twice, that only the last step is sticky.
"""


_LIST_RULES: Mapping[type[Schema], Json] = {
    WeightedOutcomeSchema: {"contains": {"properties": {"weight": {"exclusiveMinimum": 0}}}},
}
"""What is checked of a list, by the schema of its elements."""


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
        SentMoment: ("string", None),
        DeviceIds: ("array", None),
        Scripts: ("object", None),
        Statuses: ("array", None),
        Words: ("array", None),
        HttpStatuses: ("array", None),
    }

    def schema2jsonschema(self, schema: Schema) -> Json:
        """Return a schema with its rules, described by the first line of its docstring."""
        if isinstance(schema, ScriptBody):
            found = self._list_of(StepSchema, minItems=1, maxItems=MAX_STEPS)
        elif isinstance(schema, FaultsBody):
            found = self._list_of(FaultRuleSchema, maxItems=MAX_RULES)
        else:
            found = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
            for kind in type(schema).__mro__:
                found |= _RULES.get(kind, {})
        return {**found, "description": docstring(type(schema)).partition("\n")[0]}

    def field2property(self, field: fields.Field[Any]) -> Json:
        """Return the JSON Schema of a field."""
        if isinstance(field, fields.Nested) and field.allow_none:
            return self._nullable(field)
        found = super().field2property(field)
        _mend(found, field)
        match field:
            case FirstDataField():
                return self._first_data()
            case OneOf():
                return self._one_of(field)
            case Scripts():
                return found | self._scripts(field)
            case ListOf() if isinstance(field.inner, fields.Nested):
                return found | _LIST_RULES.get(type(field.inner.schema), {})
        return _with_form(found, field)

    def _nullable(self, field: fields.Nested) -> Json:
        """Return an object that may be null, where generators expect it: in its type."""
        found = self.schema2jsonschema(field.schema)
        return {**found, "type": ["object", "null"], **field.metadata}

    def _list_of(self, schema: type[Schema], **limits: int) -> Json:
        return {"type": "array", "items": self._ref(schema), **limits}

    def _first_data(self) -> Json:
        count = {"type": "integer", "minimum": 0, "maximum": MAX_DEVICES}
        listed = self._list_of(DeviceSpecSchema, maxItems=MAX_DEVICES)
        return self._named(
            "FirstData", "A number of devices, or a list of them.", {"oneOf": [count, listed]}
        )

    def _scripts(self, field: Scripts) -> Json:
        return {
            "type": "object",
            "maxProperties": MAX_SCRIPTS,
            "patternProperties": {f"^{DEVICE_ID_PATTERN}$": self._ref(type(field.schema))},
            "additionalProperties": False,
        }

    def _one_of(self, field: OneOf) -> Json:
        refs = {name: self._ref(type(schema)) for name, schema in field.schemas.items()}
        mapping = {name: ref["$ref"] for name, ref in refs.items()}
        discriminator = {"propertyName": field.tag, "mapping": mapping}
        one_of = {"oneOf": list(refs.values()), "discriminator": discriminator}
        return self._named(field.title, field.metadata["description"], one_of)

    def _named(self, name: str, description: str, schema: Json) -> Json:
        """Return a reference to a schema, which becomes a component of the document."""
        if self.spec and name not in self.spec.components.schemas:
            self.spec.components.schema(name, {"description": description, **schema})
        return _ref_to(name)

    def _ref(self, schema: type[Schema]) -> Json:
        ref: Json = self.resolve_nested_schema(schema)  # type: ignore[no-untyped-call]
        return ref

    def list2param(self, field: fields.Field[Any], **kwargs: Any) -> Json:
        """Say how a list is written in a query: `400,500`, and never empty."""
        if not isinstance(field, QueryList):
            return super().list2param(field, **kwargs)
        kwargs["ret"]["schema"]["minItems"] = 1
        return {"style": "form", "explode": False}


class Plugin(MarshmallowPlugin):
    """apispec's plugin, with our converter."""

    Converter = Converter

    def __init__(self) -> None:
        super().__init__(schema_name_resolver=name_of)


def _ref_to(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _integer(found: Json) -> Json:
    """Return an integer, with a reference in place of codes that have a schema of their own."""
    for name, enum in ENUMS.items():
        if found.get("enum") == enum["enum"]:
            beside = {key: found[key] for key in ("description", "default") if key in found}
            return _ref_to(name) | beside
    return found | ({"format": "int64"} if found.get("maximum", inf) > _INT32 else {})


def _with_form(found: Json, field: fields.Field[Any]) -> Json:
    """Return the JSON Schema of a field, with the rules of its kind."""
    match field:
        case Int() | QueryInt():
            return _integer(found)
        case Flag():
            found.pop("enum", None)  # of booleans, generated code makes an enum of texts
        case DeviceIds():
            found |= {"items": DEVICE_ID, "maxItems": field.max}
        case Statuses():
            found["items"] = _integer({"enum": list(field.codes)})
        case Words():
            found["items"] = {"type": "string", "enum": list(field.words)}
        case HttpStatuses():
            found["items"] = {"type": "integer", "minimum": 100, "maximum": 599}
        case Timestamp() | SentMoment():
            found |= _TIMESTAMPS[type(field)]
        case Text() if not {"pattern", "enum"} & found.keys():
            found["pattern"] = _WITHOUT_NUL
    return found


def _mend(found: Json, field: fields.Field[Any]) -> None:
    """Correct defaults, patterns and open ranges as apispec writes them."""
    if found.get("default", ...) is None:
        del found["default"]  # it stands for "left out"
    if "pattern" in found:
        # A whole match, in JavaScript's way.
        found["pattern"] = re.sub(r"^\^?(.*)\\Z$", r"^\1$", found["pattern"])
    for validator in field.validators:
        if isinstance(validator, validate.Range) and not validator.min_inclusive:
            found["exclusiveMinimum"] = found.pop("minimum")
        if isinstance(validator, validate.Range) and not validator.max_inclusive:
            found["exclusiveMaximum"] = found.pop("maximum")
