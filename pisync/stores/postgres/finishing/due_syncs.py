"""Attempts that finish by themselves, each when it is due."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from operator import itemgetter

from pisync.model.timestamp import SECOND
from pisync.stores.changes import Due, FleetChanges, all_of
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finishing.commits import ObservedCommits, run_due
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.snapshot import (
    FleetSnapshot,
    fleets_at_work,
    load_due,
    load_pending,
)
from pisync.stores.postgres.traffic.moments import prepare

_MIN_SHARE = 16
"""How much is done in a turn for each fleet at least, where there are many."""
_GATHERING = 0.02
"""Seconds between two rounds of finishing: what falls due in between shares the second one."""
_FLEETS_AT_ONCE = 4

_Load = Callable[[Connection, FleetSnapshot], Awaitable[list[Due]]]


class DueSyncs:
    """Finishes what is due, of all fleets whose time runs.

    Each replica finishes what it has begun. What another one began is left to it for a while: if
    two finish the same, the work of one of them is thrown away.
    """

    def __init__(self, database: Database, own: OwnSyncs, commits: ObservedCommits) -> None:
        self._database = database
        self._own = own
        self._commits = commits
        self._pause_until = 0.0

    async def finish_due(self, limit: int) -> int:
        """Do what `SyncFinisher.finish_due` promises."""
        now = asyncio.get_running_loop().time
        # What falls due soon after what has just finished shares a commit with others.
        await asyncio.sleep(self._pause_until - now())
        tick = self._own.tick()
        at_work = await self._database.call(partial(fleets_at_work, self._database))
        self._own.keep({fleet.fleet_id for fleet, _ in at_work}, tick)
        ready = [
            (at, fleet, first)
            for fleet, first in at_work
            if (at := self._due_at(fleet, first)) <= fleet.real_time
        ]
        ready.sort(key=itemgetter(0))
        # None may keep the others waiting, however much it has to do.
        share = max(limit // max(len(ready), 1), _MIN_SHARE)
        # Time may be fast where devices sync by themselves: something new would be due each time.
        may_gather = not any(_is_shared(fleet) for _, fleet, _ in ready)
        done = 0
        while ready and done < limit:
            some, ready = ready[:_FLEETS_AT_ONCE], ready[_FLEETS_AT_ONCE:]
            most = min(share, limit - done)
            done += await _sum(
                [self._run_until_now(fleet, first, most) for _, fleet, first in some]
            )
        if may_gather and 0 < done < limit:
            self._pause_until = now() + _GATHERING
        return done

    def _due_at(self, fleet: FleetSnapshot, first: int) -> float:
        """Return the real time at which this replica has something to do in a fleet."""
        at = fleet.clock.real_time_of(first)
        if _is_shared(fleet):
            return at
        own = self._own.first(fleet.fleet_id)
        others = at + self._own.grace
        return others if own is None else min(others, fleet.clock.real_time_of(own))

    async def _run_until_now(self, fleet: FleetSnapshot, first: int, limit: int) -> int:
        """Do what is due in a fleet by itself; return how much there was."""
        if _is_shared(fleet):
            return await self._database.call(partial(self._run_all, fleet, limit))
        done = await self._finish_own(fleet, limit) or 0
        left_at = fleet.clock.now(fleet.real_time - self._own.grace)
        if first <= left_at and done < limit:
            left = partial(load_due, until=left_at, limit=limit - done)
            # If not, another replica was faster.
            done += await self._finish(fleet, left) or 0
        return done

    async def _run_all(self, fleet: FleetSnapshot, limit: int, connection: Connection) -> int:
        """Do what is due in a fleet that lives, whoever began it; return how much there was."""
        if fleet.is_preparing and not await prepare(connection, fleet):
            return 1
        due = await load_due(connection, fleet, fleet.now, limit)
        progress, changes = await run_due(connection, fleet, due, fleet.now, limit, by_itself=True)
        # If not, another replica was faster.
        return len(due) if await self._commits.apply(connection, changes, progress) else 0

    async def _finish_own(self, fleet: FleetSnapshot, limit: int) -> int | None:
        own = self._own.take(fleet.fleet_id, fleet.now, limit)
        if not own:
            return 0
        finished = None
        try:
            finished = await self._finish(fleet, partial(load_pending, dues=own))
        finally:
            if finished is None:
                # It is tried again; what has ended by then is passed over.
                self._own.add(fleet.fleet_id, own)
        return finished

    async def _finish(self, fleet: FleetSnapshot, load: _Load) -> int | None:
        """Finish what is loaded; return how many that were, None if it has changed meanwhile."""

        async def finish(connection: Connection) -> int | None:
            changes = FleetChanges(fleet)
            dues = await load(connection, fleet)
            ended = changes.finish_due(dues, fleet.now, by_itself=True)
            return (
                len(ended)
                if await self._commits.apply(connection, changes, all_of(ended))
                else None
            )

        return await self._database.call(finish)

    async def next_due(self) -> float | None:
        """Do what `SyncFinisher.next_due` promises."""
        at_work = await self._database.call(partial(fleets_at_work, self._database))
        waits = (self._due_at(fleet, due) - fleet.real_time for fleet, due in at_work)
        return min((max(wait, 0) / SECOND for wait in waits if wait < inf), default=None)


def _is_shared(fleet: FleetSnapshot) -> bool:
    """Whether what is due in a fleet is done by any replica: it lives, in the order of its time."""
    return fleet.is_preparing or fleet.profile.traffic is not None


async def _sum(steps: Sequence[Awaitable[int]]) -> int:
    """Return the sum of what these return; none is cancelled because another one has failed."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return sum(results)  # type: ignore[arg-type] # nothing was raised
