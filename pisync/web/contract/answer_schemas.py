"""Schemas of answers, for the OpenAPI document.

`render` writes the same without them, a good deal faster; tests hold the two equal.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields, post_load, validate

from pisync.auth.accounts import USERNAME
from pisync.model.account import SCOPES
from pisync.model.clock import MAX_SPEED
from pisync.model.device import MAX_DEVICE_ID
from pisync.model.fleet import FLEET_NAME, MAX_DEVICES, MAX_TTL, MIN_TTL
from pisync.model.outcome import FAILURES, STATUS_CODES
from pisync.model.parsing import profile
from pisync.model.parsing.fields import (
    Flag,
    Int,
    Number,
    Text,
    Timestamp,
)
from pisync.model.requests.journal import MAX_JOURNAL


def _count(**metadata: object) -> Int:
    return Int(required=True, validate=validate.Range(0), metadata=metadata)


def _device_id() -> Int:
    return Int(required=True, validate=validate.Range(1, MAX_DEVICE_ID))


class ProblemSchema(Schema):
    """The one shape of every error answer."""

    message = fields.String(required=True)
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "What is wrong, by field. Present if fields are at fault."},
    )


class TokenSchema(Schema):
    """A token for the account."""

    message = fields.String(required=True)
    token = fields.String(
        required=True,
        metadata={"description": "A JWT, for the header `Authorization: Bearer …`."},
    )


class AccountSchema(Schema):
    """An account."""

    username = fields.String(
        required=True,
        validate=validate.Regexp(rf"{USERNAME.pattern}\Z"),
        metadata={"description": "As first registered."},
    )
    scopes = fields.List(Text(validate=validate.OneOf(SCOPES)), required=True)
    disabled = Flag(required=True)


class StateSchema(Schema):
    """The state of the service."""

    status = fields.String(required=True, validate=validate.OneOf(("ok", "ready")))


# Devices and errors


class DeviceSchema(Schema):
    """A device: exactly these five fields."""

    device_id = _device_id()
    last_sync_at = Timestamp(
        required=True,
        allow_none=True,
        metadata={
            "description": "When the last successful attempt was made; null if there was none."
        },
    )
    sync_status_code = Int(
        required=True,
        validate=validate.OneOf(STATUS_CODES),
        metadata={"description": "200 success, 202 pending, 400, 404 and 500 failed."},
    )
    error_message = fields.String(
        required=True, allow_none=True, metadata={"description": "Null for 200 and 202."}
    )
    last_attempt_at = Timestamp(
        required=True, metadata={"description": "When the last attempt was made."}
    )


class ErrorLogSchema(Schema):
    """The error log of a failed attempt."""

    error_id = Int(required=True, validate=validate.Range(1), metadata={"description": "Grows."})
    device_id = _device_id()
    attempt = _count(description="0 in a fleet's first data.")
    sync_status_code = Int(required=True, validate=validate.OneOf(FAILURES))
    error_message = fields.String(required=True)
    occurred_at = Timestamp(
        required=True, metadata={"description": "When the attempt was due to finish."}
    )


class BulkResultSchema(Schema):
    """What became of a bulk sync."""

    started = _count()
    joined = _count(description="Were pending already, so the request joined the attempt.")
    refused = _count(description="Would exceed `max_pending`, or the fleet refuses to join.")
    not_found = fields.List(_device_id(), required=True)


class HistorySchema(Schema):
    """How many syncs began, succeeded and failed in each of the last seconds, oldest first."""

    start = Timestamp(
        required=True,
        data_key="from",
        metadata={"description": "When the first of these seconds began, by the wall clock."},
    )
    started = fields.List(_count(), required=True)
    succeeded = fields.List(_count(), required=True)
    failed = fields.List(_count(), required=True)


class StatsSchema(Schema):
    """A fleet's counts."""

    devices = _count()
    pending = _count()
    by_status = fields.Dict(
        keys=fields.Integer(validate=validate.OneOf(STATUS_CODES)),
        values=_count(),
        required=True,
        metadata={"description": "Devices by `sync_status_code`."},
    )
    attempts = _count(description="Accepted syncs, pending ones included.")
    succeeded = _count()
    failed = _count()
    error_logs = _count(description="Error logs that are kept.")
    history = fields.Nested(
        HistorySchema, metadata={"description": "The last seconds, if they were asked for."}
    )


# Fleets


class ProfileSchema(profile.ProfileSchema):
    """A profile, complete with defaults; spells and what follows are there if they are used."""

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Make required what no answer leaves out."""
        field_obj.required = field_name not in {"spells", "phases", "repeat_every", "traffic"}


class ClockSchema(Schema):
    """A fleet's clock."""

    mode = fields.String(required=True, validate=validate.OneOf(("real", "manual", "auto")))
    speed = Number(
        required=True,
        validate=validate.Range(0, MAX_SPEED),
        metadata={"description": "Fleet seconds per real second; 0 for a clock that stands still."},
    )
    now = Timestamp(required=True, metadata={"description": "Fleet time."})


class FleetSummarySchema(Schema):
    """A fleet in a list, without its profile."""

    name = fields.String(required=True, validate=validate.Regexp(rf"{FLEET_NAME}\Z"))
    devices = Int(required=True, validate=validate.Range(0, MAX_DEVICES))
    seed = Int(required=True, metadata={"description": "The effective seed, as in the profile."})
    journal = Int(
        required=True,
        validate=validate.Range(0, MAX_JOURNAL),
        metadata={"description": "How many requests its journal keeps."},
    )
    clock = fields.Nested(ClockSchema, required=True)
    ttl = Int(
        required=True,
        allow_none=True,
        validate=validate.Range(MIN_TTL, MAX_TTL),
        metadata={
            "description": "Seconds without a request or an open stream after which the fleet is"
            " deleted; null: never."
        },
    )
    expires_at = Timestamp(
        required=True,
        allow_none=True,
        metadata={
            "description": "When that is, within a minute, if nobody uses the fleet before: by the"
            " wall clock, not in fleet time."
        },
    )


class FleetSchema(FleetSummarySchema):
    """A fleet."""

    profile = fields.Nested(ProfileSchema, required=True)


class MovedSchema(Schema):
    """A fleet's time after a move, and how many syncs the move finished."""

    now = Timestamp(required=True)
    finished = _count()


class ForecastSchema(profile.OutcomeSchema):
    """What an attempt comes to by seed and profile."""

    attempt = Int(required=True, validate=validate.Range(1))
    error_message = Text(required=True, allow_none=True)
    delay = Number(
        required=True, validate=validate.Range(0), metadata={"description": "In seconds."}
    )

    @post_load
    def _make(self, data: Mapping[str, Any], **_: object) -> Mapping[str, Any]:
        return data


class LatenessSchema(Schema):
    """How late syncs finished by themselves in this process, in real seconds."""

    p50 = Number(required=True)
    p99 = Number(required=True)
    max = Number(required=True)


class LedgerSchema(Schema):
    """What became of every sync of a fleet since its first state."""

    accepted = _count()
    joined = _count()
    refused = _count()
    succeeded = _count()
    failed = fields.Dict(
        keys=fields.Integer(validate=validate.OneOf(FAILURES)),
        values=fields.Dict(keys=fields.String(), values=_count()),
        required=True,
        metadata={"description": "By status code, then message."},
    )
    pending = _count()
    held = _count(description="How many of the pending syncs are held.")
    error_logs = _count(description="All ever written, without those of the first data.")
    lateness = fields.Nested(LatenessSchema, required=True)
    faults = fields.Dict(
        keys=Text(validate=validate.OneOf(("before", "after"))),
        values=fields.Dict(keys=fields.String(), values=_count()),
        required=True,
        metadata={"description": "Faults of HTTP that requests met, by kind."},
    )
    balanced = Flag(
        required=True,
        metadata={
            "description": "accepted = succeeded + failed + pending, and failed = error_logs."
        },
    )
