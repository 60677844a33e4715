"""How calls about fleets can be answered, for the documentation."""

from http import HTTPStatus

from pisync.web.contract.answer_schemas import (
    ClockSchema,
    DeviceSchema,
    FleetSchema,
    FleetSummarySchema,
    ForecastSchema,
    LedgerSchema,
    MovedSchema,
)
from pisync.web.contract.answers import DONE, NDJSON, REPLACED, SYNCED, Answer, refusal
from pisync.web.contract.headers import LINK, LOCATION, TOTAL_HEADER

_PROFILE = {
    "seed": 7,
    "outcomes": [
        {"sync_status_code": 200, "error_message": None, "weight": 9.0},
        {"sync_status_code": 400, "error_message": "Storage Full", "weight": 1.0},
    ],
    "delay": {"distribution": "uniform", "min": 0.5, "max": 2.0},
    "when_pending": "join",
    "max_pending": 1000000,
}
_CLOCK = {"mode": "real", "speed": 1.0, "now": "2026-11-22T08:15:30.250000Z"}
_FLEET = {
    "name": "suite-1",
    "devices": 1000,
    "seed": 7,
    "profile": _PROFILE,
    "journal": 1000,
    "clock": _CLOCK,
    "ttl": 3600,
    "expires_at": "2026-11-22T09:15:30.250000Z",
}
_MOVED = {"now": "2026-11-22T09:15:30.250000Z", "finished": 3}

_SNAPSHOT = """\
{"version":1,"fleet":"suite-1","devices":1000, …}
{"device":{"device_id":7,"last_sync_at":null, …,"attempt":1,"pending":{"due_at": …}}}
{"end":{"lines":2,"sha256":"…"}}
"""

_THE_FLEET = Answer(HTTPStatus.OK, "The fleet.", FleetSchema(), _FLEET)
_TIME_MOVED = Answer(HTTPStatus.OK, "The fleet's time now.", MovedSchema(), _MOVED)

LIST_FLEETS = (
    Answer(
        HTTPStatus.OK,
        "A page of fleets.",
        FleetSummarySchema(many=True),
        [{name: value for name, value in _FLEET.items() if name != "profile"}],
        (LINK, TOTAL_HEADER),
    ),
)
GET_FLEET = (_THE_FLEET,)
PUT_FLEET = (
    Answer(HTTPStatus.OK, "The fleet replaced another.", FleetSchema(), _FLEET),
    Answer(HTTPStatus.CREATED, "The fleet was created.", FleetSchema(), _FLEET, (LOCATION,)),
)
GET_SNAPSHOT = (
    Answer(
        HTTPStatus.OK,
        "The document. It is complete if its last line is there.",
        None,
        _SNAPSHOT,
        media_type=NDJSON,
    ),
)
PUT_SNAPSHOT = (
    *PUT_FLEET,
    refusal(
        HTTPStatus.BAD_REQUEST,
        "The body is incomplete or corrupt.",
        "The body is incomplete or corrupt.",
    ),
    refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The document is larger than 1 GiB.",
        "The body is larger than 1048576 KiB.",
    ),
    refusal(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The body is not `application/x-ndjson`, or its `Content-Encoding` is not supported.",
        "The body must be application/x-ndjson.",
    ),
)
COPY_FLEET = PUT_FLEET
PATCH_FLEET = (_THE_FLEET,)
DELETE_FLEET = (
    DONE,
    refusal(
        HTTPStatus.CONFLICT,
        "The fleet `default` can't be deleted.",
        "The fleet `default` can't be deleted.",
    ),
)
RESET_FLEET = (DONE,)
PUT_CLOCK = (Answer(HTTPStatus.OK, "The clock.", ClockSchema(), _CLOCK),)
ADVANCE = (
    _TIME_MOVED,
    refusal(
        HTTPStatus.CONFLICT,
        "The fleet's clock is real, or the fleet was reset, replaced or deleted meanwhile.",
        "The fleet's clock is real: only a manual or auto clock can be advanced.",
    ),
)
SETTLE = (_TIME_MOVED, REPLACED)
FORECAST = (
    Answer(
        HTTPStatus.OK,
        "The attempts.",
        ForecastSchema(many=True),
        [
            {"attempt": 1, "sync_status_code": 200, "error_message": None, "delay": 1.873214},
            {
                "attempt": 2,
                "sync_status_code": 400,
                "error_message": "Storage Full",
                "delay": 0.640312,
            },
        ],
    ),
)
GET_LEDGER = (
    Answer(
        HTTPStatus.OK,
        "The ledger.",
        LedgerSchema(),
        {
            "accepted": 6,
            "joined": 2,
            "refused": 0,
            "succeeded": 3,
            "failed": {"400": {"Storage Full": 1}, "500": {"Connection Timeout": 1}},
            "pending": 1,
            "held": 0,
            "error_logs": 2,
            "lateness": {"p50": 0.0006, "p99": 0.0021, "max": 0.0034},
            "faults": {"before": {"status": 2}, "after": {}},
            "balanced": True,
        },
    ),
)
SCRIPT = (DONE,)
RELEASE = (
    Answer(HTTPStatus.OK, "The device, with its outcome.", DeviceSchema(), SYNCED),
    refusal(
        HTTPStatus.CONFLICT,
        "No sync of the device is held.",
        "The device holds no sync to release.",
    ),
)
