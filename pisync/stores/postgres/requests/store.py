"""Faults and journals of fleets that replicas share."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from asyncpg import Record

from pisync.model.fleet import FAULTS
from pisync.model.parsing.faults import read_rules, write_rules
from pisync.model.requests.fault import MAX_REQUEST_COUNTERS, MAX_RULES, FaultRule
from pisync.model.requests.fault_draw import CallOfUser, MetFault, draw_fault
from pisync.model.requests.journal import (
    READ_AT_ONCE,
    Journal,
    JournaledRequest,
    JournalEntry,
    JournalPage,
    RequestFilter,
)
from pisync.stores.errors import NoSuchFleet, StoreUnavailable
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.outbox.hearing import all_have_heard
from pisync.stores.postgres.requests.settings import (
    LOCK_NAME,
    NOTIFY,
    KnownSettings,
    RequestSettings,
)
from pisync.stores.postgres.snapshot import readable
from pisync.stores.schema import codec

_TRIES = 10
"""How often a request is counted anew because others change the rules."""

_ENTRY = """
    request_id, received_at, call, method, path, device_id, user_name, user_agent, status, fault,
    attempt, seconds"""
"""The columns of a `JournalEntry`, in its order."""
_SET_RULES = """
    INSERT INTO request_settings AS known
    SELECT fleet_id, 0, $2, 1, 0, 0 FROM fleets WHERE name = $1 FOR KEY SHARE
    ON CONFLICT (fleet_id) DO UPDATE
        SET rules = excluded.rules, version = known.version + 1, counters = 0
    RETURNING fleet_id"""
_RULES = """
    SELECT rules, ARRAY(
        SELECT coalesce(n, 0) FROM generate_series(0, $2::integer - 1) AS place
        LEFT JOIN request_counts ON request_counts.fleet_id = fleets.fleet_id AND counter = place
        ORDER BY place
    ) AS hits FROM fleets LEFT JOIN request_settings USING (fleet_id) WHERE name = $1"""
_COUNT = """
    SELECT earlier, at_version, profile
    FROM count_request($1, $2, $3) LEFT JOIN fleets ON fleet_id = $1"""
# The row of the settings is held, so that none of the rest outlives it.
_COUNT_HIT = """
    WITH held AS (
        SELECT fleet_id FROM request_settings WHERE fleet_id = $1 AND version = $2 FOR KEY SHARE
    ), by_rule AS (
        INSERT INTO request_counts AS known SELECT fleet_id, $3, 1 FROM held
        ON CONFLICT (fleet_id, counter) DO UPDATE SET n = known.n + 1
    )
    INSERT INTO tallies AS known SELECT fleet_id, $4, $5, 1 FROM held
    ON CONFLICT (fleet_id, what, error_message) DO UPDATE SET n = known.n + 1"""
_RECORD = f"""
    WITH turn AS (
        UPDATE request_settings SET newest_request = newest_request + 1
        WHERE fleet_id = $1 AND journal > 0 RETURNING fleet_id, newest_request, journal
    ), gone AS (
        DELETE FROM requests USING turn
        WHERE requests.fleet_id = turn.fleet_id AND number <= newest_request - journal
    )
    INSERT INTO requests (fleet_id, number, {_ENTRY})
    SELECT fleet_id, newest_request, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
    FROM turn
    RETURNING true"""  # noqa: S608 - columns of ours
_PAGE = f"""
    SELECT page.* FROM fleets LEFT JOIN LATERAL (
        SELECT number, {_ENTRY} FROM requests
        WHERE requests.fleet_id = fleets.fleet_id {{conditions}}
        ORDER BY number DESC LIMIT $2
    ) AS page ON true
    WHERE name = $1 ORDER BY number DESC"""  # noqa: S608 - columns of ours
_CLEAR = """
    WITH gone AS (
        DELETE FROM requests USING fleets
        WHERE requests.fleet_id = fleets.fleet_id AND name = $1
    )
    SELECT true FROM fleets WHERE name = $1"""


class PostgresRequests:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(
        self, database: Database, settings: KnownSettings, catch_up: Callable[[], Awaitable[None]]
    ) -> None:
        """Take what waits until this process has heard of all that is true by now."""
        self._database = database
        self._settings = settings
        self._catch_up = catch_up

    def is_watched(self, fleet: str) -> bool:
        return self._settings.may_have(fleet)

    def journal_in_memory(self, _fleet: str) -> Journal | None:
        return None

    async def set_faults(self, fleet: str, rules: tuple[FaultRule, ...]) -> None:
        await self._database.call(partial(_set_rules, readable(fleet), write_rules(rules)))
        await self._catch_up()
        await all_have_heard(self._database)

    async def faults(self, fleet: str) -> Sequence[tuple[FaultRule, int]]:
        row = await self._database.fetchrow(_RULES, readable(fleet), MAX_RULES)
        if row is None:
            raise NoSuchFleet
        rules = read_rules(row["rules"]) if row["rules"] else ()
        return list(zip(rules, row["hits"], strict=False))

    async def meet_fault(self, fleet: str, call: CallOfUser) -> MetFault | None:
        for _ in range(_TRIES):
            settings = await self._settings.of(fleet)
            if settings is None or not any(
                rule.is_about(call.call, call.device_id) for rule in settings.rules
            ):
                return None
            row = await self._database.fetchrow(
                _COUNT, settings.fleet_id, call.counter, MAX_REQUEST_COUNTERS
            )
            if row is not None and row["at_version"] == settings.version:
                return await self._drawn(settings, call, row["earlier"], row["profile"])
            # Not heard of yet. A request that was counted for newer rules is counted twice: one
            # that comes beside a change of the rules has no place among the others.
            self._settings.changed(fleet)
        raise StoreUnavailable

    async def _drawn(
        self, settings: RequestSettings, call: CallOfUser, earlier: int | None, profile: str | None
    ) -> MetFault | None:
        if earlier is None or profile is None:
            return None
        met = draw_fault(_seed(profile), settings.rules, call, earlier)
        if met is not None:
            await self._count_hit(settings, met)
        return met

    async def _count_hit(self, settings: RequestSettings, met: MetFault) -> None:
        word = FAULTS["after" if met.is_after else "before"]
        await self._database.fetch(
            _COUNT_HIT, settings.fleet_id, settings.version, met.rule, word, met.fault.kind
        )

    async def record(self, fleet: str, entry: JournalEntry) -> None:
        for _ in range(_TRIES):
            settings = await self._settings.of(fleet)
            if settings is None or not settings.journal:
                return
            if await self._database.fetchval(_RECORD, settings.fleet_id, *entry):
                return
            # Of a reset, or of another size, that was not heard of yet.
            self._settings.changed(fleet)

    async def journal(self, fleet: str, criteria: RequestFilter, limit: int) -> JournalPage:
        conditions, values = [], list[Any]()
        for condition, value in (
            ("number < {}", criteria.before),
            ("call = ANY({})", criteria.calls and [*criteria.calls]),
            ("device_id = {}", criteria.device_id),
            ("user_name = {}", criteria.user),
            ("status = ANY({})", criteria.statuses and [*criteria.statuses]),
            ("fault = ANY({})", criteria.faults and [*criteria.faults]),
            ("received_at >= {}", criteria.since),
        ):
            if value is not None:
                values.append(value)
                conditions.append(f"AND {condition.format(f'${2 + len(values)}')}")
        sql = _PAGE.format(conditions=" ".join(conditions))
        rows = await self._database.fetch(sql, readable(fleet), limit + 1, *values)
        if not rows:
            raise NoSuchFleet
        if len(rows) <= READ_AT_ONCE:
            return _page(rows, limit)
        return await asyncio.to_thread(_page, rows, limit)

    async def clear_journal(self, fleet: str) -> None:
        if not await self._database.fetchval(_CLEAR, readable(fleet)):
            raise NoSuchFleet


def _page(rows: Sequence[Record], limit: int) -> JournalPage:
    found = [
        JournaledRequest(number, JournalEntry(*entry))
        for number, *entry in rows[:limit]
        if number is not None
    ]
    return JournalPage(found, len(rows) > limit)


@lru_cache(maxsize=256)
def _seed(profile: str) -> int:
    return codec.read_profile(profile).seed


async def _set_rules(fleet: str, rules: str, connection: Connection) -> None:
    async with connection.transaction():
        # Else a fleet that is being replaced would seem to be gone.
        await connection.execute(LOCK_NAME, fleet)
        fleet_id = await connection.fetchval(_SET_RULES, fleet, rules)
        if fleet_id is None:
            raise NoSuchFleet
        await connection.execute("DELETE FROM request_counts WHERE fleet_id = $1", fleet_id)
        await connection.execute(NOTIFY, fleet)
