"""How calls on faults and journals can be answered, for the documentation."""

from http import HTTPStatus

from marshmallow import Schema, fields, validate

from pisync.model.device import MAX_DEVICE_ID
from pisync.model.parsing.faults import FaultRuleSchema
from pisync.model.parsing.fields import Flag, Int, Number, Text, Timestamp
from pisync.model.requests.call import CALLS
from pisync.model.requests.fault import KINDS
from pisync.web.contract.answers import Answer
from pisync.web.contract.headers import LINK
from pisync.web.contract.requests.schemas import ExpectationSchema

_DONE = Answer(HTTPStatus.NO_CONTENT, "Done.")


class CountedFaultRuleSchema(FaultRuleSchema):
    """A rule for faults, and how many requests it has hit."""

    hits = Int(required=True, validate=validate.Range(0))


class JournaledRequestSchema(Schema):
    """A request of a client."""

    number = Int(required=True, validate=validate.Range(1))
    request_id = Text(required=True)
    received_at = Timestamp(required=True, metadata={"description": "By the wall clock."})
    call = Text(required=True, validate=validate.OneOf(CALLS))
    method = Text(required=True)
    path = Text(required=True, metadata={"description": "Without its query."})
    device_id = Int(required=True, allow_none=True, validate=validate.Range(1, MAX_DEVICE_ID))
    user = Text(required=True)
    user_agent = Text(required=True, allow_none=True)
    status = Int(
        required=True,
        allow_none=True,
        validate=validate.Range(100, 599),
        metadata={"description": "Null if there was no answer."},
    )
    fault = Text(
        required=True,
        allow_none=True,
        metadata={"description": f"The kind of the fault that it met: {', '.join(KINDS)}."},
    )
    attempt = Int(
        required=True,
        allow_none=True,
        validate=validate.Range(1),
        metadata={"description": "The attempt that a sync began or joined."},
    )
    seconds = Number(required=True, validate=validate.Range(0))


class VerifyProblemSchema(Schema):
    """An expectation that is not met, and the requests that come closest to it."""

    index = Int(required=True, validate=validate.Range(0))
    found = Int(required=True, validate=validate.Range(0))
    wanted = fields.Nested(ExpectationSchema, required=True)
    message = Text(required=True)
    nearest = fields.List(fields.Nested(JournaledRequestSchema), required=True)


class VerificationSchema(Schema):
    """Whether the requests are as expected."""

    verified = Flag(required=True)
    problems = fields.List(
        fields.Nested(VerifyProblemSchema), metadata={"description": "Present if they are not."}
    )


_RULE = {
    "calls": ["sync"],
    "first": 2,
    "fault": {"kind": "status", "status": 429, "retry_after": 1},
    "when": "before",
    "hits": 2,
}
_REQUEST = {
    "number": 12,
    "request_id": "4f2a-1c",
    "received_at": "2026-11-22T08:15:30.250000Z",
    "call": "sync",
    "method": "POST",
    "path": "/devices/8/sync",
    "device_id": 8,
    "user": "alice",
    "user_agent": "curl/8.5.0",
    "status": 202,
    "fault": None,
    "attempt": 3,
    "seconds": 0.000412,
}
_THE_RULES = Answer(
    HTTPStatus.OK,
    "The rules, and how many requests each has hit.",
    CountedFaultRuleSchema(many=True),
    [_RULE],
)

PUT_FAULTS = GET_FAULTS = (_THE_RULES,)
DELETE_FAULTS = CLEAR_REQUESTS = (_DONE,)
LIST_REQUESTS = (
    Answer(
        HTTPStatus.OK, "A page of requests.", JournaledRequestSchema(many=True), [_REQUEST], (LINK,)
    ),
)
VERIFY_REQUESTS = (
    Answer(
        HTTPStatus.OK,
        "Whether the requests are as expected.",
        VerificationSchema(),
        {
            "verified": False,
            "problems": [
                {
                    "index": 0,
                    "found": 0,
                    "wanted": {"call": "sync", "device_id": 7, "at_least": 1},
                    "message": "Found 0 of these requests, expected at least 1.",
                    "nearest": [_REQUEST],
                }
            ],
        },
    ),
)
