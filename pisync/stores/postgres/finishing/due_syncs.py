"""Attempts that finish by themselves, each when it is due."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import inf
from operator import itemgetter

from pisync.model.timestamp import SECOND, from_seconds
from pisync.stores.changes import Due, FleetChanges, all_of
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finishing.along import DueAlong
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
_LOOK_EVERY = 0.1
"""Seconds for which a look at all that is due lasts: between two, only own syncs are finished."""
_FLEETS_AT_ONCE = 4

_Finish = Callable[[FleetSnapshot, int], Awaitable[int]]


class DueSyncs:
    """Finishes what is due, of all fleets whose time runs.

    Each replica finishes what it has begun. What another one began is left to it for a while: if
    two finish the same, the work of one of them is thrown away.
    """

    def __init__(
        self, database: Database, own: OwnSyncs, along: DueAlong, commits: ObservedCommits
    ) -> None:
        self._database = database
        self._own = own
        self._along = along
        self._commits = commits
        self._pause_until = 0.0
        self._fleets: list[FleetSnapshot] = []
        """The fleets whose time runs, as they were last read."""
        self._looked_at = 0.0
        """When that was, by the event loop's clock."""
        self._goes_by_own = False
        """Whether to go on with what is its own: something has just finished, or finishes soon."""

    async def finish_due(self, limit: int) -> int:
        """Do what `SyncFinisher.finish_due` promises."""
        now = asyncio.get_running_loop().time
        # What falls due soon after what has just finished shares a commit with others.
        await asyncio.sleep(self._pause_until - now())
        if now() < self._looked_at + _LOOK_EVERY:
            done = await self._finish_begun(limit)
            if done or self._may_wait():
                self._goes_by_own = True
                if done < limit:
                    self._pause_until = now() + _GATHERING
                return done
        done = await self._look_and_finish(limit)
        self._goes_by_own = self._goes_by_own or self._may_wait()
        return done

    def _may_wait(self) -> bool:
        """Whether what is due now may wait: for those who begin others, or for the next look."""
        known = {fleet.fleet_id for fleet in self._fleets}
        return (
            self._along.is_expected()
            and self._own.fleet_ids() <= known
            and not any(map(_is_shared, self._fleets))
        )

    async def _finish_begun(self, limit: int) -> int:
        """Finish what this replica began in the fleets that were read last; return how many."""
        if any(map(_is_shared, self._fleets)):
            return 0
        ready = [fleet for fleet in self._fleets if self._wait(fleet) <= 0]
        return await _share(ready, limit, self._finish_own)

    def _wait(self, fleet: FleetSnapshot) -> float:
        """Return the real seconds until something is to be finished that this replica began."""
        return self._along.left_for(fleet, self._own_wait(fleet))

    def _own_wait(self, fleet: FleetSnapshot) -> float:
        """Return the real seconds until something is due that this replica began in a fleet."""
        own = self._own.first(fleet.fleet_id)
        if own is None:
            return inf
        passed = asyncio.get_running_loop().time() - self._looked_at
        return (fleet.clock.real_time_of(own) - fleet.real_time) / SECOND - passed

    async def _look_and_finish(self, limit: int) -> int:
        now = asyncio.get_running_loop().time
        self._goes_by_own = False
        tick = self._own.tick()
        looked_at = now()
        at_work = await self._database.call(partial(fleets_at_work, self._database))
        self._fleets, self._looked_at = [fleet for fleet, _ in at_work], looked_at
        self._own.keep({fleet.fleet_id for fleet in self._fleets}, tick)
        ready = [
            (at, fleet, first)
            for fleet, first in at_work
            if (at := self._due_at(fleet, first)) <= fleet.real_time
        ]
        ready.sort(key=itemgetter(0))
        firsts = {fleet.fleet_id: first for _, fleet, first in ready}

        async def finish(fleet: FleetSnapshot, most: int) -> int:
            return await self._run_until_now(fleet, firsts[fleet.fleet_id], most)

        # Time may be fast where devices sync by themselves: something new would be due each time.
        may_gather = not any(_is_shared(fleet) for _, fleet, _ in ready)
        done = await _share([fleet for _, fleet, _ in ready], limit, finish)
        if may_gather and 0 < done < limit:
            self._goes_by_own = True
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
        done = await self._finish_own(fleet, limit) if self._wait(fleet) <= 0 else 0
        left_at = fleet.clock.now(fleet.real_time - self._own.grace)
        if first <= left_at and done < limit:
            done += await self._database.call(
                partial(self._finish_left, fleet, left_at, limit - done)
            )
        return done

    async def _run_all(self, fleet: FleetSnapshot, limit: int, connection: Connection) -> int:
        """Do what is due in a fleet that lives, whoever began it; return how much there was."""
        if fleet.is_preparing and not await prepare(connection, fleet):
            return 1
        due = await load_due(connection, fleet, fleet.now, limit)
        progress, changes = await run_due(connection, fleet, due, fleet.now, limit, by_itself=True)
        # If not, another replica was faster.
        return len(due) if await self._commits.apply(connection, changes, progress) else 0

    async def _finish_left(
        self, fleet: FleetSnapshot, until: int, limit: int, connection: Connection
    ) -> int:
        """Finish what was due up to `until`, whoever began it; return how many that were."""
        due = await load_due(connection, fleet, until, limit)
        # If not, another replica was faster.
        return await self._finish(connection, fleet, due) or 0

    async def _finish_own(self, known: FleetSnapshot, limit: int) -> int:
        """Finish what this replica has begun in a fleet, once it is due; return how many."""
        passed = asyncio.get_running_loop().time() - self._looked_at
        until = known.clock.now(known.real_time + from_seconds(passed))
        own = self._own.take(known.fleet_id, until, limit)
        if not own:
            return 0
        finished = None
        try:
            finished = await self._database.call(partial(self._finish_taken, known.fleet_id, own))
        finally:
            if finished is None:
                # It is tried again; what has ended by then is passed over.
                self._own.add(known.fleet_id, own)
        return finished or 0

    async def _finish_taken(
        self, fleet_id: int, own: Sequence[Due], connection: Connection
    ) -> int | None:
        """Finish these syncs; return how many are due, None if the fleet is no longer the same."""
        device_ids = [due.position for due in own]
        fleet = await load_pending(self._database, connection, fleet_id, device_ids)
        if fleet is None or fleet.clock.stands_still or _is_shared(fleet):
            return None
        due = [each for each in own if each.moment <= fleet.now]
        finished = await self._finish(
            connection, fleet, [each for each in due if each.position in fleet.devices]
        )
        if finished is not None:
            self._own.add(fleet_id, own[len(due) :])
        return finished

    async def _finish(
        self, connection: Connection, fleet: FleetSnapshot, due: Sequence[Due]
    ) -> int | None:
        """Finish what is due; return how many that were, None if it has changed meanwhile."""
        changes = FleetChanges(fleet)
        ended = changes.finish_due(due, fleet.now, by_itself=True)
        is_done = await self._commits.apply(connection, changes, all_of(ended))
        return len(ended) if is_done else None

    async def next_due(self) -> float | None:
        """Do what `SyncFinisher.next_due` promises."""
        if self._goes_by_own:
            # Who has just finished something looks again soon, if only at what is its own.
            self._goes_by_own = False
            look = self._looked_at + _LOOK_EVERY - asyncio.get_running_loop().time()
            return max(min([look, *map(self._wait, self._fleets)]), 0)
        at_work = await self._database.call(partial(fleets_at_work, self._database))
        waits = (self._due_at(fleet, due) - fleet.real_time for fleet, due in at_work)
        return min((max(wait, 0) / SECOND for wait in waits if wait < inf), default=None)


def _is_shared(fleet: FleetSnapshot) -> bool:
    """Whether what is due in a fleet is done by any replica: it lives, in the order of its time."""
    return fleet.is_preparing or fleet.profile.traffic is not None


async def _share(fleets: Sequence[FleetSnapshot], limit: int, finish: _Finish) -> int:
    """Let fleets finish what is due, some at a time and about `limit` in all; return how many.

    None may keep the others waiting, however much it has to do.
    """
    share = max(limit // max(len(fleets), 1), _MIN_SHARE)
    done = start = 0
    while start < len(fleets) and done < limit:
        most = min(share, limit - done)
        some = fleets[start : start + _FLEETS_AT_ONCE]
        done += await _sum([finish(fleet, most) for fleet in some])
        start += _FLEETS_AT_ONCE
    return done


async def _sum(steps: Sequence[Awaitable[int]]) -> int:
    """Return the sum of what these return; none is cancelled because another one has failed."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return sum(results)  # type: ignore[arg-type] # nothing was raised
