"""Schemas of the bodies and queries of calls on what a fleet's requests meet and leave behind.

The OpenAPI document is made from the same schemas.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from pisync.model.device import MAX_DEVICE_ID
from pisync.model.parsing.fields import (
    Flag,
    Int,
    ListOf,
    QueryInt,
    QueryList,
    SentTimestamp,
    Text,
)
from pisync.model.requests.call import CALLS
from pisync.model.requests.expectation import MAX_EXPECTATIONS, NO_ANSWER, Expectation
from pisync.model.requests.fault import KINDS
from pisync.model.requests.journal import MAX_JOURNAL, RequestFilter
from pisync.web.contract.schemas import page_size

_STATUS = validate.Range(100, 599)
_MAX_USER = 256


class Words(QueryList):
    """Some of several words, separated by commas."""

    def __init__(self, words: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = words

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> frozenset[str]:
        found = frozenset(value.split(","))
        if not found <= set(self.words):
            raise ValidationError(f"Each must be one of: {', '.join(self.words)}.")
        return found


class HttpStatuses(QueryList):
    """HTTP status codes, separated by commas."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> frozenset[int]:
        codes = value.split(",")
        if not all(len(code) == 3 and code.isascii() and code.isdecimal() for code in codes):
            raise ValidationError("Each must be an HTTP status code.")
        return frozenset(map(int, codes))


def journal_field() -> Int:
    """Return the field for the size of a fleet's journal."""
    return Int(
        validate=validate.Range(0, MAX_JOURNAL),
        metadata={
            "description": "How many requests the fleet's journal keeps; 0 for none. Without it,"
            " 1,000 with memory and SQLite, none with PostgreSQL."
        },
    )


class RequestsQuery(Schema):
    """The requests to list."""

    limit = page_size(100)
    before = QueryInt(
        validate=validate.Range(0, MAX_DEVICE_ID),
        metadata={"description": "List requests with a smaller number."},
    )
    calls = Words(
        CALLS, data_key="call", metadata={"description": "List requests of one of these calls."}
    )
    device_id = QueryInt(
        validate=validate.Range(1, MAX_DEVICE_ID),
        metadata={"description": "List requests on this device."},
    )
    user = Text(
        validate=validate.Length(1, _MAX_USER),
        metadata={"description": "List requests of this user."},
    )
    statuses = HttpStatuses(
        data_key="status",
        metadata={"description": "List requests that were answered with one of these codes."},
    )
    faults = Words(
        KINDS, data_key="fault", metadata={"description": "List requests that met such a fault."}
    )
    since = SentTimestamp(
        metadata={"description": "List requests received from this time of the wall clock on."}
    )

    @post_load
    def _filter(self, data: dict[str, Any], **_: object) -> tuple[RequestFilter, int]:
        limit = data.pop("limit")
        return RequestFilter(**data), limit


class ExpectationSchema(Schema):
    """Requests that are expected. What is left out is open."""

    call = Text(validate=validate.OneOf(CALLS))
    device_id = Int(validate=validate.Range(1, MAX_DEVICE_ID))
    user = Text(validate=validate.Length(1, _MAX_USER))
    status = Int(
        allow_none=True,
        validate=_STATUS,
        metadata={"description": "The status of the answer; null: there was none."},
    )
    fault = Text(validate=validate.OneOf(KINDS))
    attempt = Int(validate=validate.Range(1, MAX_DEVICE_ID))
    at_least = Int(
        validate=validate.Range(0, MAX_JOURNAL),
        metadata={"description": "1 if neither it nor `at_most` is given, else 0."},
    )
    at_most = Int(validate=validate.Range(0, MAX_JOURNAL))

    @validates_schema
    def _in_order(self, data: Mapping[str, Any], **_: object) -> None:
        if data.get("at_least", 0) > data.get("at_most", MAX_JOURNAL):
            raise ValidationError({"at_most": ["Must not be less than at_least."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Expectation:
        if "at_most" not in data:
            data.setdefault("at_least", 1)
        if data.get("status", NO_ANSWER) is None:
            data["status"] = NO_ANSWER
        return Expectation(**data)


class VerifyBody(Schema):
    """The requests that are expected of the clients of a fleet."""

    requests = ListOf(
        fields.Nested(ExpectationSchema), validate.Length(1, MAX_EXPECTATIONS), required=True
    )
    in_order = Flag(
        load_default=False,
        metadata={"description": "Whether the first request of each must come in this order."},
    )
