"""Headers, and parameters of paths and headers, as the documentation describes them.

Under their names as people write them: those in aiohttp's `hdrs` are of a type of their own.
"""

from collections.abc import Mapping
from typing import Any

from pisync.auth.accounts import USERNAME
from pisync.model.device import MAX_DEVICE_ID
from pisync.model.fleet import FLEET_NAME

Json = dict[str, Any]

ETAG = "ETag"
IF_NONE_MATCH = "If-None-Match"
LAST_EVENT_ID = "Last-Event-ID"
LINK = "Link"
LOCATION = "Location"
FLEET_HEADER = "Pisync-Fleet"
ATTEMPT_HEADER = "Pisync-Attempt"
FAULT_HEADER = "Pisync-Fault"
IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
TOTAL_HEADER = "X-Total-Count"
REQUEST_ID = "X-Request-ID"
RETRY_AFTER = "Retry-After"
WWW_AUTHENTICATE = "WWW-Authenticate"

DEVICE_ID: Json = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_DEVICE_ID}

HEADERS: Mapping[str, Json] = {
    REQUEST_ID: {
        "description": "The caller's, if it is 1 to 128 of A-Z a-z 0-9 . _ -, else a new one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "required": True,
    },
    ETAG: {
        "description": "Identifies this version of the answer, for `If-None-Match`.",
        "schema": {"type": "string"},
        "required": True,
    },
    LINK: {
        "description": (
            '`<…>; rel="next"`: the next page, if there is one. Below a base URL it is relative.'
        ),
        "schema": {"type": "string"},
    },
    LOCATION: {
        "description": "The path of the device, or of the new fleet; relative below a base URL.",
        "schema": {"type": "string", "format": "uri-reference"},
        "required": True,
    },
    RETRY_AFTER: {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "integer", "minimum": 1},
        "required": True,
    },
    WWW_AUTHENTICATE: {
        "description": "What is wrong with the token, as in RFC 6750.",
        "schema": {"type": "string"},
        "required": True,
    },
    TOTAL_HEADER: {
        "description": "The number of items on all pages.",
        "schema": {"type": "integer", "minimum": 0},
        "required": True,
    },
    ATTEMPT_HEADER: {
        "description": "The number of the attempt under way.",
        "schema": {"type": "integer", "minimum": 1},
        "required": True,
    },
    REPLAYED_HEADER: {
        "description": "There, and `true`, if the answer is the first one to an `Idempotency-Key`.",
        "schema": {"type": "string", "const": "true"},
    },
}

PARAMETERS: Mapping[str, Json] = {
    "device_id": {
        "in": "path",
        "description": "The device's number in its fleet.",
        "schema": DEVICE_ID,
        "example": 7,
    },
    "username": {
        "in": "path",
        "description": "The account's name; case is ignored.",
        "schema": {"type": "string", "pattern": f"^{USERNAME.pattern}$"},
        "example": "alice",
    },
    "fleet": {
        "in": "path",
        "description": "The fleet's name.",
        "schema": {"type": "string", "pattern": f"^{FLEET_NAME}$"},
        "examples": {
            "The default fleet": {"value": "default"},
            "A suite's own fleet": {"value": "suite-1"},
        },
    },
    FLEET_HEADER: {
        "in": "header",
        "description": "The fleet to act on; `default` if left out. No fleet has an empty name.",
        "schema": {"type": "string", "pattern": f"^{FLEET_NAME}$", "default": "default"},
    },
    IF_NONE_MATCH: {
        "in": "header",
        "description": "The `ETag` of the client's copy: 304 if it is still current.",
        "schema": {"type": "string"},
    },
    IDEMPOTENCY_KEY: {
        "in": "header",
        "description": (
            "Makes the request safe to repeat: one with the same key, path and body gets the first"
            " 202 again, and nothing begins. Visible ASCII characters; remembered for 24 hours."
        ),
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
    },
    LAST_EVENT_ID: {
        "in": "header",
        "description": "The `id` of the last event seen; the stream resumes after it.",
        "schema": {"type": "string"},
    },
}
