"""Making changes true: the call of the function `commit_work`, and what follows a commit."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import asyncpg

from pisync.model.device import Device, ErrorLog
from pisync.model.outcome import PENDING
from pisync.model.sync import FinishedSync
from pisync.model.timestamp import SECOND
from pisync.stores.changes import Due, FleetChanges
from pisync.stores.postgres import notifications
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.outbox.relay import Relay
from pisync.stores.postgres.reading.polls import PollsChanged, write_polls
from pisync.stores.postgres.snapshot import FleetSnapshot
from pisync.stores.schema import codec
from pisync.stores.schema.rows import device_row

_ARGUMENTS = 15
_COMMIT = f"SELECT commit_work({', '.join(f'${n}' for n in range(1, _ARGUMENTS + 1))})"
_HOLDS_NO_MORE = "PS001"
"""How `commit_work` fails if it has written something before it saw that."""

SnapshotChanges = FleetChanges[FleetSnapshot]


def begun_dues(changes: SnapshotChanges) -> list[Due]:
    """Return when the syncs that began fall due; held ones never do."""
    return [
        Due(device.pending.due_at, device.device_id)
        for device in changes.devices.values()
        if device.pending is not None and device.pending.due_at is not None
    ]


def due_in(changes: SnapshotChanges) -> float | None:
    """Return the real seconds until the first of the syncs that began is due; None for never."""
    dues = [due.moment for due in begun_dues(changes)]
    dues += [moment for moment in changes.moments.values() if moment is not None]
    if not dues:
        return None
    wait = changes.clock.real_wait(min(dues), changes.fleet.real_time)
    return None if wait is None else wait / SECOND


class Commits:
    """Makes changes true, for all who compute them."""

    def __init__(self, own: OwnSyncs, relay: Relay, max_error_logs: int) -> None:
        self._own = own
        self._relay = relay
        self._max_error_logs = max_error_logs

    async def apply(
        self,
        connection: Connection,
        changes: SnapshotChanges,
        *,
        changed: Iterable[Device | ErrorLog] | None = None,
        more_notices: Sequence[str] = (),
        more: Callable[[Connection], Awaitable[bool]] | None = None,
    ) -> int | None:
        """Make changes true, and tell all replicas; None if their snapshot no longer holds.

        What has `changed` is told in that order; by default, the devices. What `more` writes
        becomes true with it; if it returns false, nothing does.

        Returns the id of the newest error log before it.
        """
        fleet = changes.fleet
        if changed is None:
            changed = changes.devices.values()
        notices = [
            *notifications.changed(fleet.fleet_id, fleet.name, changed, due_in(changes)),
            *more_notices,
        ]
        arguments = *_arguments(changes, self._max_error_logs), notices or None
        newest_error = await _apply(connection, changes, arguments, more)
        # Not before it is true: what is finished too soon is passed over, and left to others.
        if newest_error is not None:
            # Of a fleet that lives, all do what is due: it must be done in its order.
            if changes.profile.traffic is None:
                self._own.add(fleet.fleet_id, begun_dues(changes))
            if notices:
                self._relay.send_soon(notices)
        return newest_error

    def send_soon(self) -> None:
        """Let what is committed now be sent, where that was not done by `apply` itself."""
        self._relay.send_soon()


class _Outdated(Exception):
    """What changes were computed from holds no more."""


async def _apply(
    connection: Connection,
    changes: SnapshotChanges,
    arguments: Sequence[Any],
    more: Callable[[Connection], Awaitable[bool]] | None,
) -> int | None:
    """Call `commit_work`; write with it what it does not know of."""
    newest_error: int | None
    try:
        if not changes.polls and more is None:
            newest_error = await connection.fetchval(_COMMIT, *arguments)
            return newest_error
        async with connection.transaction():
            newest_error = await connection.fetchval(_COMMIT, *arguments)
            if newest_error is not None:
                # In this order: the first takes the fleet's turn.
                await write_polls(connection, changes)
                if more is not None and not await more(connection):
                    raise _Outdated
    except (PollsChanged, _Outdated):
        return None
    except asyncpg.PostgresError as exc:
        if exc.sqlstate != _HOLDS_NO_MORE:
            raise
        return None
    return newest_error


def numbered(finished: FinishedSync, newest_error: int) -> FinishedSync:
    """Return what finished with the id that the database has given to its error log."""
    log = finished.error_log
    if log is None:
        return finished
    return finished._replace(error_log=log._replace(error_id=newest_error + log.error_id))


def _arguments(changes: SnapshotChanges, max_error_logs: int) -> list[Any]:
    """Return the arguments of `commit_work`, the notices aside; None for what there is none of."""
    fleet = changes.fleet
    before = fleet.devices
    moves: defaultdict[int, int] = defaultdict(int)
    rows = []
    for device_id, device in sorted(changes.devices.items()):
        old = before[device_id]
        moves[old.sync_status_code] -= 1
        moves[device.sync_status_code] += 1
        row = device_row(device, changes.moments.get(device_id))
        rows.append((device_id, old.attempt, old.sync_status_code, *row[1:]))
    begun = moves.get(PENDING, 0)
    scripts = changes.scripts
    return [
        fleet.fleet_id,
        fleet.version,
        changes.profile.max_pending - begun if begun > 0 else None,
        max_error_logs,
        rows or None,
        # One at least where a device changes: by who has written these counts, pages are known.
        [move for move in moves.items() if move[1]] or [*moves.items()][:1] or None,
        [log[1:] for log in changes.error_logs] or None,
        [(*count, n) for count, n in sorted(changes.counts.items())] or None,
        [*scripts] or None,
        [script and script.position for script in scripts.values()] or None,
        *(changes.clock[:3] if changes.clock is not fleet.clock else (None, None, None)),
        None if changes.profile is fleet.profile else codec.write_profile(changes.profile),
    ]
