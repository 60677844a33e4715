"""The Python client for one fleet: what its devices do, and what an admin may do to it.

Imports the standard library alone; `in_process`, `load` and users import it from here.
"""

from pisync.client.fleet_client import (
    Accepted,
    BulkResult,
    CallFailed,
    ClockView,
    Device,
    ErrorLog,
    FleetClient,
    FleetView,
    Forecast,
    Lateness,
    Ledger,
    Moved,
    Object,
    Stats,
)

__all__ = [
    "Accepted",
    "BulkResult",
    "CallFailed",
    "ClockView",
    "Device",
    "ErrorLog",
    "FleetClient",
    "FleetView",
    "Forecast",
    "Lateness",
    "Ledger",
    "Moved",
    "Object",
    "Stats",
]
