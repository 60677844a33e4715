"""Schemas of the bodies and queries of calls on accounts, devices and error logs.

The OpenAPI document is made from the same schemas.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import (
    Schema,
    ValidationError,
    fields,
    post_load,
    pre_load,
    validate,
    validates_schema,
)

from pisync.auth.accounts import USERNAME
from pisync.model.account import SCOPES
from pisync.model.device import MAX_DEVICE_ID, ErrorFilter
from pisync.model.outcome import FAILURES
from pisync.model.parsing.fields import (
    DeviceIds,
    Flag,
    ListOf,
    QueryInt,
    QueryNumber,
    QueryStatuses,
    SentTimestamp,
    Statuses,
    Text,
)
from pisync.model.password_policy import (
    MAX_BYTES,
    MIN_CHARACTERS,
    Flaw,
    flaw_of,
)
from pisync.simulation.rates import SECONDS

MAX_BULK = 10_000
MAX_PAGE = 1_000
MAX_WAIT = 60
"""Seconds that a call may wait."""
MAX_SCOPES = 100
"""Scopes that a change of an account may name: there are two, but each may come twice."""

DEVICE_ID = r"[1-9][0-9]{0,15}"
"""A device's id as it stands in a path."""


class NoQuery(Schema):
    """The query of a call that takes none."""


def _wait(description: str) -> QueryNumber:
    """Return the parameter for the seconds that a call may wait."""
    return QueryNumber(
        load_default=0.0,
        validate=validate.Range(0, MAX_WAIT),
        metadata={"description": description},
    )


class DeviceQuery(Schema):
    """How long to wait for a device."""

    wait = _wait(
        "Answer when the device is no longer pending, or when so many seconds have passed; with"
        " `If-None-Match`, when its `ETag` is another."
    )


class StatsQuery(Schema):
    """How long to wait for counts, and how much of the past to add to them."""

    wait = _wait(
        "Answer when nothing is pending that would finish by itself, or when so many seconds have"
        " passed."
    )

    history = QueryInt(
        load_default=None,
        allow_none=False,
        validate=validate.Range(1, SECONDS),
        metadata={
            "description": "Add how many syncs began, succeeded and failed in each of so many of"
            " the last seconds."
        },
    )


# Accounts


_PASSWORD_FLAWS = {
    Flaw.NOT_UTF8: "Must be UTF-8.",
    Flaw.HAS_NUL: "Must not contain NUL.",
    Flaw.TOO_LONG: f"Must be at most {MAX_BYTES} bytes of UTF-8.",
    Flaw.TOO_SHORT: f"Must be at least {MIN_CHARACTERS} characters long.",
}


def _follows_the_rule(password: str) -> None:
    flaw = flaw_of(password)
    if flaw:
        raise ValidationError(_PASSWORD_FLAWS[flaw])


_is_username = validate.Regexp(
    rf"{USERNAME.pattern}\Z",
    error="Must be 3 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or a digit.",
)


def _new_password() -> Text:
    return Text(
        required=True,
        validate=_follows_the_rule,
        metadata={
            "description": f"At most {MAX_BYTES} bytes of UTF-8.",
            "minLength": MIN_CHARACTERS,
            "maxLength": MAX_BYTES,
        },
    )


class RegisterBody(Schema):
    """The username and password of a new account."""

    username = Text(
        required=True,
        validate=_is_username,
        metadata={"description": "Case is ignored: `Alice` and `alice` are one account."},
    )
    password = _new_password()


class LoginBody(Schema):
    """A username and a password. Those that no account can have fail like any other wrong ones."""

    username = fields.String(required=True)
    password = fields.String(required=True)


class PasswordBody(Schema):
    """The account's current password, and its new one."""

    password = fields.String(required=True)
    new_password = _new_password()


def page_size(default: int) -> QueryInt:
    """Return the parameter for the number of items on a page."""
    return QueryInt(
        load_default=default,
        validate=validate.Range(1, MAX_PAGE),
        metadata={"description": "The most items on a page."},
    )


class AccountsQuery(Schema):
    """The page of accounts to list."""

    limit = page_size(MAX_PAGE)
    after = Text(
        load_default=None,
        allow_none=False,
        validate=_is_username,
        metadata={"description": "List accounts whose name in lower case sorts after this."},
    )


class AccountBody(Schema):
    """The changes to an account."""

    disabled = Flag(metadata={"description": "If true, nobody can log in, and all tokens end."})
    scopes = ListOf(
        Text(validate=validate.OneOf(SCOPES)),
        validate.Length(max=MAX_SCOPES),
        metadata={"description": "The scopes of the account's tokens."},
    )

    @pre_load
    def _not_empty(self, data: Any, **_: object) -> Any:
        if data == {}:
            raise ValidationError("Give disabled, scopes, or both.")
        return data

    @post_load
    def _each_once(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        if "scopes" in data:
            data["scopes"] = tuple(scope for scope in SCOPES if scope in data["scopes"])
        return data


# Devices and errors


class EventsQuery(Schema):
    """Where a stream of events begins."""

    last_event_id = fields.String(
        data_key="lastEventId",
        load_default=None,
        allow_none=False,
        metadata={
            "description": "As the header Last-Event-ID, for clients that can't set one; the header"
            " wins."
        },
    )


class DevicesQuery(Schema):
    """The page of devices to list."""

    limit = page_size(100)
    after = QueryInt(
        load_default=0,
        validate=validate.Range(0, MAX_DEVICE_ID),
        metadata={"description": "List devices with a greater id; with 0 these are all."},
    )
    status = QueryStatuses(
        load_default=None,
        allow_none=False,
        metadata={"description": "List devices with one of these status codes."},
    )


class SyncBody(Schema):
    """The devices to sync, by exactly one of these fields."""

    device_ids = DeviceIds(MAX_BULK)
    status = Statuses()
    all = Flag(validate=validate.Equal(True, error="Must be true."))

    @validates_schema(skip_on_field_errors=False)
    def _exactly_one(self, data: Mapping[str, object], **_: object) -> None:
        if len(data) > 1:
            raise ValidationError("Give exactly one of device_ids, status and all.")

    @pre_load
    def _not_empty(self, data: Any, **_: object) -> Any:
        if data == {}:
            raise ValidationError("Give exactly one of device_ids, status and all.")
        return data


class ErrorsQuery(Schema):
    """The error logs to list."""

    limit = page_size(50)
    before = QueryInt(
        validate=validate.Range(0, MAX_DEVICE_ID),
        metadata={"description": "List error logs with a smaller id; with 0 there are none."},
    )
    device_id = QueryInt(
        validate=validate.Range(1, MAX_DEVICE_ID),
        metadata={"description": "List error logs of this device."},
    )
    statuses = QueryStatuses(
        FAILURES,
        data_key="status",
        metadata={"description": "List error logs with one of these status codes."},
    )
    since = SentTimestamp(metadata={"description": "List error logs from this fleet time on."})

    @post_load
    def _filter(self, data: dict[str, Any], **_: object) -> tuple[ErrorFilter, int]:
        limit = data.pop("limit")
        return ErrorFilter(**data), limit
