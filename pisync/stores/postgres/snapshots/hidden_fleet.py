"""The rows of a fleet that is made of a snapshot, before it has a place and anyone sees it."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from pisync.model.device import Device, ErrorLog, synced
from pisync.model.fleet import FirstData, FleetTimes, Generated
from pisync.model.snapshot import SnapshotHead
from pisync.stores.changes import Due
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.fleet_writer import (
    TIME_TO_MAKE,
    announce,
    copy_rows,
    generate,
    in_chunks,
)
from pisync.stores.schema.rows import device_row

_COPIED_AT_ONCE: Final = 2_000
_WORTH_GENERATING: Final = 1_000
"""So many devices in a row that are as in the first data are written by the database."""
_RENEW_SECONDS: Final = 60.0

_RENEW = "UPDATE leftovers SET not_before = steady_now() + $2 WHERE fleet_id = $1"
_ABANDON = "UPDATE leftovers SET not_before = 0 WHERE fleet_id = $1"


class HiddenFleet:
    """Writes devices and error logs; what it has written is swept away unless it gets a place."""

    def __init__(self, database: Database, fleet_id: int, head: SnapshotHead) -> None:
        self.fleet_id = fleet_id
        self.statuses: Counter[int] = Counter()
        """How many devices have each status code."""
        self.dues: list[Due] = []
        """When its pending syncs fall due."""
        self._database = database
        self._head = head
        self._written = 0
        self._rows: list[tuple[object, ...]] = []
        self._renew_at = self._now() + _RENEW_SECONDS

    @classmethod
    async def announce(cls, database: Database, head: SnapshotHead) -> "HiddenFleet":
        """Begin a fleet."""
        fleet_id, _ = await database.call(announce)
        return cls(database, fleet_id, head)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def write_devices(self, changed: Sequence[Device], moments: Mapping[int, int]) -> None:
        """Write devices, and those of the first data that come before them.

        Args:
            changed: The devices, by rising id.
            moments: When they begin their own attempts, by id.
        """
        for device in changed:
            await self._write_unchanged(
                _position(self._head.first, device.device_id, self._written)
            )
            await self._write(device, moments.get(device.device_id))
            self._written += 1

    async def finish_devices(self) -> None:
        """Write the devices that are left of the first data."""
        await self._write_unchanged(self._head.first.size)
        await self._flush()

    async def _write_unchanged(self, end: int) -> None:
        first, start, self._written = self._head.first, self._written, end
        if isinstance(first, Generated) and end - start >= _WORTH_GENERATING:
            await self._flush()
            ids = range(start + 1, end + 1)
            await generate(self._database, self.fleet_id, self._head.made_at, ids)
            self.statuses[200] += len(ids)
            await self._renew()
        else:
            for device in _made(self._head, start, end):
                await self._write(device)

    async def _write(self, device: Device, moment: int | None = None) -> None:
        self.statuses[device.sync_status_code] += 1
        if device.pending is not None and device.pending.due_at is not None:
            self.dues.append(Due(device.pending.due_at, device.device_id))
        self._rows.append((self.fleet_id, *device_row(device, moment)))
        if len(self._rows) >= _COPIED_AT_ONCE:
            await self._flush()

    async def _flush(self) -> None:
        rows, self._rows = self._rows, []
        await self._copy("devices", rows)
        await self._renew()

    async def write_logs(self, logs: Sequence[ErrorLog]) -> None:
        """Write error logs."""
        await self._copy("error_logs", [(self.fleet_id, *log) for log in logs])
        await self._renew()

    async def _copy(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        async def copy_some(first: int, last: int) -> None:
            await copy_rows(self._database, table, rows[first:last])

        await in_chunks(len(rows), _COPIED_AT_ONCE, copy_some)

    async def _renew(self) -> None:
        """Put off the sweeping: a document may take its time to arrive."""
        if self._now() > self._renew_at:
            self._renew_at = self._now() + _RENEW_SECONDS
            await self._database.fetch(_RENEW, self.fleet_id, TIME_TO_MAKE)

    async def abandon(self) -> None:
        """Have what was written swept away."""
        await self._database.fetch(_ABANDON, self.fleet_id)


def _position(first: FirstData, device_id: int, start: int) -> int:
    """Return the position of a device, at `start` or after."""
    if isinstance(first, Generated):
        return device_id - 1
    position = start
    while first.devices[position].device_id != device_id:
        position += 1
    return position


def _made(head: SnapshotHead, start: int, end: int) -> Iterator[Device]:
    first, made_at = head.first, head.made_at
    if isinstance(first, Generated):
        return (synced(position + 1, made_at) for position in range(start, end))
    times = FleetTimes(made_at, head.started_at)
    return (spec.made(times) for spec in islice(first.devices, start, end))
