"""Reads: each is one statement, and sees one moment."""

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import asyncpg
import orjson

from pisync.model.clock import Clock
from pisync.model.device import Device, DevicePage, ErrorFilter, ErrorLog, ErrorPage
from pisync.model.fleet import Count, FleetPage, FleetView, Ledger, Stats
from pisync.model.outcome import PENDING
from pisync.stores.base import NoSuchDevice, NoSuchFleet
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.snapshot import DEVICE, readable
from pisync.stores.schema import codec
from pisync.stores.schema.rows import read_device

_FLEET = """
    SELECT
        fleet_id, name, profile, fleet_time, wall_time, speed, coalesce(started_at, made_at),
        steady_now(),
        (SELECT journal FROM request_settings AS one WHERE one.fleet_id = fleets.fleet_id),
        (SELECT sum(n)::bigint FROM status_counts WHERE status_counts.fleet_id = fleets.fleet_id),
        ttl, used_at + wall_now() - steady_now()
    FROM fleets LEFT JOIN lifetimes USING (fleet_id)"""
_FLEETS = f"""
    SELECT (SELECT count(*) FROM fleets), page.*
    FROM (SELECT) AS one LEFT JOIN LATERAL (
        {_FLEET} WHERE name COLLATE "C" > $1 ORDER BY name COLLATE "C" LIMIT $2
    ) AS page ON true"""  # noqa: S608 - columns of ours
_DEVICE = f"""
    SELECT {DEVICE}
    FROM fleets LEFT JOIN devices ON devices.fleet_id = fleets.fleet_id AND device_id = $2
    WHERE name = $1"""  # noqa: S608 - columns of ours
_PAGE = f"""
    SELECT
        (SELECT sum(n)::bigint FROM status_counts WHERE status_counts.fleet_id = fleets.fleet_id),
        page.*
    FROM fleets LEFT JOIN LATERAL (
        SELECT {DEVICE} FROM devices
        WHERE devices.fleet_id = fleets.fleet_id AND device_id > $2
        ORDER BY device_id LIMIT $3
    ) AS page ON true
    WHERE name = $1 ORDER BY device_id"""  # noqa: S608 - columns of ours
# A page of each status, merged: whatever their shares are, no more is read than is shown.
_PAGE_HAVING = f"""
    SELECT
        (SELECT sum(n)::bigint FROM status_counts
            WHERE status_counts.fleet_id = fleets.fleet_id AND sync_status_code = ANY($4)),
        page.*
    FROM fleets LEFT JOIN LATERAL (
        SELECT of_one.* FROM unnest($4::smallint[]) AS code CROSS JOIN LATERAL (
            SELECT {DEVICE} FROM devices
            WHERE devices.fleet_id = fleets.fleet_id AND sync_status_code = code
                AND device_id > $2
            ORDER BY device_id LIMIT $3
        ) AS of_one
        ORDER BY device_id LIMIT $3
    ) AS page ON true
    WHERE name = $1 ORDER BY device_id"""  # noqa: S608 - columns of ours
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


class PostgresQueries:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        (row,) = await self._of_fleet(_DEVICE, fleet, device_id)
        if row[0] is None:
            raise NoSuchDevice
        return read_device(row)

    async def devices(
        self,
        fleet: str,
        *,
        after: int,
        limit: int,
        statuses: frozenset[int] | None,
        known: Hashable = None,
    ) -> DevicePage:
        if statuses is None:
            rows = await self._of_fleet(_PAGE, fleet, after, limit + 1)
        else:
            rows = await self._of_fleet(_PAGE_HAVING, fleet, after, limit + 1, [*statuses])
        devices = [read_device(row[1:]) for row in rows[:limit] if row[1] is not None]
        return DevicePage(devices, rows[0][0] or 0, len(rows) > limit)

    async def errors(self, fleet: str, criteria: ErrorFilter, limit: int) -> ErrorPage:
        conditions, values = [], []
        for condition, value in (
            ("error_id < {}", criteria.before),
            ("device_id = {}", criteria.device_id),
            ("sync_status_code = ANY({})", criteria.statuses and [*criteria.statuses]),
            ("occurred_at >= {}", criteria.since),
        ):
            if value is not None:
                values.append(value)
                conditions.append(f"AND {condition.format(f'${2 + len(values)}')}")
        sql = _ERRORS.format(conditions=" ".join(conditions))
        rows = await self._of_fleet(sql, fleet, limit + 1, *values)
        logs = [ErrorLog(*row) for row in rows[:limit] if row[0] is not None]
        return ErrorPage(logs, len(rows) > limit)

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
        rows = await self._database.fetch(sql, readable(name), *args)
        if not rows:
            raise NoSuchFleet
        return rows
