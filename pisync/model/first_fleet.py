"""The ten hard-coded devices that the default fleet starts with, and their error logs."""

from pisync.model.device import ErrorLog
from pisync.model.fleet import DeviceSpec, FleetTimes, Listed
from pisync.model.timestamp import parse


def _synced(device_id: int, at: str) -> DeviceSpec:
    return DeviceSpec(device_id, parse(at), last_attempt_at=parse(at))


def _failed(
    device_id: int, last_sync_at: str | None, code: int, message: str, last_attempt_at: str
) -> DeviceSpec:
    succeeded_at = None if last_sync_at is None else parse(last_sync_at)
    return DeviceSpec(device_id, succeeded_at, code, message, parse(last_attempt_at))


_DEVICES = (
    _synced(1, "2025-06-02T07:40:12.000000Z"),
    _failed(2, "2025-06-01T22:15:03.250000Z", 400, "Storage Full", "2025-06-02T06:15:09.481250Z"),
    _synced(3, "2025-06-02T07:12:45.118000Z"),
    _failed(
        4, "2025-05-30T13:05:31.900000Z", 404, "Server Not Reachable", "2025-06-02T05:48:27.004500Z"
    ),
    _synced(5, "2025-06-01T18:22:10.730125Z"),
    _failed(
        6, "2025-06-02T01:01:59.640000Z", 500, "Connection Timeout", "2025-06-02T07:31:18.902000Z"
    ),
    _failed(7, None, 400, "Authentication Failure", "2025-06-02T07:05:50.333333Z"),
    _synced(8, "2025-06-02T03:54:06.275000Z"),
    _failed(
        9, "2025-05-28T09:30:00.000000Z", 500, "Unknown Sync Error", "2025-06-01T23:59:59.999999Z"
    ),
    _synced(10, "2025-06-02T07:39:58.012345Z"),
)


def _log_order(device: DeviceSpec) -> int:
    return device.made(FleetTimes(0, 0)).last_attempt_at


def first_fleet() -> Listed:
    """Return the ten devices, with the error log of the last attempt where it failed."""
    failed = sorted((device for device in _DEVICES if device.error_message), key=_log_order)
    return Listed(
        _DEVICES,
        [
            ErrorLog(
                error_id,
                device.device_id,
                0,
                device.sync_status_code,
                device.error_message or "",
                _log_order(device),
            )
            for error_id, device in enumerate(failed, start=1)
        ],
    )
