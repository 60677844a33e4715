"""What an admin may send for fleets, and what it becomes.

The OpenAPI document is made from the same schemas.
"""

from collections.abc import Mapping
from typing import Any, cast

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from pisync.model.clock import MAX_SPEED
from pisync.model.device import MAX_DEVICE_ID
from pisync.model.fleet import MAX_DEVICES, DeviceSpec, FirstData, Generated, Listed
from pisync.model.outcome import OUTCOME_CODES, SUCCESS, Outcome, why_not_an_outcome
from pisync.model.profile import (
    MAX_DELAY,
    MAX_OUTCOMES,
    MAX_PENDING,
    MAX_SEED,
    ConstantDelay,
    LognormalDelay,
    UniformDelay,
    WeightedOutcome,
)
from pisync.model.script import MAX_STEPS, Script, Step
from pisync.model.timestamp import LATEST, SECOND, from_seconds
from pisync.web.contract.fields import (
    Flag,
    Int,
    Number,
    OneOf,
    QueryInt,
    Text,
    Timestamp,
)

MAX_FORECAST = 1_000
AT_ONCE = 1_000
"""So many devices of a list are looked at before the bad ones are named."""
MAX_ADVANCE = LATEST / SECOND
"""Seconds from 1970 to the end of the year 9999: no clock can be moved further."""


class OutcomeSchema(Schema):
    """What an attempt comes to: a status code, and for a failure a message."""

    sync_status_code = Int(required=True, validate=validate.OneOf(OUTCOME_CODES))
    error_message = Text(
        load_default=None,
        allow_none=True,
        metadata={"description": "Required for a failure, null for a success."},
    )

    @validates_schema
    def _is_an_outcome(self, data: Mapping[str, Any], **_: object) -> None:
        if wrong := why_not_an_outcome(data["sync_status_code"], data["error_message"]):
            raise ValidationError({field: [text] for field, text in wrong.items()})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Any:
        return Outcome(**data)


class WeightedOutcomeSchema(OutcomeSchema):
    """An outcome in a profile, and its weight."""

    weight = Number(
        required=True,
        validate=validate.Range(min=0),
        metadata={"description": "How often it comes, relative to the others. Not all may be 0."},
    )

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Any:
        weight = data.pop("weight")
        return WeightedOutcome(Outcome(**data), weight)


def _seconds(description: str = "In seconds.", **kwargs: Any) -> Number:
    return Number(
        validate=validate.Range(0, MAX_DELAY), metadata={"description": description}, **kwargs
    )


class ConstantDelaySchema(Schema):
    """Every attempt takes `seconds`."""

    distribution = Text(required=True, validate=validate.Equal("constant"))
    seconds = _seconds(required=True)

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> ConstantDelay:
        return ConstantDelay(data["seconds"])


class UniformDelaySchema(Schema):
    """Delays are spread evenly from `min` to `max` seconds."""

    distribution = Text(required=True, validate=validate.Equal("uniform"))
    min = _seconds(required=True)
    max = _seconds(required=True)

    @validates_schema
    def _in_order(self, data: Mapping[str, Any], **_: object) -> None:
        if data["min"] > data["max"]:
            raise ValidationError({"max": ["Must not be less than min."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> UniformDelay:
        return UniformDelay(data["min"], data["max"])


class LognormalDelaySchema(Schema):
    """Delays are lognormal: `median` and `max` in seconds; longer delays are cut to `max`."""

    distribution = Text(required=True, validate=validate.Equal("lognormal"))
    median = _seconds(required=True)
    sigma = Number(
        required=True,
        validate=validate.Range(min=0),
        metadata={"description": "The standard deviation of the logarithm."},
    )
    max = _seconds(required=True)

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> LognormalDelay:
        return LognormalDelay(data["median"], data["sigma"], data["max"])


class ProfileSchema(Schema):
    """The rules for a fleet's attempts.

    Loads into those arguments of a `Profile` that are given.
    """

    seed = Int(
        validate=validate.Range(0, MAX_SEED),
        metadata={
            "description": "Fixes all outcomes and delays. A fleet made without one draws one."
        },
    )
    outcomes = fields.List(
        fields.Nested(WeightedOutcomeSchema), validate=validate.Length(1, MAX_OUTCOMES)
    )
    delay = OneOf(
        "distribution",
        {
            "constant": ConstantDelaySchema,
            "uniform": UniformDelaySchema,
            "lognormal": LognormalDelaySchema,
        },
    )
    when_pending = Text(
        validate=validate.OneOf(("join", "refuse")),
        metadata={"description": "Whether a sync of a pending device joins or is refused."},
    )
    max_pending = Int(
        validate=validate.Range(0, MAX_PENDING),
        metadata={"description": "The most syncs that may be pending at once."},
    )

    @validates_schema
    def _some_weight(self, data: Mapping[str, Any], **_: object) -> None:
        outcomes = data.get("outcomes")
        if outcomes and all(each.weight == 0 for each in outcomes):
            raise ValidationError({"outcomes": ["At least one weight must be above 0."]})

    @post_load
    def _arguments(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        if "outcomes" in data:
            data["outcomes"] = tuple(data["outcomes"])
        if "when_pending" in data:
            data["refuse_pending"] = data.pop("when_pending") == "refuse"
        return data


class DeviceSpecSchema(Schema):
    """A device to create. Fields that are left out follow from the others."""

    device_id = Int(required=True, validate=validate.Range(1, MAX_DEVICE_ID))
    last_sync_at = Timestamp(allow_none=True)
    sync_status_code = Int(load_default=SUCCESS, validate=validate.OneOf(OUTCOME_CODES))
    error_message = Text(load_default=None, allow_none=True)
    last_attempt_at = Timestamp()

    @validates_schema
    def _agrees(self, data: Mapping[str, Any], **_: object) -> None:
        wrong = why_not_an_outcome(data["sync_status_code"], data["error_message"])
        synced, attempted = data.get("last_sync_at"), data.get("last_attempt_at")
        if data["sync_status_code"] == SUCCESS:
            if "last_sync_at" in data and synced is None:
                wrong["last_sync_at"] = "Must not be null, since the last attempt succeeded."
            elif synced is not None and attempted not in (None, synced):
                wrong["last_sync_at"] = (
                    "Must equal last_attempt_at, since the last attempt succeeded."
                )
        elif synced is not None and attempted is not None and synced > attempted:
            wrong["last_sync_at"] = "Must not be after last_attempt_at."
        if wrong:
            raise ValidationError({field: [text] for field, text in wrong.items()})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> DeviceSpec:
        return DeviceSpec(**data)


class FirstDataField(fields.Field[FirstData]):
    """How many devices, or which ones."""

    _device = DeviceSpecSchema()

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> FirstData:
        if type(value) is int:
            if not 0 <= value <= MAX_DEVICES:
                raise ValidationError(f"Must be from 0 to {MAX_DEVICES}.")
            return Generated(value)
        if type(value) is not list:
            raise ValidationError("Must be a count or a list of devices.")
        if len(value) > MAX_DEVICES:
            raise ValidationError(f"At most {MAX_DEVICES} devices.")
        return Listed(self._by_id(self._each(value)))

    def _each(self, listed: list[Any]) -> list[DeviceSpec]:
        devices: list[DeviceSpec] = []
        for first in range(0, len(listed), AT_ONCE):
            try:
                devices += self._device.load(listed[first : first + AT_ONCE], many=True)
            except ValidationError as refused:
                # By place in what was loaded, since it was a list.
                wrong = cast("dict[int, Any]", refused.messages)
                raise ValidationError(
                    {str(first + place): messages for place, messages in wrong.items()}
                ) from None
        return devices

    @staticmethod
    def _by_id(devices: list[DeviceSpec]) -> list[DeviceSpec]:
        if len({each.device_id for each in devices}) < len(devices):
            raise ValidationError("A device_id appears more than once.")
        return sorted(devices)


class FleetBody(Schema):
    """A fleet to create."""

    devices = FirstDataField(required=True)
    profile = fields.Nested(ProfileSchema, load_default=dict)


class ProfileBody(Schema):
    """The changes to a fleet's profile."""

    profile = fields.Nested(ProfileSchema, required=True)


class ClockBody(Schema):
    """How a fleet's time runs.

    Loads into a speed; 0 is a manual clock.
    """

    mode = Text(required=True, validate=validate.OneOf(("real", "manual")))
    speed = Number(
        validate=validate.Range(0, MAX_SPEED, min_inclusive=False),
        metadata={"description": "Fleet seconds per real second; 1 if left out."},
    )

    @validates_schema
    def _manual_has_no_speed(self, data: Mapping[str, Any], **_: object) -> None:
        if data["mode"] == "manual" and "speed" in data:
            raise ValidationError({"speed": ["A manual clock has no speed."]})

    @post_load
    def _speed(self, data: dict[str, Any], **_: object) -> float:
        return 0.0 if data["mode"] == "manual" else data.get("speed", 1.0)


class AdvanceBody(Schema):
    """How far to advance a manual clock.

    Loads into microseconds.
    """

    seconds = Number(required=True, validate=validate.Range(0, MAX_ADVANCE))

    @post_load
    def _microseconds(self, data: dict[str, Any], **_: object) -> int:
        return from_seconds(data["seconds"])


class StepSchema(Schema):
    """A step of a script: an outcome, optionally with its delay, or a hold."""

    sync_status_code = Int(validate=validate.OneOf(OUTCOME_CODES))
    error_message = Text(allow_none=True)
    delay = _seconds("In seconds. If left out, the profile's.")
    hold = Flag(
        validate=validate.Equal(True, error="Must be true."),
        metadata={"description": "The attempt stays pending until it is released."},
    )
    sticky = Flag(metadata={"description": "In the last step only: repeats the step for ever."})

    @validates_schema
    def _hold_or_outcome(self, data: Mapping[str, Any], **_: object) -> None:
        if "hold" in data:
            wrong = {
                field: "Not allowed with hold: the release decides the outcome."
                for field in ("sync_status_code", "error_message", "delay")
                if field in data
            }
        elif "sync_status_code" not in data:
            wrong = {"sync_status_code": "Give an outcome, or hold."}
        else:
            wrong = why_not_an_outcome(data["sync_status_code"], data.get("error_message"))
        if wrong:
            raise ValidationError({field: [text] for field, text in wrong.items()})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> tuple[Step, bool]:
        if "hold" in data:
            return Step(None), data.get("sticky", False)
        delay = from_seconds(data["delay"]) if "delay" in data else None
        outcome = Outcome(data["sync_status_code"], data.get("error_message"))
        return Step(outcome, delay), data.get("sticky", False)


class ScriptBody(StepSchema):
    """The steps for a device's next attempts, as an array.

    Loads into a Script.
    """

    def load(self, data: Any, **_: Any) -> Script:
        """Return the script; raises ValidationError."""
        if type(data) is not list or not 1 <= len(data) <= MAX_STEPS:
            raise ValidationError(f"Must be an array of 1 to {MAX_STEPS} steps.")
        steps = super().load(data, many=True)
        for place, (_step, sticky) in enumerate(steps[:-1]):
            if sticky:
                raise ValidationError({place: {"sticky": ["Only the last step may be sticky."]}})
        return Script(tuple(step for step, _ in steps), sticky=steps[-1][1])


class ForecastQuery(Schema):
    """The attempts to forecast."""

    device_id = QueryInt(
        required=True,
        validate=validate.Range(1, MAX_DEVICE_ID),
        metadata={"description": "The device whose attempts to forecast.", "example": 7},
    )
    attempts = QueryInt(
        load_default=20,
        validate=validate.Range(1, MAX_FORECAST),
        metadata={"description": "How many attempts to forecast."},
    )
    first = QueryInt(
        data_key="from",
        load_default=None,
        validate=validate.Range(1, MAX_DEVICE_ID),
        metadata={"description": "The first attempt. If left out, the device's next."},
    )
