"""Making changes true: the call of the function `apply_work`, and its many arguments."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pisync.model.device import Device, ErrorLog
from pisync.model.outcome import PENDING
from pisync.model.timestamp import SECOND
from pisync.stores.changes import FleetChanges
from pisync.stores.postgres import notifications
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.snapshot import FleetSnapshot
from pisync.stores.schema import codec
from pisync.stores.schema.rows import device_row

_ARGUMENTS = 32
_APPLY = f"SELECT apply_work({', '.join(f'${n}' for n in range(1, _ARGUMENTS + 1))})"

SnapshotChanges = FleetChanges[FleetSnapshot]


def due_in(changes: SnapshotChanges) -> float | None:
    """Return the real seconds until the first of the syncs that began is due; None for never."""
    dues = [
        each.pending.due_at
        for each in changes.devices.values()
        if each.pending is not None and each.pending.due_at is not None
    ]
    dues += [moment for moment in changes.moments.values() if moment is not None]
    if not dues:
        return None
    wait = changes.clock.real_wait(min(dues), changes.fleet.real_time)
    return None if wait is None else wait / SECOND


async def apply(
    connection: Connection,
    changes: SnapshotChanges,
    max_error_logs: int,
    *,
    changed: Iterable[Device | ErrorLog] | None = None,
    more_notices: Sequence[str] = (),
) -> int | None:
    """Make changes true, and tell all replicas; None if their snapshot no longer holds.

    What has `changed` is told in that order; by default, the devices.

    Returns the id of the newest error log before it.
    """
    fleet = changes.fleet
    before = fleet.devices
    moves = Counter[int]()
    rows = []
    for device_id, device in changes.devices.items():
        old = before[device_id]
        moves[old.sync_status_code] -= 1
        moves[device.sync_status_code] += 1
        row = device_row(device, changes.moments.get(device_id))
        rows.append((device_id, old.attempt, old.sync_status_code, *row[1:]))
    room = changes.profile.max_pending - moves[PENDING] if moves[PENDING] > 0 else None
    changed_clock = changes.clock is not fleet.clock
    if changed is None:
        changed = changes.devices.values()
    newest_error: int | None = await connection.fetchval(
        _APPLY,
        fleet.fleet_id,
        fleet.version,
        room,
        max_error_logs,
        *_columns(rows, 11),
        *_columns(moves.items(), 2),
        *_columns([log[1:] for log in changes.error_logs], 5),
        *_columns([(*count, n) for count, n in sorted(changes.counts.items())], 3),
        *_columns(
            [(each, script and script.position) for each, script in changes.scripts.items()], 2
        ),
        *(changes.clock if changed_clock else (None, None, None)),
        None if changes.profile is fleet.profile else codec.write_profile(changes.profile),
        [
            *notifications.changed(fleet.fleet_id, fleet.name, changed, due_in(changes)),
            *more_notices,
        ],
    )
    return newest_error


def _columns(rows: Iterable[Sequence[Any]], width: int) -> Sequence[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [()] * width
