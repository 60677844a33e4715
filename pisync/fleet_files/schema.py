"""The schema of a fleet in a fleet file."""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from pisync.model.fleet import FirstData, Generated
from pisync.model.parsing.faults import FaultsBody
from pisync.model.plans.script import Script
from pisync.web.contract.fleet_schemas import ClockBody, FleetBody, ScriptBody
from pisync.web.contract.schemas import DEVICE_ID

SCHEMA_KEY = "$schema"
"""The key by which a file may name this schema for editors."""
MAX_SCRIPTS = 100_000
"""Devices of a file's fleet that may have scripts."""


class Scripts(fields.Field[dict[int, Script]]):
    """Scripts by device id, which is a text where a file's format has only these as keys."""

    schema = ScriptBody()

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[int, Script]:
        if type(value) is not dict:
            raise ValidationError("Not an object.")
        if len(value) > MAX_SCRIPTS:
            raise ValidationError(f"Must have at most {MAX_SCRIPTS} scripts.")
        scripts, errors = dict[int, Script](), dict[str, Any]()
        for name, steps in value.items():
            if not re.fullmatch(DEVICE_ID, str(name)):
                errors[str(name)] = ["Not the id of a device."]
                continue
            try:
                scripts[int(name)] = self.schema.load(steps)
            except ValidationError as exc:
                errors[str(name)] = exc.messages
        if errors:
            raise ValidationError(errors)
        return scripts


class FleetDefinitionSchema(FleetBody):
    """A fleet in a fleet file: what the call that makes one takes, clock, scripts and faults."""

    clock = fields.Nested(
        ClockBody, metadata={"description": "How its time runs: a real clock if left out."}
    )
    faults = fields.Nested(
        FaultsBody, load_default=(), metadata={"description": "The rules for faults of HTTP."}
    )
    scripts = Scripts(load_default=dict, metadata={"description": "The scripts of devices, by id."})

    @validates_schema
    def _scripts_have_devices(self, data: Mapping[str, Any], **_: object) -> None:
        ids = _device_ids(data["devices"])
        errors = {
            str(device_id): ["The fleet has no such device."]
            for device_id in data["scripts"]
            if device_id not in ids
        }
        if errors:
            raise ValidationError({"scripts": errors})


def _device_ids(first: FirstData) -> range | frozenset[int]:
    if isinstance(first, Generated):
        return range(1, first.count + 1)
    return frozenset(device.device_id for device in first.devices)
