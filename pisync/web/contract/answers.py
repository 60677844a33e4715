"""How calls can be answered, for the documentation; those about fleets are in `fleet_answers`."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from marshmallow import Schema

from pisync.web.contract.answer_schemas import (
    AccountSchema,
    BulkResultSchema,
    DeviceSchema,
    ErrorLogSchema,
    ProblemSchema,
    StateSchema,
    StatsSchema,
    TokenSchema,
)
from pisync.web.contract.headers import (
    ATTEMPT_HEADER,
    ETAG,
    LINK,
    LOCATION,
    REPLAYED_HEADER,
    RETRY_AFTER,
    TOTAL_HEADER,
    WWW_AUTHENTICATE,
)

JSON = "application/json"
HTML = "text/html"
TEXT = "text/plain"
EVENT_STREAM = "text/event-stream"
NDJSON = "application/x-ndjson"

_OBJECT: Mapping[str, object] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status, when it comes, and what it carries.

    `schema` and `example` are of its body: without a schema it is a text, without an example there
    is none. `headers` are those that not all answers have.
    """

    status: int
    description: str
    schema: Schema | Mapping[str, object] | None = None
    example: Any = None
    headers: tuple[str, ...] = ()
    media_type: str = JSON


def refusal(status: int, description: str, message: str, *headers: str) -> Answer:
    """Return an error answer, with an example of its message."""
    return Answer(status, description, ProblemSchema(), {"message": message}, headers)


SHARED: Mapping[str, Answer] = {
    "NotJson": refusal(HTTPStatus.BAD_REQUEST, "The body is not JSON.", "The body is not JSON."),
    "Unauthorized": refusal(
        HTTPStatus.UNAUTHORIZED,
        "The token is missing or not valid.",
        "The token is not valid.",
        WWW_AUTHENTICATE,
    ),
    "Forbidden": refusal(
        HTTPStatus.FORBIDDEN,
        "The token lacks the scope, or is bound to another fleet.",
        "The token lacks the scope admin.",
        WWW_AUTHENTICATE,
    ),
    "NotFound": refusal(
        HTTPStatus.NOT_FOUND,
        "There is no such device, fleet or account.",
        "There is no such device in this fleet.",
    ),
    "TooSlow": refusal(
        HTTPStatus.REQUEST_TIMEOUT,
        "The body took too long to arrive.",
        "The body took too long to arrive.",
    ),
    "TooLarge": refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body is too large.",
        "The body is larger than 64 KiB.",
    ),
    "WrongType": refusal(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The body is not `application/json`, or its `Content-Encoding` is not supported.",
        "The body must be application/json.",
    ),
    "Invalid": Answer(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A field of the body or a query parameter is not valid.",
        ProblemSchema(),
        {
            "message": "Some fields are not valid.",
            "errors": {"profile.delay.max": ["Must not be less than min."]},
        },
    ),
    "Unavailable": refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "A limit is reached, or the store can't be reached. Try again.",
        "The store can't be reached now. Try again.",
        RETRY_AFTER,
    ),
}
"""Refusals that a call's route implies, by their names in the document."""

_NOT_MODIFIED = Answer(
    HTTPStatus.NOT_MODIFIED,
    "The client's copy is current: `If-None-Match` names its `ETag`.",
    headers=(ETAG,),
)
_BUSY = refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "Too many passwords are waiting to be hashed, or the store can't be reached. Try again.",
    "Too many passwords are waiting to be hashed. Try again.",
    RETRY_AFTER,
)
_THROTTLED = refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    "Too many logins failed for this name or from this address.",
    "Too many failed logins.",
    RETRY_AFTER,
)
REPLACED = refusal(
    HTTPStatus.CONFLICT,
    "The fleet was reset, replaced or deleted meanwhile.",
    "The fleet was reset, replaced or deleted meanwhile.",
)
DONE = Answer(HTTPStatus.NO_CONTENT, "Done.")

# Pages and health

_PAGE = (
    Answer(
        HTTPStatus.OK,
        "A page.",
        example="<!doctype html>",
        headers=(ETAG,),
        media_type=HTML,
    ),
    _NOT_MODIFIED,
)
HOME = DOCS = _PAGE
OPENAPI = (
    Answer(HTTPStatus.OK, "The OpenAPI 3.1 document.", _OBJECT, {"openapi": "3.1.0"}, (ETAG,)),
    _NOT_MODIFIED,
)
FLEETS_SCHEMA = (
    Answer(
        HTTPStatus.OK,
        "The JSON Schema of fleet files.",
        _OBJECT,
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
        (ETAG,),
    ),
    _NOT_MODIFIED,
)
LIVEZ = (Answer(HTTPStatus.OK, "The process runs.", StateSchema(), {"status": "ok"}),)
READYZ = (
    Answer(HTTPStatus.OK, "The service can serve.", StateSchema(), {"status": "ready"}),
    refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The store can't be reached, or the server is shutting down.",
        "The server is shutting down.",
        RETRY_AFTER,
    ),
)
METRICS = (
    Answer(
        HTTPStatus.OK,
        "All metrics, in Prometheus' text format, or as OpenMetrics if `Accept` asks for that.",
        example="pisync_syncs_pending 0.0\n",
        media_type=TEXT,
    ),
)

# Accounts

_JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.…"

REGISTER = (
    Answer(
        HTTPStatus.CREATED,
        "The account was created; here is a token for it.",
        TokenSchema(),
        {"message": "User registered successfully.", "token": _JWT},
    ),
    refusal(HTTPStatus.CONFLICT, "The username is taken.", "This username is taken."),
    _BUSY,
)
LOGIN = (
    Answer(
        HTTPStatus.OK,
        "Username and password are right; here is a token.",
        TokenSchema(),
        {"message": "Login successful.", "token": _JWT},
    ),
    refusal(
        HTTPStatus.UNAUTHORIZED,
        "There is no such account, or the password is wrong.",
        "Invalid username or password.",
        WWW_AUTHENTICATE,
    ),
    _THROTTLED,
    _BUSY,
)

CHANGE_PASSWORD = (
    Answer(
        HTTPStatus.OK,
        "The password was changed; here is a new token.",
        TokenSchema(),
        {"message": "Password changed.", "token": _JWT},
    ),
    refusal(
        HTTPStatus.NOT_FOUND,
        "The token is not for an account: it was minted with the secret.",
        "There is no such account.",
    ),
    refusal(
        HTTPStatus.CONFLICT,
        "The account was changed meanwhile.",
        "The account was changed meanwhile. Try again.",
    ),
    Answer(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The current password is wrong, or the new one is not valid.",
        ProblemSchema(),
        {
            "message": "Some fields are not valid.",
            "errors": {"password": ["Must be the account's current password."]},
        },
    ),
    _THROTTLED,
    _BUSY,
)

_ACCOUNT = {"username": "alice", "scopes": ["devices"], "disabled": False}
_THE_ACCOUNT = Answer(HTTPStatus.OK, "The account.", AccountSchema(), _ACCOUNT)
_ADMIN_STAYS = refusal(
    HTTPStatus.CONFLICT,
    "The account is `admin`, which can't be changed.",
    "The account `admin` can't be disabled or deleted, and its scopes stay.",
)

LIST_ACCOUNTS = (
    Answer(
        HTTPStatus.OK,
        "A page of accounts.",
        AccountSchema(many=True),
        [_ACCOUNT],
        (LINK, TOTAL_HEADER),
    ),
)
GET_ACCOUNT = (_THE_ACCOUNT,)
PATCH_ACCOUNT = (_THE_ACCOUNT, _ADMIN_STAYS)
DELETE_ACCOUNT = (DONE, _ADMIN_STAYS)

# Devices and errors

_DEVICE = {
    "device_id": 7,
    "last_sync_at": "2026-11-22T07:40:12.000000Z",
    "sync_status_code": 500,
    "error_message": "Connection Timeout",
    "last_attempt_at": "2026-11-22T08:15:30.250000Z",
}
_PENDING = {**_DEVICE, "sync_status_code": 202, "error_message": None}
SYNCED = {
    "device_id": 7,
    "last_sync_at": "2026-11-22T08:15:30.250000Z",
    "sync_status_code": 200,
    "error_message": None,
    "last_attempt_at": "2026-11-22T08:15:30.250000Z",
}
_ERROR_LOG = {
    "error_id": 12,
    "device_id": 7,
    "attempt": 3,
    "sync_status_code": 500,
    "error_message": "Connection Timeout",
    "occurred_at": "2026-11-22T08:15:32.104217Z",
}

LIST_DEVICES = (
    Answer(
        HTTPStatus.OK,
        "A page of devices.",
        DeviceSchema(many=True),
        [_DEVICE],
        (LINK, TOTAL_HEADER, ETAG),
    ),
    _NOT_MODIFIED,
)
GET_DEVICE = (
    Answer(HTTPStatus.OK, "The device.", DeviceSchema(), _DEVICE, (ETAG,)),
    _NOT_MODIFIED,
)
SYNC_DEVICE = (
    Answer(
        HTTPStatus.ACCEPTED,
        "The device is pending, with a new attempt or the one under way.",
        DeviceSchema(),
        _PENDING,
        (LOCATION, ATTEMPT_HEADER, REPLAYED_HEADER),
    ),
    refusal(
        HTTPStatus.CONFLICT,
        "The device is pending, and the fleet refuses to join; or a request with this"
        " `Idempotency-Key` is under way.",
        "A sync of this device is already pending.",
    ),
)
SYNC_DEVICES = (
    Answer(
        HTTPStatus.ACCEPTED,
        "How many syncs were started, joined and refused.",
        BulkResultSchema(),
        {"started": 2, "joined": 0, "refused": 0, "not_found": [4711]},
        (REPLAYED_HEADER,),
    ),
    refusal(
        HTTPStatus.CONFLICT,
        "The fleet was reset, replaced or deleted meanwhile; or a request with this"
        " `Idempotency-Key` is under way.",
        "The fleet was reset, replaced or deleted meanwhile.",
    ),
)
LIST_ERRORS = (
    Answer(
        HTTPStatus.OK,
        "A page of error logs.",
        ErrorLogSchema(many=True),
        [_ERROR_LOG],
        (LINK,),
    ),
)
GET_STATS = (
    Answer(
        HTTPStatus.OK,
        "The counts.",
        StatsSchema(),
        {
            "devices": 10,
            "pending": 1,
            "by_status": {"200": 5, "202": 1, "400": 2, "404": 1, "500": 1},
            "attempts": 3,
            "succeeded": 1,
            "failed": 1,
            "error_logs": 6,
        },
    ),
)
EVENTS = (
    Answer(
        HTTPStatus.OK,
        "Events, until the token expires or ends.",
        example='id: 1\nevent: sync\ndata: {"device": {…}, "attempt": 3}\n\n',
        media_type=EVENT_STREAM,
    ),
)
