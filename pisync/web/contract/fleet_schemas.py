"""Schemas of the bodies and queries of calls on fleets.

The OpenAPI document is made from the same schemas.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, cast

from marshmallow import (
    Schema,
    ValidationError,
    fields,
    post_load,
    validate,
    validates_schema,
)

from pisync.clocks import SYSTEM_CLOCKS
from pisync.model.clock import AUTO, MANUAL, MAX_SPEED, REAL, ClockSetting
from pisync.model.device import MAX_DEVICE_ID
from pisync.model.fleet import (
    FLEET_NAME,
    MAX_DEVICES,
    MAX_TTL,
    MIN_TTL,
    DeviceSpec,
    FirstData,
    Generated,
    Listed,
)
from pisync.model.outcome import OUTCOME_CODES, SUCCESS, Outcome, why_not_an_outcome
from pisync.model.parsing.errors import IncompleteErrors, load_each
from pisync.model.parsing.fields import (
    Flag,
    Int,
    Number,
    QueryInt,
    SentMoment,
    SentTimestamp,
    Text,
    whole_number,
)
from pisync.model.parsing.profile import ProfileSchema, seconds
from pisync.model.plans.polls import MAX_POLLS
from pisync.model.plans.script import MAX_STEPS, Script, Step
from pisync.model.timestamp import LATEST, SECOND, Moment, RelativeMoment, from_seconds
from pisync.web.contract.requests.schemas import journal_field
from pisync.web.contract.schemas import MAX_PAGE, page_size

MAX_FORECAST = 1_000
AT_ONCE = 1_000
"""Devices of a list that are loaded before the bad ones are named."""
MAX_ADVANCE = LATEST / SECOND
"""Seconds from 1970 to the end of the year 9999: no clock can be moved further."""
MAX_OWN_ATTEMPTS = 100_000_000
"""How often devices may sync by themselves in one advance: they take half an hour or more."""


_RELATIVE = "A timestamp, or `now`, `now-90s`, `now-15m`, `now-2h`, `now-7d`, `now-4w`."


class DeviceSpecSchema(Schema):
    """A device to create. Fields that are left out follow from the others.

    A timestamp may be relative: it is taken from the fleet's clock when the fleet is made, and anew
    at each reset.
    """

    device_id = Int(required=True, validate=validate.Range(1, MAX_DEVICE_ID))
    last_sync_at = SentMoment(allow_none=True, metadata={"description": _RELATIVE})
    sync_status_code = Int(load_default=SUCCESS, validate=validate.OneOf(OUTCOME_CODES))
    error_message = Text(load_default=None, allow_none=True)
    last_attempt_at = SentMoment(metadata={"description": _RELATIVE})

    def __init__(self, *, now: Callable[[], int] = SYSTEM_CLOCKS.wall, **options: Any) -> None:
        """Take the clock by which relative timestamps are compared with others."""
        super().__init__(**options)
        self._now = now

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
        elif synced is not None and attempted is not None:
            wrong |= self._why_not_in_order(synced, attempted)
        if wrong:
            raise ValidationError({field: [text] for field, text in wrong.items()})

    def _why_not_in_order(self, synced: Moment, attempted: Moment) -> dict[str, str]:
        """Return what is wrong with the times of a failure; they must agree after resets, too."""
        match synced, attempted:
            case RelativeMoment(), RelativeMoment():
                is_after = synced.age < attempted.age
            case RelativeMoment(), _:
                return {
                    "last_sync_at": "Must not be relative, since last_attempt_at is not: a later"
                    " reset would take it past that."
                }
            case int(), RelativeMoment():
                is_after = synced > attempted.at(self._now())
            case _:
                is_after = synced > attempted
        return {"last_sync_at": "Must not be after last_attempt_at."} if is_after else {}

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> DeviceSpec:
        return DeviceSpec(**data)


class FirstDataField(fields.Field[FirstData]):
    """A number of devices, or a list of them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> FirstData:
        if type(value) is list:
            if len(value) > MAX_DEVICES:
                raise ValidationError(f"Must have at most {MAX_DEVICES} devices.")
            return listed_devices([value])
        count = whole_number(value)
        if count is None:
            raise ValidationError("Must be a number or a list of devices.")
        if not 0 <= count <= MAX_DEVICES:
            raise ValidationError(f"Must be from 0 to {MAX_DEVICES}.")
        return Generated(count)


_BY_ID = attrgetter("device_id")


def listed_devices(slices: Iterable[list[Any]]) -> Listed:
    """Return the devices of a list that comes in slices, ordered by id.

    Raises:
        ValidationError: Devices are not valid; its messages are about those of the first slice that
            has one, by index.
    """
    schema, devices, index = DeviceSpecSchema(), list[list[DeviceSpec]](), 0
    for values in _short(slices):
        try:
            devices.append(sorted(load_each(schema.load, values), key=_BY_ID))
        except ValidationError as exc:
            # By position in the slice, since that is a list.
            messages = cast("dict[int, Any]", exc.messages)
            errors = {index + position: texts for position, texts in messages.items()}
            is_last = len(values) < AT_ONCE
            raise ValidationError(errors if is_last else IncompleteErrors(errors)) from None
        index += len(values)
    # Merged step by step: to sort all at once would hold up other threads.
    listed = list(heapq.merge(*devices, key=_BY_ID))
    if len({device.device_id for device in listed}) < len(listed):
        raise ValidationError("A device_id appears more than once.")
    return Listed(listed)


def _short(slices: Iterable[list[Any]]) -> Iterator[list[Any]]:
    for values in slices:
        for first in range(0, len(values), AT_ONCE):
            yield values[first : first + AT_ONCE]


class FleetsQuery(Schema):
    """The page of fleets to list."""

    limit = page_size(MAX_PAGE)
    after = Text(
        load_default=None,
        allow_none=False,
        validate=validate.Regexp(rf"{FLEET_NAME}\Z", error="Not the name of a fleet."),
        metadata={"description": "List fleets whose name sorts after this."},
    )


def _ttl(**options: Any) -> Int:
    return Int(
        allow_none=True,
        validate=validate.Range(MIN_TTL, MAX_TTL),
        metadata={
            "description": "Seconds without a request or an open stream after which the fleet is"
            " deleted. null: never. The fleet `default` can have none."
        },
        **options,
    )


class FleetBody(Schema):
    """A fleet to create."""

    devices = FirstDataField(required=True)
    profile = fields.Nested(ProfileSchema, load_default=dict)
    journal = journal_field()
    ttl = _ttl(load_default=None)


class CopyBody(Schema):
    """Where to copy a fleet."""

    to = Text(
        required=True,
        validate=validate.Regexp(rf"{FLEET_NAME}\Z", error="Not the name of a fleet."),
        metadata={"description": "The name of the fleet to make or replace."},
    )


class FleetChangesBody(Schema):
    """The changes to a fleet: to its profile, its journal, its ttl."""

    profile = fields.Nested(ProfileSchema)
    journal = journal_field()
    ttl = _ttl()

    @validates_schema(skip_on_field_errors=True)
    def _is_a_change(self, data: Mapping[str, Any], **_: object) -> None:
        if not data:
            raise ValidationError({"profile": ["Give the profile, the journal or the ttl."]})


_SETTINGS = {"real": REAL, "manual": MANUAL, "auto": AUTO}


class ClockBody(Schema):
    """How a fleet's time runs.

    Loads into a setting. Time stands still with a manual clock, and with one that moves itself
    (`auto`): reads of what is pending move that.
    """

    mode = Text(required=True, validate=validate.OneOf(tuple(_SETTINGS)))
    speed = Number(
        validate=validate.Range(0, MAX_SPEED, min_inclusive=False),
        metadata={"description": "Fleet seconds per real second; 1 if left out."},
    )

    @validates_schema
    def _only_real_has_speed(self, data: Mapping[str, Any], **_: object) -> None:
        mode = data["mode"]
        if mode != "real" and "speed" in data:
            article = "An" if mode == "auto" else "A"
            raise ValidationError({"speed": [f"{article} {mode} clock has no speed."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> ClockSetting:
        setting = _SETTINGS[data["mode"]]
        return setting._replace(speed=data["speed"]) if "speed" in data else setting


class AdvanceBody(Schema):
    """How far to advance a clock that stands still.

    Loads into microseconds.
    """

    seconds = Number(required=True, validate=validate.Range(0, MAX_ADVANCE))

    @post_load
    def _microseconds(self, data: dict[str, Any], **_: object) -> int:
        return from_seconds(data["seconds"])


class StepSchema(Schema):
    """A step of a script: an outcome, optionally with its delay or its polls, or a hold."""

    sync_status_code = Int(validate=validate.OneOf(OUTCOME_CODES))
    error_message = Text(allow_none=True)
    delay = seconds("In seconds. If left out, the profile's.")
    polls = Int(
        validate=validate.Range(1, MAX_POLLS),
        metadata={
            "description": "The attempt is pending, whatever the time, in so many reads that show"
            " it (`GET` of the device or of a page); the next one shows its outcome."
        },
    )
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
                for field in ("sync_status_code", "error_message", "delay", "polls")
                if field in data
            }
        elif "sync_status_code" not in data:
            wrong = {"sync_status_code": "Give an outcome, or hold."}
        else:
            wrong = why_not_an_outcome(data["sync_status_code"], data.get("error_message"))
            if "polls" in data and "delay" in data:
                wrong = {**wrong, "delay": "Not allowed with polls: no clock moves the attempt."}
        if wrong:
            raise ValidationError({field: [text] for field, text in wrong.items()})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> tuple[Step, bool]:
        if "hold" in data:
            return Step(None), data.get("sticky", False)
        delay = from_seconds(data["delay"]) if "delay" in data else None
        outcome = Outcome(data["sync_status_code"], data.get("error_message"))
        return Step(outcome, delay, data.get("polls")), data.get("sticky", False)


class ScriptBody(StepSchema):
    """The steps for a device's next attempts, as an array.

    Loads into a Script.
    """

    def load(self, data: Any, **_: Any) -> Script:
        """Return the script.

        Raises:
            ValidationError: The steps are not a script.
        """
        if type(data) is not list or not 1 <= len(data) <= MAX_STEPS:
            raise ValidationError(f"Must be an array of 1 to {MAX_STEPS} steps.")
        steps = load_each(super().load, data)
        for index, (_step, sticky) in enumerate(steps[:-1]):
            if sticky:
                raise ValidationError({index: {"sticky": ["Only the last step may be sticky."]}})
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
        allow_none=False,
        validate=validate.Range(1, MAX_DEVICE_ID),
        metadata={"description": "The first attempt. If left out, the device's next."},
    )
    at = SentTimestamp(
        load_default=None,
        allow_none=False,
        metadata={
            "description": "The fleet time at which they begin, which decides what phase it is. If"
            " left out, the present."
        },
    )
