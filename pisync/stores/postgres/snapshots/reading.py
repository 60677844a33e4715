"""Reading a fleet as it is at one moment, for as long as that takes."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, NamedTuple

import orjson

from pisync.model.clock import Clock
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import Count, Listed
from pisync.model.outcome import PENDING
from pisync.model.parsing.faults import read_rules
from pisync.model.plans.polls import Polls
from pisync.model.snapshot import (
    DeviceScript,
    RequestCount,
    Snapshot,
    SnapshotHead,
    SnapshotPart,
)
from pisync.model.timestamp import LATEST
from pisync.stores.errors import NoSuchFleet, StoreUnavailable
from pisync.stores.postgres.connection.connect import FAILURES, Connection, connect
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.snapshot import DEVICE, readable
from pisync.stores.schema import codec
from pisync.stores.schema.rows import read_device, read_moment, read_polls

READERS: Final = 2
"""How many snapshots a process takes at once; more wait their turn."""
_AT_ONCE: Final = 2_000
_STATEMENT_SECONDS: Final = 30
_IDLE_SECONDS: Final = 60
"""A client that takes nothing is cut off before that."""
_MAX_SECONDS: Final = 600
"""So long a transaction may keep the database from cleaning up."""

_PATIENT = f"""
    SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s';
    SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'"""
_HEAD = """
    SELECT
        fleet_id, first_data, made_at, profile, fleet_time, wall_time, speed,
        coalesce(auto_clock AND speed = 0, false) AS is_auto,
        coalesce(started_at, made_at) AS started_at, steady_now() AS now, newest_error,
        (SELECT json_agg(json_build_array(what, error_message, n)) FROM tallies
            WHERE tallies.fleet_id = fleets.fleet_id) AS counts,
        (SELECT since FROM traffic WHERE traffic.fleet_id = fleets.fleet_id) AS live_since,
        (SELECT prepared FROM traffic WHERE traffic.fleet_id = fleets.fleet_id) AS prepared,
        (SELECT ttl FROM lifetimes WHERE lifetimes.fleet_id = fleets.fleet_id) AS ttl,
        coalesce(journal, 0) AS journal, coalesce(rules, '[]') AS rules
    FROM fleets JOIN turns USING (fleet_id) LEFT JOIN request_settings USING (fleet_id)
    WHERE name = $1"""
_OLDEST_LOG = "SELECT min(error_id) FROM error_logs WHERE fleet_id = $1 AND error_id > $2"
_DEVICES = f"""
    SELECT {DEVICE} FROM devices
    WHERE fleet_id = $1 AND attempt > 0 ORDER BY device_id"""  # noqa: S608 - columns of ours
_ANY_POLLS = "SELECT EXISTS (SELECT FROM polls WHERE fleet_id = $1)"
_POLLS = """
    SELECT device_id, attempt, remaining, planned_status_code, planned_error_message
    FROM polls WHERE fleet_id = $1 AND device_id BETWEEN $2 AND $3"""
_SCRIPTS = """
    SELECT device_id, steps, sticky, position FROM scripts
    WHERE fleet_id = $1 ORDER BY device_id"""
_LOGS = """
    SELECT error_id, device_id, attempt, sync_status_code, error_message, occurred_at
    FROM error_logs WHERE fleet_id = $1 AND error_id > $2 ORDER BY error_id"""
_COUNTS = "SELECT counter, n FROM request_counts WHERE fleet_id = $1 ORDER BY counter"


class SnapshotQueries:
    """Takes snapshots, each in a transaction of its own, on a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(READERS)

    @asynccontextmanager
    async def take(self, fleet: str) -> AsyncIterator[Snapshot]:
        name = readable(fleet)
        async with self._turns:
            try:
                async with asyncio.timeout(_MAX_SECONDS), self._transaction() as connection:
                    with _failures():
                        head, keys = await self._head(connection, name)
                    yield Snapshot(head, _parts(connection, keys, head))
            except TimeoutError as exc:
                raise StoreUnavailable from exc

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        with _failures():
            connection = await connect(self._database.address, command_timeout=_STATEMENT_SECONDS)
        try:
            with _failures():
                # Never ended: the connection is.
                await connection.transaction(isolation="repeatable_read", readonly=True).start()
                await connection.execute(_PATIENT)
            yield connection
            with suppress(*FAILURES):
                await connection.close(timeout=1)
        finally:
            if not connection.is_closed():
                connection.terminate()

    async def _head(self, connection: Connection, name: str) -> tuple[SnapshotHead, "_Keys"]:
        row = await connection.fetchrow(_HEAD, name)
        if row is None:
            raise NoSuchFleet
        first = await asyncio.to_thread(codec.read_first, row["first_data"])
        own = len(first.error_logs) if isinstance(first, Listed) else 0
        oldest = await connection.fetchval(_OLDEST_LOG, row["fleet_id"], own)
        clock = Clock(row["fleet_time"], row["wall_time"], row["speed"], row["is_auto"])
        counts = orjson.loads(row["counts"] or "[]")
        head = SnapshotHead(
            fleet=name,
            first=first,
            profile=codec.read_profile(row["profile"]),
            clock=clock.view(self._database.real_time(row["now"])),
            made_at=row["made_at"],
            started_at=row["started_at"],
            counts={Count(what, text): n for what, text, n in counts},
            error_logs=0 if oldest is None else row["newest_error"] - oldest + 1,
            journal=row["journal"],
            ttl=row["ttl"],
            faults=read_rules(row["rules"]),
            live_since=row["live_since"],
        )
        return head, _Keys(row["fleet_id"], row["prepared"])


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what a connection raises into StoreUnavailable."""
    try:
        yield
    except FAILURES as exc:
        raise StoreUnavailable from exc


class _Keys(NamedTuple):
    """What leads to the rest of a fleet's rows."""

    fleet_id: int
    prepared: int | None
    """Up to which device moments are written down; None for all of them."""


def _moments(rows: Iterable[Any], keys: _Keys, head: SnapshotHead) -> dict[int, int]:
    """Return when the devices in rows begin their own attempts."""
    traffic, since = head.profile.traffic, head.live_since
    if traffic is None or since is None:
        return {}
    moments = {}
    for row in rows:
        device_id, moment = row["device_id"], read_moment(row)
        if (
            row["sync_status_code"] != PENDING
            and keys.prepared is not None
            and device_id > keys.prepared
            and row["last_attempt_at"] < since
        ):
            # What stands there is from before.
            first = traffic.first(head.profile.seed, device_id)
            moment = None if first is None else since + first
        if moment is not None and moment <= LATEST:
            moments[device_id] = moment
    return moments


async def _parts(
    connection: Connection, keys: _Keys, head: SnapshotHead
) -> AsyncIterator[SnapshotPart]:
    fleet_id = keys.fleet_id
    own = len(head.first.error_logs) if isinstance(head.first, Listed) else 0
    with _failures():
        has_polls = await connection.fetchval(_ANY_POLLS, fleet_id)
    async for rows in _rows(connection, _DEVICES, fleet_id):
        devices = [read_device(row) for row in rows]
        polls = await _polls(connection, fleet_id, devices) if has_polls else {}
        yield SnapshotPart(devices=devices, moments=_moments(rows, keys, head), polls=polls)
    async for rows in _rows(connection, _SCRIPTS, fleet_id):
        yield SnapshotPart(
            scripts=[DeviceScript(each, codec.read_script(*script)) for each, *script in rows]
        )
    async for rows in _rows(connection, _LOGS, fleet_id, own):
        yield SnapshotPart(error_logs=[ErrorLog(*row) for row in rows])
    async for rows in _rows(connection, _COUNTS, fleet_id):
        yield SnapshotPart(request_counts=[RequestCount(*row) for row in rows])


async def _polls(
    connection: Connection, fleet_id: int, devices: Sequence[Device]
) -> dict[int, Polls]:
    """Return the polls of those of these devices, by rising id, whose attempt has some."""
    with _failures():
        rows = await connection.fetch(_POLLS, fleet_id, devices[0].device_id, devices[-1].device_id)
    found = {device_id: read_polls(polls) for device_id, *polls in rows}
    return {
        device.device_id: polls
        for device in devices
        if (polls := found.get(device.device_id)) is not None and polls.are_of(device)
    }


async def _rows(connection: Connection, sql: str, *args: object) -> AsyncIterator[list[Any]]:
    with _failures():
        cursor = await connection.cursor(sql, *args)
        rows = await cursor.fetch(_AT_ONCE)
    while rows:
        yield rows
        with _failures():
            rows = await cursor.fetch(_AT_ONCE)
