"""The Python client for one fleet: what its devices do, and what an admin may do to it.

Imports the standard library alone; `in_process`, `load` and users import it from here.
"""

from pisync.client.fleet_client import FleetClient, Object
from pisync.client.requests import (
    NO_ANSWER,
    ExpectedRequest,
    NotVerified,
    Request,
    device,
    request,
    sync,
)
from pisync.client.values import (
    Accepted,
    BulkResult,
    CallFailed,
    ClockView,
    Device,
    ErrorLog,
    FleetView,
    Forecast,
    History,
    Lateness,
    Ledger,
    Moved,
    Stats,
)

__all__ = [
    "NO_ANSWER",
    "Accepted",
    "BulkResult",
    "CallFailed",
    "ClockView",
    "Device",
    "ErrorLog",
    "ExpectedRequest",
    "FleetClient",
    "FleetView",
    "Forecast",
    "History",
    "Lateness",
    "Ledger",
    "Moved",
    "NotVerified",
    "Object",
    "Request",
    "Stats",
    "device",
    "request",
    "sync",
]
