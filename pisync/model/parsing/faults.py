"""Rules for faults of HTTP, as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson
from marshmallow import Schema, ValidationError, post_load, validate, validates_schema

from pisync.model.parsing.errors import load, load_each
from pisync.model.parsing.fields import DeviceIds, Int, ListOf, Number, OneOf, Text
from pisync.model.parsing.profile import delay_field
from pisync.model.requests.call import CALLS
from pisync.model.requests.fault import (
    FAULT_STATUSES,
    KINDS,
    MAX_DRIP_BYTES,
    MAX_DRIP_PAUSE,
    MAX_FIRST,
    MAX_RETRY_AFTER,
    MAX_RULES,
    CloseFault,
    DelayFault,
    DripFault,
    FaultRule,
    GarbageFault,
    HangFault,
    ResetFault,
    StatusFault,
    TruncateFault,
)

MAX_RULE_DEVICES = 10_000


class _FaultSchema(Schema):
    """A fault; each kind has a schema of its own."""

    makes: ClassVar[type]

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Any:
        del data["kind"]
        return self.makes(**data)


def _kind(name: str) -> Text:
    return Text(required=True, validate=validate.Equal(name))


class DelayFaultSchema(_FaultSchema):
    """The answer comes late."""

    makes = DelayFault
    kind = _kind("delay")
    delay = delay_field("How long the answer takes, in real seconds.", required=True)


class StatusFaultSchema(_FaultSchema):
    """Another answer comes: 429, 500, 502, 503 or 504."""

    makes = StatusFault
    kind = _kind("status")
    status = Int(required=True, validate=validate.OneOf(FAULT_STATUSES))
    retry_after = Int(
        validate=validate.Range(0, MAX_RETRY_AFTER),
        metadata={"description": "Seconds; 429 and 503 have 1 if it is left out."},
    )


class ResetFaultSchema(_FaultSchema):
    """The connection is reset (RST) in place of an answer."""

    makes = ResetFault
    kind = _kind("reset")


class CloseFaultSchema(_FaultSchema):
    """The connection is closed without a byte."""

    makes = CloseFault
    kind = _kind("close")


class TruncateFaultSchema(_FaultSchema):
    """The whole head comes, a part of the body, then the end of the connection."""

    makes = TruncateFault
    kind = _kind("truncate")
    share = Number(
        load_default=0.5,
        validate=validate.Range(0, 1, max_inclusive=False),
        metadata={"description": "How much of the body comes."},
    )


class GarbageFaultSchema(_FaultSchema):
    """What comes is no HTTP."""

    makes = GarbageFault
    kind = _kind("garbage")


class DripFaultSchema(_FaultSchema):
    """The right answer comes, slowly."""

    makes = DripFault
    kind = _kind("drip")
    bytes = Int(
        load_default=10,
        validate=validate.Range(1, MAX_DRIP_BYTES),
        metadata={"description": "Bytes of the body that come at once."},
    )
    every = Number(
        load_default=0.1,
        validate=validate.Range(0, MAX_DRIP_PAUSE),
        metadata={"description": "Seconds between them."},
    )


class HangFaultSchema(_FaultSchema):
    """Nothing comes, until the client gives up or 300 seconds have passed."""

    makes = HangFault
    kind = _kind("hang")


FAULT_SCHEMAS: Mapping[str, type[Schema]] = dict(
    zip(
        KINDS,
        (
            *(DelayFaultSchema, StatusFaultSchema, ResetFaultSchema, CloseFaultSchema),
            *(TruncateFaultSchema, GarbageFaultSchema, DripFaultSchema, HangFaultSchema),
        ),
        strict=True,
    )
)


class FaultRuleSchema(Schema):
    """Which requests meet which fault."""

    calls = ListOf(
        Text(validate=validate.OneOf(CALLS)),
        validate.Length(1, len(CALLS)),
        required=True,
        metadata={"description": "The calls that it is about."},
    )
    device_ids = DeviceIds(
        MAX_RULE_DEVICES,
        metadata={"description": "If given, only `sync` and `device` of these devices."},
    )
    share = Number(
        validate=validate.Range(0, 1),
        metadata={"description": "The share of requests that meet it; all if left out."},
    )
    first = Int(
        validate=validate.Range(1, MAX_FIRST),
        metadata={
            "description": "In place of `share`: the first so many requests of each user, call and"
            " device."
        },
    )
    fault = OneOf(
        "Fault",
        "kind",
        FAULT_SCHEMAS,
        required=True,
        metadata={"description": "What happens to the answer."},
    )
    when = Text(
        validate=validate.OneOf(("before", "after")),
        metadata={
            "description": "Whether the call does nothing (`before`, the default), or has done what"
            " it does and only its answer suffers (`after`). A delay is always `after`."
        },
    )

    @validates_schema
    def _agrees(self, data: Mapping[str, Any], **_: object) -> None:
        if "share" in data and "first" in data:
            raise ValidationError({"first": ["Give share or first, not both."]})
        if isinstance(data["fault"], DelayFault) and data.get("when") == "before":
            raise ValidationError({"when": ["A delay is always after."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Any:
        device_ids = data.get("device_ids")
        return FaultRule(
            calls=tuple(call for call in CALLS if call in data["calls"]),
            fault=data["fault"],
            device_ids=None if device_ids is None else frozenset(device_ids),
            share=data.get("share", 1.0),
            first=data.get("first"),
            is_after=data.get("when") == "after" or isinstance(data["fault"], DelayFault),
        )


class FaultsBody(FaultRuleSchema):
    """The rules for a fleet's faults, as an array.

    Loads into a tuple of rules.
    """

    def load(self, data: Any, **_: Any) -> tuple[FaultRule, ...]:
        """Return the rules.

        Raises:
            ValidationError: They are not valid.
        """
        if type(data) is not list or len(data) > MAX_RULES:
            raise ValidationError(f"Must be an array of at most {MAX_RULES} rules.")
        return tuple(load_each(super().load, data))


def write_rules(rules: Sequence[FaultRule]) -> str:
    """Return rules as a JSON text."""
    return orjson.dumps([rule.as_json() for rule in rules]).decode()


def read_rules(text: str) -> tuple[FaultRule, ...]:
    """Return the rules that `write_rules` wrote."""
    rules: tuple[FaultRule, ...] = load(FaultsBody(), orjson.loads(text))
    return rules
