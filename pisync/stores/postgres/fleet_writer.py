"""Fleets come and go.

The devices of a new one are written before anyone can see them, some at a time, so that a million
of them hold nobody up; then one call (`replace_fleet`, in the migrations) puts the fleet into its
place. What it replaces is gone with that, and swept away later.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from pisync.model.clock import ClockView
from pisync.model.fleet import DEFAULT_FLEET, FirstData, FleetView, Generated, Listed
from pisync.model.outcome import STATUS_CODES, SUCCESS
from pisync.model.profile import Profile
from pisync.stores.base import (
    DefaultFleetProtected,
    NoSuchFleet,
    StoreUnavailable,
)
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import ChunkSize, Database
from pisync.stores.postgres.snapshot import readable
from pisync.stores.schema import codec
from pisync.stores.schema.rows import device_row

_GENERATED_AT_ONCE = 20_000
_LISTED_AT_ONCE = 2_000
_SWEPT_AT_ONCE = 10_000
_NEXT_LOOK = 10.0
"""Seconds until another look is taken at what replicas may have left over."""
_PAUSE = 0.02
"""Seconds between two bits of sweeping: nobody waits for it."""
_TIME_TO_MAKE = 600_000_000
"""Microseconds after which what was made of a fleet is swept away if it has no place yet."""

_ANNOUNCE = """
    INSERT INTO leftovers VALUES (nextval('fleet_ids'), steady_now() + $1)
    RETURNING fleet_id, wall_now()"""
_GENERATE = """
    INSERT INTO devices (
        fleet_id, device_id, last_sync_at, sync_status_code, last_attempt_at, attempt
    )
    SELECT $1, device_id, $2, $3, $2, 0 FROM generate_series($4::bigint, $5::bigint) AS device_id"""
_REPLACE = "SELECT * FROM replace_fleet($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_OLD = "SELECT fleet_id, first_data, made_at FROM fleets WHERE name = $1"


class _Old(NamedTuple):
    fleet_id: int
    first_data: str
    made_at: int


class _Made(NamedTuple):
    fleet_id: int
    devices: int
    is_new: bool
    present: int
    """Its time."""


class FleetWriter:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, database: Database, max_error_logs: int) -> None:
        self._database = database
        self._most_error_logs = max_error_logs
        self._left_over = asyncio.Event()

    async def put_fleet(
        self, name: str, first: FirstData, profile: Profile
    ) -> tuple[FleetView, bool]:
        """Make or replace a fleet; return it, and whether it is new."""
        made = None
        while made is None:
            made = await self._replace(name, first, codec.write_profile(profile), None)
        clock = ClockView("real", 1.0, made.present)
        return FleetView(name, made.fleet_id, made.devices, profile, clock), made.is_new

    async def reset_fleet(self, name: str) -> None:
        """Take a fleet back to its first data."""
        made = None
        while made is None:
            row = await self._database.fetchrow(_OLD, readable(name))
            if row is None:
                raise NoSuchFleet
            old = _Old(*row)
            first = await asyncio.to_thread(codec.read_first, old.first_data)
            made = await self._replace(name, first, None, old)

    async def delete_fleet(self, name: str) -> None:
        """Delete a fleet with all that belongs to it."""
        if name == DEFAULT_FLEET:
            raise DefaultFleetProtected
        if not await self._database.fetchval("SELECT delete_fleet($1)", readable(name)):
            raise NoSuchFleet
        self._left_over.set()

    async def sweep(self) -> None:
        """Sweep away what is left over, bit by bit, until cancelled."""
        size = ChunkSize(_SWEPT_AT_ONCE)
        while True:
            try:
                more = await size.fit(partial(self._database.fetchval, "SELECT sweep($1)"))
            except StoreUnavailable:
                more = False
            if not more:
                self._left_over.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_NEXT_LOOK):
                        await self._left_over.wait()
            await asyncio.sleep(_PAUSE)

    async def _replace(
        self, name: str, first: FirstData, profile: str | None, old: _Old | None
    ) -> _Made | None:
        """Make a fleet and put it into its place; None if that has changed meanwhile."""
        text = old.first_data if old else await asyncio.to_thread(codec.write_first, first)
        fleet_id, now = await self._database.call(_announce)
        made_at = old.made_at if old else now
        if isinstance(first, Generated):
            await self._generate(fleet_id, first.count, made_at)
            counts = Counter({SUCCESS: first.count})
        else:
            await self._write(fleet_id, first, made_at)
            counts = Counter(spec.sync_status_code for spec in first.devices)
        row = await self._database.fetchrow(
            _REPLACE,
            name,
            old.fleet_id if old else None,
            fleet_id,
            text,
            made_at,
            profile,
            len(first.error_logs) if isinstance(first, Listed) else 0,
            STATUS_CODES,
            [counts[code] for code in STATUS_CODES],
        )
        self._left_over.set()
        if row is None or row["is_new"] is None:
            return None
        return _Made(fleet_id, counts.total(), row["is_new"], row["present"])

    async def _generate(self, fleet_id: int, count: int, made_at: int) -> None:
        async def generate(first: int, last: int) -> None:
            await self._database.fetchval(_GENERATE, fleet_id, made_at, SUCCESS, first + 1, last)

        await _in_chunks(count, _GENERATED_AT_ONCE, generate)

    async def _write(self, fleet_id: int, listed: Listed, made_at: int) -> None:
        async def copy_devices(first: int, last: int) -> None:
            specs = listed.devices[first:last]
            rows = [(fleet_id, *device_row(spec.made(made_at))) for spec in specs]
            await self._copy("devices", rows)

        async def copy_logs(first: int, last: int) -> None:
            await self._copy("error_logs", [(fleet_id, *log) for log in newest[first:last]])

        await _in_chunks(len(listed.devices), _LISTED_AT_ONCE, copy_devices)
        too_many = max(len(listed.error_logs) - self._most_error_logs, 0)
        newest = listed.error_logs[too_many:]
        await _in_chunks(len(newest), _LISTED_AT_ONCE, copy_logs)

    async def _copy(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        await self._database.call(
            lambda connection: connection.copy_records_to_table(table, records=rows)
        )


async def _in_chunks(total: int, most: int, write: Callable[[int, int], Awaitable[None]]) -> None:
    """Write rows some at a time: `write` takes the positions of the first and after the last."""
    size, first = ChunkSize(most), 0

    async def write_some(rows: int) -> int:
        last = min(first + rows, total)
        await write(first, last)
        return last

    while first < total:
        first = await size.fit(write_some)


async def _announce(connection: Connection) -> tuple[int, int]:
    """Announce a new fleet; return its id, and when it is made (wall clock)."""
    row = await connection.fetchrow(_ANNOUNCE, _TIME_TO_MAKE)
    assert row is not None  # noqa: S101 - an INSERT returns its row
    return row["fleet_id"], row["wall_now"]
