"""What a client might send, for the documentation."""

from collections.abc import Mapping

from marshmallow import Schema

from pisync.model.parsing.faults import FaultsBody
from pisync.model.parsing.profile import OutcomeSchema
from pisync.web.contract.fleet_schemas import (
    AdvanceBody,
    ClockBody,
    CopyBody,
    FleetBody,
    FleetChangesBody,
    ScriptBody,
)
from pisync.web.contract.requests.schemas import VerifyBody
from pisync.web.contract.schemas import (
    AccountBody,
    LoginBody,
    PasswordBody,
    RegisterBody,
    SyncBody,
)

Examples = Mapping[str, object]

_ALICE = {"username": "alice", "password": "correct horse"}

BODIES: Mapping[type[Schema], Examples] = {
    RegisterBody: {"An account": _ALICE},
    LoginBody: {"An account": _ALICE},
    PasswordBody: {
        "A longer one": {"password": "correct horse", "new_password": "correct horse battery"}
    },
    AccountBody: {
        "Disable": {"disabled": True},
        "Make an admin": {"scopes": ["devices", "admin"]},
    },
    SyncBody: {
        "Some devices": {"device_ids": [1, 2, 3]},
        "Failed devices": {"status": [400, 404, 500]},
        "All devices": {"all": True},
    },
    FleetBody: {
        "A number of devices": {"devices": 1000},
        "A list of devices": {
            "devices": [
                {"device_id": 1},
                {
                    "device_id": 2,
                    "last_sync_at": None,
                    "sync_status_code": 400,
                    "error_message": "Storage Full",
                    "last_attempt_at": "2026-11-22T07:40:12.000000Z",
                },
            ]
        },
        "With a profile": {
            "devices": 100,
            "profile": {
                "seed": 7,
                "outcomes": [
                    {"sync_status_code": 200, "weight": 9},
                    {"sync_status_code": 400, "error_message": "Storage Full", "weight": 1},
                ],
                "delay": {"distribution": "uniform", "min": 0.5, "max": 2},
            },
        },
    },
    FaultsBody: {
        "429 for the first two": [
            {"calls": ["sync"], "first": 2, "fault": {"kind": "status", "status": 429}}
        ],
        "Lost answers": [
            {"calls": ["sync"], "share": 0.1, "fault": {"kind": "reset"}, "when": "after"}
        ],
        "Slow pages": [
            {"calls": ["devices"], "fault": {"kind": "drip", "bytes": 100, "every": 0.05}}
        ],
    },
    VerifyBody: {
        "One sync of device 7": {
            "requests": [{"call": "sync", "device_id": 7, "at_least": 1, "at_most": 1}]
        },
        "In order": {
            "requests": [{"call": "sync", "device_id": 7}, {"call": "device", "device_id": 7}],
            "in_order": True,
        },
    },
    FleetChangesBody: {
        "Forgotten after an hour without use": {"ttl": 3600},
        "Every sync fails": {
            "profile": {
                "outcomes": [
                    {"sync_status_code": 500, "error_message": "Connection Timeout", "weight": 1}
                ]
            }
        },
        "Every sync takes a second": {
            "profile": {"delay": {"distribution": "constant", "seconds": 1}}
        },
        "Refuse syncs of pending devices": {"profile": {"when_pending": "refuse"}},
    },
    CopyBody: {"A copy to look into": {"to": "suite-1-copy"}},
    ClockBody: {
        "Auto": {"mode": "auto"},
        "Manual": {"mode": "manual"},
        "Real": {"mode": "real"},
        "Real, ten times as fast": {"mode": "real", "speed": 10},
    },
    AdvanceBody: {"An hour": {"seconds": 3600}},
    ScriptBody: {
        "Fail twice": [
            {"sync_status_code": 500, "error_message": "Storage Full", "delay": 1.5},
            {"sync_status_code": 404, "error_message": "Server Not Reachable"},
        ],
        "Pending for three reads": [
            {"sync_status_code": 500, "error_message": "Storage Full", "polls": 3}
        ],
        "Hold an attempt": [{"hold": True}],
        "Fail for ever": [
            {"sync_status_code": 500, "error_message": "Connection Timeout", "sticky": True}
        ],
    },
    OutcomeSchema: {
        "Success": {"sync_status_code": 200},
        "Failure": {"sync_status_code": 400, "error_message": "Storage Full"},
    },
}
