"""Reads: each is one statement, and sees one moment. Those that come at a time share it."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import asyncpg
import orjson

from pisync.model.clock import Clock
from pisync.model.device import Device, DevicePage, ErrorFilter, ErrorLog, ErrorPage
from pisync.model.fleet import Count, FleetPage, FleetView, Ledger, Stats
from pisync.model.outcome import PENDING
from pisync.stores.errors import NoSuchDevice, NoSuchFleet
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.reading.groups import GroupedReads, SharedReads
from pisync.stores.postgres.snapshot import DEVICE, readable
from pisync.stores.schema import codec
from pisync.stores.schema.rows import read_device

_FLEET = """
    SELECT
        fleet_id, name, profile, fleet_time, wall_time, speed,
        coalesce(auto_clock AND speed = 0, false) AS is_auto,
        coalesce(started_at, made_at), steady_now(),
        (SELECT journal FROM request_settings AS one WHERE one.fleet_id = fleets.fleet_id),
        (SELECT sum(n)::bigint FROM status_counts WHERE status_counts.fleet_id = fleets.fleet_id),
        ttl, used_at + wall_now() - steady_now()
    FROM fleets LEFT JOIN lifetimes USING (fleet_id)"""
_FLEETS = f"""
    SELECT (SELECT count(*) FROM fleets), page.*
    FROM (SELECT) AS one LEFT JOIN LATERAL (
        {_FLEET} WHERE name COLLATE "C" > $1 ORDER BY name COLLATE "C" LIMIT $2
    ) AS page ON true"""  # noqa: S608 - columns of ours
_DEVICES = f"""
    SELECT place, device.*
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS wanted (fleet, id, place)
    JOIN fleets ON name = fleet
    LEFT JOIN LATERAL (
        SELECT {DEVICE} FROM devices
        WHERE devices.fleet_id = fleets.fleet_id AND device_id = id LIMIT 1
    ) AS device ON true"""  # noqa: S608 - columns of ours
# Whatever changes a device's status counts it anew, so that these rows have another `xmin`: the
# number of the transaction that has written them.
_COUNTED = """
    SELECT
        array_agg(sync_status_code ORDER BY sync_status_code) AS codes,
        array_agg(n ORDER BY sync_status_code) AS ns,
        string_agg(xmin::text, ' ' ORDER BY sync_status_code) AS written_by
    FROM status_counts WHERE status_counts.fleet_id = fleets.fleet_id"""
_VERSIONS = f"""
    SELECT name, fleet_id, codes, ns, written_by
    FROM unnest($1::text[]) AS wanted (fleet) JOIN fleets ON name = fleet
    CROSS JOIN LATERAL ({_COUNTED}) AS counted"""  # noqa: S608 - text of ours
_PAGE = f"""
    SELECT fleets.fleet_id, codes, ns, written_by, page.*
    FROM fleets CROSS JOIN LATERAL ({_COUNTED}) AS counted
    LEFT JOIN LATERAL (
        SELECT {DEVICE} FROM devices
        WHERE devices.fleet_id = fleets.fleet_id AND device_id > $2
        ORDER BY device_id LIMIT $3
    ) AS page ON true
    WHERE name = $1 ORDER BY device_id"""  # noqa: S608 - text of ours
# A page of each status, merged: whatever their shares are, no more is read than is shown.
_PAGE_HAVING = f"""
    SELECT fleets.fleet_id, codes, ns, written_by, page.*
    FROM fleets CROSS JOIN LATERAL ({_COUNTED}) AS counted
    LEFT JOIN LATERAL (
        SELECT of_one.* FROM unnest($4::smallint[]) AS code CROSS JOIN LATERAL (
            SELECT {DEVICE} FROM devices
            WHERE devices.fleet_id = fleets.fleet_id AND sync_status_code = code
                AND device_id > $2
            ORDER BY device_id LIMIT $3
        ) AS of_one
        ORDER BY device_id LIMIT $3
    ) AS page ON true
    WHERE name = $1 ORDER BY device_id"""  # noqa: S608 - text of ours
_ERRORS = """
    SELECT log.* FROM fleets LEFT JOIN LATERAL (
        SELECT error_id, device_id, attempt, sync_status_code, error_message, occurred_at
        FROM error_logs
        WHERE error_logs.fleet_id = fleets.fleet_id {conditions}
        ORDER BY error_id DESC LIMIT $2
    ) AS log ON true
    WHERE name = $1 ORDER BY error_id DESC"""
_DEVICE_COUNT = """
    SELECT coalesce(sum(n), 0)::bigint
    FROM fleets JOIN status_counts USING (fleet_id)
    WHERE name <> $1"""
_PENDING = "SELECT coalesce(sum(n), 0)::bigint FROM status_counts WHERE sync_status_code = 202"
_IS_POLLED = """
    SELECT EXISTS (
        SELECT FROM polls JOIN devices USING (fleet_id, device_id, attempt)
        WHERE fleet_id = fleets.fleet_id AND device_id = $2 AND sync_status_code = 202
    )
    FROM fleets
    WHERE name = $1"""

_COUNTS = """
    SELECT
        ARRAY(SELECT sync_status_code FROM status_counts AS one
            WHERE one.fleet_id = fleets.fleet_id ORDER BY sync_status_code),
        ARRAY(SELECT n FROM status_counts AS one
            WHERE one.fleet_id = fleets.fleet_id ORDER BY sync_status_code),
        (SELECT json_agg(json_build_array(what, error_message, n)) FROM tallies
            WHERE tallies.fleet_id = fleets.fleet_id),
        (SELECT count(*) FROM devices
            WHERE devices.fleet_id = fleets.fleet_id AND sync_status_code = 202
                AND due_at IS NULL),
        -- Their ids have no gaps.
        newest_error + 1 - coalesce(
            (SELECT min(error_id) FROM error_logs WHERE error_logs.fleet_id = fleets.fleet_id),
            newest_error + 1
        )
    FROM fleets JOIN turns USING (fleet_id)
    WHERE name = $1"""


class _Counts(NamedTuple):
    by_status: dict[int, int]
    ledger: Ledger
    error_logs: int


class _FleetVersion(NamedTuple):
    """What was read of a fleet's devices; equal ones were read when the devices were the same."""

    epoch: int
    """`Database.epoch`: another server may have other transactions with the same numbers."""
    fleet_id: int
    counts: tuple[tuple[int, int], ...]
    """How many devices have each status code."""
    written_by: str
    """The transactions that counted them."""

    @classmethod
    def read(cls, epoch: int, row: Sequence[Any]) -> Self:
        """Return what is in the columns that `_COUNTED` adds to a fleet's id."""
        fleet_id, codes, ns, written_by = row
        return cls(epoch, fleet_id, tuple(zip(codes, ns, strict=True)), written_by)

    def total(self, statuses: frozenset[int] | None) -> int:
        """Return how many devices have one of these statuses, or (None) any."""
        return sum(n for code, n in self.counts if statuses is None or code in statuses)


class _PageVersion(NamedTuple):
    fleet: _FleetVersion
    more: bool


class PostgresQueries:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._devices = GroupedReads(self._read_devices)
        self._versions = GroupedReads(self._read_versions)
        self._rows = SharedReads[tuple[int, list[asyncpg.Record]]]()

    async def fleets(self, *, after: str, limit: int) -> FleetPage:
        rows = await self._database.fetch(_FLEETS, after, limit + 1)
        views = [self._view(row[1:]) for row in rows[:limit] if row[1] is not None]
        return FleetPage(views, rows[0][0], len(rows) > limit)

    async def fleet(self, name: str) -> FleetView:
        return self._view((await self._of_fleet(f"{_FLEET} WHERE name = $1", name))[0])

    def _view(self, row: Iterable[Any]) -> FleetView:
        fleet_id, name, profile, *times, started_at, now, journal, devices, ttl, used_at = row
        clock = Clock(*times).view(self._database.real_time(now))
        profile = codec.read_profile(profile)
        view = FleetView(name, fleet_id, devices, profile, clock, started_at, journal or 0, ttl)
        return view if ttl is None else view.used(used_at)

    async def device(self, fleet: str, device_id: int) -> Device:
        found = await self._devices.get((readable(fleet), device_id))
        if found is None:
            raise NoSuchFleet
        (device,) = found
        if device is None:
            raise NoSuchDevice
        return device

    async def is_polled(self, fleet: str, device_id: int) -> bool:
        ((is_polled,),) = await self._of_fleet(_IS_POLLED, fleet, device_id)
        return bool(is_polled)

    async def _read_devices(
        self, wanted: Collection[tuple[str, int]]
    ) -> Mapping[tuple[str, int], tuple[Device | None]]:
        """Return those devices whose fleet is there; None for one that it lacks."""
        keys = [*wanted]
        names, device_ids = zip(*keys, strict=True)
        rows = await self._database.fetch(_DEVICES, names, device_ids)
        return {
            keys[place - 1]: (None if row[0] is None else read_device(row),) for place, *row in rows
        }

    async def devices(
        self,
        fleet: str,
        *,
        after: int,
        limit: int,
        statuses: frozenset[int] | None,
        known: Hashable = None,
    ) -> DevicePage:
        if isinstance(known, _PageVersion):
            version = await self._versions.get(readable(fleet))
            if version is None:
                raise NoSuchFleet
            if version == known.fleet:
                return DevicePage([], version.total(statuses), known.more, known)
        if statuses is None:
            epoch, rows = await self._share(_PAGE, fleet, after, limit + 1)
        else:
            codes = tuple(sorted(statuses))
            epoch, rows = await self._share(_PAGE_HAVING, fleet, after, limit + 1, codes)
        version = _FleetVersion.read(epoch, rows[0][:4])
        devices = [read_device(row[4:]) for row in rows[:limit] if row[4] is not None]
        more = len(rows) > limit
        return DevicePage(devices, version.total(statuses), more, _PageVersion(version, more))

    async def _read_versions(self, names: Collection[str]) -> Mapping[str, _FleetVersion]:
        epoch, rows = await self._database.call(partial(self._fetch, _VERSIONS, ([*names],)))
        return {name: _FleetVersion.read(epoch, version) for name, *version in rows}

    async def errors(self, fleet: str, criteria: ErrorFilter, limit: int) -> ErrorPage:
        conditions, values = [], []
        for condition, value in (
            ("error_id < {}", criteria.before),
            ("device_id = {}", criteria.device_id),
            ("sync_status_code = ANY({})", criteria.statuses and tuple(sorted(criteria.statuses))),
            ("occurred_at >= {}", criteria.since),
        ):
            if value is not None:
                values.append(value)
                conditions.append(f"AND {condition.format(f'${2 + len(values)}')}")
        sql = _ERRORS.format(conditions=" ".join(conditions))
        rows = await self._of_fleet(sql, fleet, limit + 1, *values)
        logs = [ErrorLog(*row) for row in rows[:limit] if row[0] is not None]
        return ErrorPage(logs, len(rows) > limit)

    def is_current(self, _fleet: str, _version: Hashable) -> bool:
        return False

    async def device_count(self, *, without: str) -> int:
        count: int = await self._database.fetchval(_DEVICE_COUNT, without)
        return count

    async def pending(self) -> int:
        pending: int = await self._database.fetchval(_PENDING)
        return pending

    async def stats(self, fleet: str) -> Stats:
        by_status, ledger, error_logs = await self._counts(fleet)
        return Stats(
            devices=sum(by_status.values()),
            by_status=by_status,
            pending=ledger.pending,
            attempts=ledger.accepted,
            succeeded=ledger.succeeded,
            failed=ledger.failures,
            error_logs=error_logs,
        )

    async def ledger(self, fleet: str) -> Ledger:
        return (await self._counts(fleet)).ledger

    async def _counts(self, fleet: str) -> _Counts:
        ((codes, ns, ledger_counts, held, error_logs),) = await self._of_fleet(_COUNTS, fleet)
        by_status = dict(zip(codes, ns, strict=True))
        counts = {Count(what, text): n for what, text, n in orjson.loads(ledger_counts or "[]")}
        return _Counts(by_status, Ledger.of(counts, by_status[PENDING], held), error_logs)

    async def _of_fleet(self, sql: str, name: str, *args: Any) -> list[asyncpg.Record]:
        """Return the rows of a statement that finds some in every fleet.

        Raises:
            NoSuchFleet: It found none.
        """
        return (await self._share(sql, name, *args))[1]

    async def _share(self, sql: str, name: str, *args: Any) -> tuple[int, list[asyncpg.Record]]:
        """Do as `_of_fleet`; return with the rows the epoch in which they were read."""
        call = sql, readable(name), *args
        read = partial(self._database.call, partial(self._fetch, sql, call[1:]))
        epoch, rows = await self._rows.get(call, read)
        if not rows:
            raise NoSuchFleet
        return epoch, rows

    async def _fetch(
        self, sql: str, args: Sequence[Any], connection: Connection
    ) -> tuple[int, list[asyncpg.Record]]:
        # Whatever other connection was opened before this one was lent is counted.
        return self._database.epoch, await connection.fetch(sql, *args)
