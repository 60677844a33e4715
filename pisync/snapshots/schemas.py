"""What lines of a document have, those aside of which there are many."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from pisync.model.clock import MAX_SPEED, ClockView
from pisync.model.device import MAX_DEVICE_ID
from pisync.model.fleet import (
    ACCEPTED,
    FAULTS,
    FLEET_NAME,
    JOINED,
    LOGGED,
    MAX_DEVICES,
    MAX_MESSAGES,
    MAX_TTL,
    MIN_TTL,
    REFUSED,
    SUCCEEDED,
    Count,
)
from pisync.model.outcome import FAILURES, MESSAGE_LENGTH
from pisync.model.parsing.fields import Flag, Int, Number, Text, Timestamp
from pisync.model.parsing.profile import ProfileSchema
from pisync.model.plans.profile import new_profile
from pisync.model.plans.script import MAX_STEPS, Script
from pisync.model.requests.fault import KINDS
from pisync.model.requests.journal import MAX_JOURNAL
from pisync.model.snapshot import DeviceScript
from pisync.snapshots.writing import VERSION
from pisync.web.contract.fleet_schemas import ScriptBody

MAX_COUNT = 2**53 - 1


def _count() -> Int:
    return Int(required=True, validate=validate.Range(0, MAX_COUNT))


class ClockSchema(Schema):
    """A clock as answers have it."""

    mode = Text(required=True, validate=validate.OneOf(("real", "manual", "auto")))
    speed = Number(required=True, validate=validate.Range(0, MAX_SPEED))
    now = Timestamp(required=True)

    @validates_schema
    def _agrees(self, data: Mapping[str, Any], **_: object) -> None:
        if (data["mode"] == "real") == (data["speed"] == 0):
            raise ValidationError({"speed": ["Must be 0 exactly if the clock is not real."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> ClockView:
        return ClockView(**data)


class _Counts(fields.Field[Mapping[str, int]]):
    """Counts by a word."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._most = most

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Mapping[str, int]:
        if type(value) is not dict or len(value) > self._most:
            raise ValidationError(f"Must be an object of at most {self._most} counts.")
        for word, n in value.items():
            if not 1 <= len(word) <= MESSAGE_LENGTH or "\0" in word:
                raise ValidationError(
                    f"What is counted must have 1 to {MESSAGE_LENGTH} characters."
                )
            if type(n) is not int or not 0 <= n <= MAX_COUNT:
                raise ValidationError(f"Each must be an integer from 0 to {MAX_COUNT}.")
        return value


def _by(names: tuple[str, ...], most: int) -> fields.Nested:
    parts = {name: _Counts(most) for name in names}
    return fields.Nested(Schema.from_dict(dict(parts)), required=True)


class CountsSchema(Schema):
    """The ledger's counts. Loads into those that are not 0."""

    accepted, joined, refused = _count(), _count(), _count()
    succeeded, error_logs = _count(), _count()
    failed = _by(tuple(map(str, FAILURES)), MAX_MESSAGES + 1)
    faults = _by(tuple(FAULTS), len(KINDS))

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> dict[Count, int]:
        counts = {
            ACCEPTED: data["accepted"],
            JOINED: data["joined"],
            REFUSED: data["refused"],
            SUCCEEDED: data["succeeded"],
            LOGGED: data["error_logs"],
        }
        for code, messages in data["failed"].items():
            counts |= {Count(code, message): n for message, n in messages.items()}
        for when, kinds in data["faults"].items():
            counts |= {Count(FAULTS[when], kind): n for kind, n in kinds.items()}
        return {count: n for count, n in counts.items() if n}


class HeadSchema(Schema):
    """The first line."""

    version = Int(
        required=True,
        validate=validate.Equal(
            VERSION, error=f"Must be {VERSION}, the version of the format that this PiSync reads."
        ),
    )
    fleet = Text(required=True, validate=validate.Regexp(rf"{FLEET_NAME}\Z"))
    devices = Int(required=True, validate=validate.Range(0, MAX_DEVICES))
    listed = Flag(required=True)
    made_at = Timestamp(required=True)
    started_at = Timestamp(required=True)
    clock = fields.Nested(ClockSchema, required=True)
    profile = fields.Nested(ProfileSchema, required=True)
    journal = Int(required=True, validate=validate.Range(0, MAX_JOURNAL))
    ttl = Int(required=True, allow_none=True, validate=validate.Range(MIN_TTL, MAX_TTL))
    live_since = Timestamp(required=True, allow_none=True)
    counts = fields.Nested(CountsSchema, required=True)
    error_logs = _count()

    @validates_schema(skip_on_field_errors=True)
    def _agrees(self, data: Mapping[str, Any], **_: object) -> None:
        if "seed" not in data["profile"]:
            raise ValidationError({"profile.seed": ["Missing data for required field."]})
        if (data["live_since"] is None) != (data["profile"].get("traffic") is None):
            raise ValidationError({"live_since": ["Must be there if the profile has traffic."]})
        if data["error_logs"] > data["counts"].get(LOGGED, 0):
            raise ValidationError({"error_logs": ["Must not be more than were counted."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        profile = data["profile"]
        return {**data, "profile": new_profile(profile, profile["seed"])}


class _Steps(fields.Field[Script]):
    """The steps of a script, as a `PUT` of one takes them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Script:
        return ScriptBody().load(value)


class ScriptLineSchema(Schema):
    """What is left of a device's script: its steps, and which is next."""

    device_id = Int(required=True, validate=validate.Range(1, MAX_DEVICE_ID))
    position = Int(required=True, validate=validate.Range(0, MAX_STEPS - 1))
    steps = _Steps(required=True)

    @validates_schema(skip_on_field_errors=True)
    def _agrees(self, data: Mapping[str, Any], **_: object) -> None:
        if data["position"] >= len(data["steps"].steps):
            raise ValidationError({"position": ["There is no such step."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> DeviceScript:
        script: Script = data["steps"]
        return DeviceScript(data["device_id"], script._replace(position=data["position"]))


class RequestCountSchema(Schema):
    """How many requests were counted under a counter: 64 bits of a digest, or a rule's place."""

    counter = Int(required=True, validate=validate.Range(-(2**63), 2**63 - 1))
    n = _count()


class EndSchema(Schema):
    """The last line."""

    lines = _count()
    sha256 = Text(required=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z"))
