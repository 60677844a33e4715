"""Fleets come and go, and what their attempts come to is changed.

The devices of a new one are written before anyone can see them, some at a time, so that a million
of them hold nobody up; then one call (`replace_fleet`, in the migrations) puts the fleet into its
place. What it replaces is gone with that, and swept away later.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from asyncpg import Record

from pisync.model.clock import ClockView
from pisync.model.fleet import (
    DEFAULT_FLEET,
    FirstData,
    FleetTimes,
    FleetView,
    Generated,
    Listed,
    NewTtl,
)
from pisync.model.outcome import STATUS_CODES, SUCCESS
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script
from pisync.stores.changes import FleetChanges
from pisync.stores.errors import DefaultFleetProtected, NoSuchDevice, NoSuchFleet, StoreUnavailable
from pisync.stores.postgres import notifications
from pisync.stores.postgres.commit import Commits
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import ChunkSize, Database, Turns
from pisync.stores.postgres.lifetimes import set_ttl
from pisync.stores.postgres.outbox.hearing import all_have_heard
from pisync.stores.postgres.queries import PostgresQueries
from pisync.stores.postgres.reading.polls import has_polls, mark_polled
from pisync.stores.postgres.requests.settings import (
    LOCK_NAME,
    NOTIFY,
    keep_settings,
    set_journal,
)
from pisync.stores.postgres.snapshot import load_fleet, readable
from pisync.stores.postgres.traffic.moments import start_living
from pisync.stores.schema import codec
from pisync.stores.schema.rows import device_row

_GENERATED_AT_ONCE = 20_000
_LISTED_AT_ONCE = 2_000
_SWEPT_AT_ONCE = 10_000
_NEXT_LOOK = 10.0
"""Seconds until another look is taken at what replicas may have left over."""
_PAUSE = 0.02
"""Seconds between two bits of sweeping: nobody waits for it."""
TIME_TO_MAKE = 600_000_000
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
# Whatever locks several of them does so in this order: name, turn, fleet, settings, counters.
_LOCK_FLEET = """
    WITH turn AS (SELECT fleet_id FROM turns WHERE fleet_id = $1 FOR UPDATE)
    SELECT FROM fleets JOIN turn USING (fleet_id) FOR UPDATE OF fleets"""
_SETTINGS = "SELECT journal, rules FROM request_settings WHERE fleet_id = $1 FOR UPDATE"
_RESTARTED = "UPDATE fleets SET started_at = $2 WHERE fleet_id = $1"
_OLD = "SELECT fleet_id, first_data, made_at FROM fleets WHERE name = $1"
# Both raise the version: what was planned without the script must be planned anew.
_TURN = """
    WITH turn AS (
        UPDATE turns SET version = version + 1 WHERE fleet_id = $1 RETURNING fleet_id
    )"""
_SET_SCRIPT = f"""{_TURN}
    INSERT INTO scripts SELECT fleet_id, $2::bigint, $3::text, $4::boolean, $5::integer FROM turn
    ON CONFLICT (fleet_id, device_id) DO UPDATE
        SET steps = excluded.steps, sticky = excluded.sticky, position = excluded.position
    RETURNING true"""  # noqa: S608 - text of ours
_END_SCRIPT = f"""{_TURN}, ended AS (
        DELETE FROM scripts USING turn
        WHERE scripts.fleet_id = turn.fleet_id AND device_id = $2
    )
    SELECT true FROM turn"""  # noqa: S608 - text of ours


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
    made_at: int


class PostgresFleetWriter:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(
        self,
        database: Database,
        queries: PostgresQueries,
        catch_up: Callable[[], Awaitable[None]],
        commits: Commits,
        max_error_logs: int,
    ) -> None:
        """Take what waits until the observer has been told all that is true by now."""
        self._database = database
        self._queries = queries
        self._catch_up = catch_up
        self._commits = commits
        self._max_error_logs = max_error_logs
        self._changing = Turns(database)
        self._has_tombstones = asyncio.Event()

    async def put(
        self,
        name: str,
        first: FirstData,
        profile: Profile,
        *,
        journal: int | None = None,
        ttl: int | None = None,
    ) -> tuple[FleetView, bool]:
        made, size = None, journal or 0
        while made is None:
            made = await self._replace(name, first, codec.write_profile(profile), None, size, ttl)
        await self._catch_up()
        if size:
            await all_have_heard(self._database)
        clock = ClockView("real", 1.0, made.present)
        view = FleetView(name, made.fleet_id, made.devices, profile, clock, made.made_at, size, ttl)
        return view.used(made.present), made.is_new

    async def reset(self, name: str) -> None:
        made = None
        while made is None:
            row = await self._database.fetchrow(_OLD, readable(name))
            if row is None:
                raise NoSuchFleet
            old = _Old(*row)
            first = await asyncio.to_thread(codec.read_first, old.first_data)
            made = await self._replace(name, first, None, old)
        await self._catch_up()

    async def delete(self, name: str) -> None:
        if name == DEFAULT_FLEET:
            raise DefaultFleetProtected
        if not await self._database.fetchval("SELECT delete_fleet($1)", readable(name)):
            raise NoSuchFleet
        self._has_tombstones.set()
        await self._catch_up()

    async def change_profile(
        self,
        name: str,
        change: Callable[[Profile], Profile],
        ttl: NewTtl | None = None,
        journal: int | None = None,
    ) -> FleetView:
        async with self._changing.turn(name):
            step = partial(self._change_profile, name, change, ttl, journal)
            profile = await self._database.persist(step)
        if journal is not None:
            await self._catch_up()
            await all_have_heard(self._database)
        # Others may have changed it again.
        return (await self._queries.fleet(name))._replace(profile=profile)

    async def _change_profile(
        self,
        name: str,
        change: Callable[[Profile], Profile],
        ttl: NewTtl | None,
        journal: int | None,
        connection: Connection,
    ) -> Profile | None:
        fleet = await load_fleet(self._database, connection, name)
        changes = FleetChanges(fleet)
        changes.change_profile(change(changes.profile), fleet.now)
        since = changes.traffic_since
        notices = [] if since is None else [notifications.due(0)]
        async with connection.transaction():
            is_changed = (
                await self._commits.apply(connection, changes, more_notices=notices) is not None
            )
            if is_changed and since is not None:
                await start_living(connection, fleet.fleet_id, since)
            if is_changed and ttl is not None:
                await set_ttl(connection, changes.fleet.fleet_id, ttl.seconds)
            if is_changed and journal is not None:
                await set_journal(connection, name, changes.fleet.fleet_id, journal)
        self._commits.send_soon()
        return changes.profile if is_changed else None

    async def set_script(self, fleet: str, device_id: int, script: Script | None) -> None:
        set_script = partial(self._set_script, fleet, device_id, script)
        while not await self._database.persist(set_script):
            # Before an attempt has polls, all replicas know that reads are to be counted.
            await self._catch_up()
            await all_have_heard(self._database)

    async def _set_script(
        self, name: str, device_id: int, script: Script | None, connection: Connection
    ) -> bool | None:
        """Set a script; return whether that is done, or is to wait until replicas know of polls.

        None if the fleet is no longer there.
        """
        fleet = await load_fleet(self._database, connection, name, [device_id])
        if device_id not in fleet.devices:
            raise NoSuchDevice
        if script is not None and has_polls(script):
            async with connection.transaction():
                if await mark_polled(connection, fleet.fleet_id):
                    await connection.execute(NOTIFY, name)
                    return False
        key = fleet.fleet_id, device_id
        is_set: bool | None
        if script is None:
            is_set = await connection.fetchval(_END_SCRIPT, *key)
        else:
            steps = codec.write_steps(script.steps)
            is_set = await connection.fetchval(
                _SET_SCRIPT, *key, steps, script.sticky, script.position
            )
        return is_set

    def sweep_soon(self) -> None:
        """Look for tombstones at once: there are new ones."""
        self._has_tombstones.set()

    async def sweep(self) -> None:
        """Delete what tombstones name, bit by bit, until cancelled."""
        size = ChunkSize(_SWEPT_AT_ONCE)
        while True:
            try:
                more = await size.fit(partial(self._database.fetchval, "SELECT sweep($1)"))
            except StoreUnavailable:
                more = False
            if not more:
                self._has_tombstones.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_NEXT_LOOK):
                        await self._has_tombstones.wait()
            await asyncio.sleep(_PAUSE)

    async def _replace(
        self,
        name: str,
        first: FirstData,
        profile: str | None,
        old: _Old | None,
        journal: int = 0,
        ttl: int | None = None,
    ) -> _Made | None:
        """Make a fleet and put it into its place; None if that has changed meanwhile."""
        text = old.first_data if old else await asyncio.to_thread(codec.write_first, first)
        fleet_id, now = await self._database.call(announce)
        made_at = old.made_at if old else now
        if isinstance(first, Generated):
            await generate(self._database, fleet_id, made_at, range(1, first.count + 1))
            counts = Counter({SUCCESS: first.count})
        else:
            await self._write(fleet_id, first, FleetTimes(made_at, now))
            counts = Counter(spec.sync_status_code for spec in first.devices)
        arguments = (
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
        row = await self._database.call(partial(_put_in_place, arguments, now, journal, ttl))
        self._has_tombstones.set()
        if row is None or row["is_new"] is None:
            return None
        return _Made(fleet_id, counts.total(), row["is_new"], row["present"], made_at)

    async def _write(self, fleet_id: int, listed: Listed, times: FleetTimes) -> None:
        async def copy_devices(first: int, last: int) -> None:
            specs = listed.devices[first:last]
            rows = [(fleet_id, *device_row(spec.made(times))) for spec in specs]
            await copy_rows(self._database, "devices", rows)

        async def copy_logs(first: int, last: int) -> None:
            await copy_rows(
                self._database, "error_logs", [(fleet_id, *log) for log in newest[first:last]]
            )

        await in_chunks(len(listed.devices), _LISTED_AT_ONCE, copy_devices)
        too_many = max(len(listed.error_logs) - self._max_error_logs, 0)
        newest = listed.error_logs[too_many:]
        await in_chunks(len(newest), _LISTED_AT_ONCE, copy_logs)


async def generate(database: Database, fleet_id: int, made_at: int, device_ids: range) -> None:
    """Write generated devices, as they are when their fleet is made."""

    async def generate_some(first: int, last: int) -> None:
        ids = device_ids[first:last]
        await database.fetchval(_GENERATE, fleet_id, made_at, SUCCESS, ids[0], ids[-1])

    await in_chunks(len(device_ids), _GENERATED_AT_ONCE, generate_some)


async def copy_rows(database: Database, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Write rows of a table."""
    await database.call(lambda connection: connection.copy_records_to_table(table, records=rows))


async def in_chunks(total: int, most: int, write: Callable[[int, int], Awaitable[None]]) -> None:
    """Write rows some at a time: `write` takes the positions of the first and after the last."""
    size, first = ChunkSize(most), 0

    async def write_some(rows: int) -> int:
        last = min(first + rows, total)
        await write(first, last)
        return last

    while first < total:
        first = await size.fit(write_some)


async def announce(connection: Connection) -> tuple[int, int]:
    """Announce a new fleet; return its id, and when it is made (wall clock)."""
    row = await connection.fetchrow(_ANNOUNCE, TIME_TO_MAKE)
    assert row is not None  # noqa: S101 - an INSERT returns its row
    return row["fleet_id"], row["wall_now"]


async def _put_in_place(
    arguments: tuple[Any, ...], now: int, journal: int, ttl: int | None, connection: Connection
) -> Record | None:
    """Call `replace_fleet`; a fleet that is reset keeps its settings for requests."""
    name, old_id, new_id, *_ = arguments
    async with connection.transaction():
        rules = "[]"
        if old_id is not None:
            # What `replace_fleet` waits for itself, before it takes the settings away.
            await connection.execute(LOCK_NAME, name)
            await connection.execute(_LOCK_FLEET, old_id)
            kept = await connection.fetchrow(_SETTINGS, old_id)
            journal, rules = kept or (journal, rules)
        row = await connection.fetchrow(_REPLACE, *arguments)
        if row is not None and row["is_new"] is not None:
            await keep_settings(connection, new_id, journal, rules)
            if ttl is not None:
                await set_ttl(connection, new_id, ttl)
            if old_id is not None:
                await connection.execute(_RESTARTED, new_id, now)
            if await start_living(connection, new_id):
                await connection.execute(notifications.TELL, f"[0,{notifications.due(0)}")
    return row
