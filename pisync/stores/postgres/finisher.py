"""Attempts finish: when they are due, when time is moved, or when one is released."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from operator import itemgetter

from pisync.model.clock import ClockSetting, ClockView
from pisync.model.device import Device
from pisync.model.outcome import Outcome
from pisync.model.sync import ClockAdvance
from pisync.model.timestamp import LATEST, SECOND
from pisync.stores.base import BATCH
from pisync.stores.changes import STEP, Due, FleetChanges, Progress, all_of
from pisync.stores.errors import (
    ClockNotManual,
    FleetReplaced,
    NoSuchDevice,
    NoSuchFleet,
    PastTheLastYear,
)
from pisync.stores.postgres import notifications
from pisync.stores.postgres.commit import Commits, SnapshotChanges, numbered
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database, Turns
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.notifications import ObserverHolder
from pisync.stores.postgres.reading.polls import load_polls
from pisync.stores.postgres.requests.settings import HEARD_SECONDS, NOTIFY
from pisync.stores.postgres.snapshot import (
    FleetSnapshot,
    due_of,
    first_due,
    fleets_at_work,
    last_due,
    load_due,
    load_fleet,
    load_pending,
)
from pisync.stores.postgres.traffic.moments import load_scripts, prepare

_MIN_SHARE = 16
"""How much is done in a turn for each fleet at least, where there are many."""

_GATHERING = 0.02
"""Seconds between two rounds of finishing: what falls due in between shares the second one."""
_FLEETS_AT_ONCE = 4

_Load = Callable[[Connection, FleetSnapshot], Awaitable[list[Due]]]
_Target = Callable[[Connection, FleetSnapshot], Awaitable[int]]

_PROMISE = """
    UPDATE turns SET promised_time = $3, version = version + 1
    WHERE fleet_id = $1 AND version = $2 RETURNING promised_time"""

_SET_AUTO = "UPDATE fleets SET auto_clock = $2 WHERE fleet_id = $1"


class PostgresFinisher:
    """What the methods promise is written in pisync.stores.base.

    A manual clock is moved in two steps, so that a move may take many transactions. First it is
    promised: the time to reach is saved, and the next move goes on from there. Then the promise is
    kept: the earliest syncs finish, and the clock goes along. Anyone may do that, and all who come
    to the fleet's clock do.
    """

    def __init__(
        self,
        database: Database,
        holder: ObserverHolder,
        own: OwnSyncs,
        commits: Commits,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """Take, last, what waits until this process has heard of all that is true by now."""
        self._catch_up = catch_up
        self._database = database
        self._holder = holder
        self._own = own
        self._commits = commits
        self._pause_until = 0.0
        self._moving = Turns(database)

    # By themselves

    async def finish_due(self, limit: int) -> int:
        # Each replica finishes what it has begun. What another one began is left to it for a while:
        # if two finish the same, the work of one of them is thrown away.
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
        progress, changes = await self._run(
            connection, fleet, due, fleet.now, limit, by_itself=True
        )
        # If not, another replica was faster.
        return len(due) if await self._apply(connection, changes, progress) else 0

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
            return len(ended) if await self._apply(connection, changes, all_of(ended)) else None

        return await self._database.call(finish)

    async def next_due(self) -> float | None:
        at_work = await self._database.call(partial(fleets_at_work, self._database))
        waits = (self._due_at(fleet, due) - fleet.real_time for fleet, due in at_work)
        return min((max(wait, 0) / SECOND for wait in waits if wait < inf), default=None)

    # When time is moved

    async def advance(self, name: str, microseconds: int) -> ClockAdvance:

        async def target(_: Connection, fleet: FleetSnapshot) -> int:
            if not fleet.clock.stands_still:
                raise ClockNotManual
            return max(fleet.now, fleet.promised_time) + microseconds

        return await self._move(name, target)

    async def settle(self, name: str) -> ClockAdvance:

        async def target(connection: Connection, fleet: FleetSnapshot) -> int:
            last = await last_due(connection, fleet)
            if fleet.clock.stands_still:
                return max(fleet.now, fleet.promised_time, last or fleet.now)
            return fleet.now if last is None else last

        return await self._move(name, target)

    async def run_to_due(self, name: str, device_id: int | None = None) -> bool:

        async def target(connection: Connection, fleet: FleetSnapshot) -> int:
            due = None
            if fleet.clock.is_auto:
                due = await due_of(connection, fleet, device_id)
            if due is None:
                raise _NothingDue
            return max(fleet.now, fleet.promised_time, due)

        try:
            await self._move(name, target)
        except _NothingDue:
            return False
        return True

    async def step(self, fleet: FleetSnapshot) -> bool:
        """Move time that stands still to when something is due, and do all that is due then.

        Returns whether the fleet was still as it was read: else nothing has happened.
        """
        if fleet.is_on_its_way:
            # Whoever comes to a fleet's clock keeps what was promised.
            await self._keep(fleet.name, fleet.fleet_id, fleet.promised_time)
            return False
        if fleet.profile.traffic is not None:
            while not await self._database.call(partial(self._prepare, fleet)):
                pass
        stepped, until = await self._database.call(partial(self._step, fleet))
        if until is not None:
            await self._keep(fleet.name, fleet.fleet_id, until)
        return stepped

    async def _prepare(self, fleet: FleetSnapshot, connection: Connection) -> bool:
        return await prepare(connection, await self._same(fleet.name, fleet.fleet_id, connection))

    async def _step(self, fleet: FleetSnapshot, connection: Connection) -> tuple[bool, int | None]:
        """Do what `step` does, as far as one transaction goes.

        Returns what it returns, and the time at which there is more to do, if there is.
        """
        first = await first_due(connection, fleet)
        if first is None:
            # What was pending when the fleet was read has finished since.
            return False, None
        until = max(first, fleet.now)
        due = await load_due(connection, fleet, until, STEP)
        progress, changes = await self._run(connection, fleet, due, until, STEP, by_itself=False)
        changes.clock = fleet.clock.moved_to(progress.reached, fleet.real_time)
        if not await self._apply(connection, changes, progress):
            return False, None
        return True, None if progress.is_over else until

    async def _move(self, name: str, target: _Target) -> ClockAdvance:
        async with self._moving.turn(name):
            fleet_id, until = await self._database.persist(partial(self._promise, name, target))
            return await self._keep(name, fleet_id, until)

    async def _promise(
        self, name: str, target: _Target, connection: Connection
    ) -> tuple[int, int] | None:
        """Promise to move a fleet's time; return its id and that time, None if it has changed."""
        fleet = await load_fleet(self._database, connection, name)
        until = await target(connection, fleet)
        if until > LATEST:
            raise PastTheLastYear
        if fleet.clock.stands_still and until > max(fleet.now, fleet.promised_time):
            promised = await connection.fetchval(_PROMISE, fleet.fleet_id, fleet.version, until)
            if promised is None:
                return None
        return fleet.fleet_id, until

    async def _keep(self, name: str, fleet_id: int, until: int) -> ClockAdvance:
        """Finish what is due up to `until`, some at a time; a manual clock moves along."""
        finished, is_kept = 0, False
        while not is_kept:
            step = partial(self._keep_some, name, fleet_id, until)
            moved, is_kept = await self._database.persist(step)
            finished += moved.finished
        return ClockAdvance(moved.now, finished)

    async def _keep_some(
        self, name: str, fleet_id: int, until: int, connection: Connection
    ) -> tuple[ClockAdvance, bool] | None:
        """Take one step towards `until`; return it, and whether there was nothing left to do."""
        fleet = await self._same(name, fleet_id, connection)
        if not await prepare(connection, fleet):
            return ClockAdvance(fleet.now, 0), False
        if not fleet.clock.stands_still:
            return await self._keep_some_now(connection, fleet, until)
        due = await load_due(connection, fleet, until, STEP)
        progress, changes = await self._run(connection, fleet, due, until, STEP, by_itself=False)
        if fleet.now < progress.reached:
            changes.clock = fleet.clock.moved_to(progress.reached, fleet.real_time)
        is_kept = not due and changes.clock is fleet.clock
        if not is_kept and not await self._apply(connection, changes, progress):
            return None
        return ClockAdvance(until, len(progress.finished)), is_kept

    async def _keep_some_now(
        self, connection: Connection, fleet: FleetSnapshot, until: int
    ) -> tuple[ClockAdvance, bool] | None:
        """Finish some of what is pending before its time has come, as `_keep_some` does."""
        due = await load_due(connection, fleet, until, BATCH, own=False)
        changes = FleetChanges(fleet)
        ended = changes.finish_due(due, fleet.now, by_itself=False)
        if due and not await self._apply(connection, changes, all_of(ended)):
            return None
        return ClockAdvance(fleet.now, len(ended)), not due

    async def _run(
        self,
        connection: Connection,
        fleet: FleetSnapshot,
        due: Sequence[Due],
        until: int,
        limit: int,
        *,
        by_itself: bool,
    ) -> tuple[Progress, SnapshotChanges]:
        """Compute what comes of what is due."""
        if fleet.profile.traffic is not None and due:
            await load_scripts(connection, fleet)
        changes = FleetChanges(fleet)
        return changes.run(due, until, until, limit, by_itself=by_itself), changes

    async def set_clock(self, name: str, speed: float, is_auto: bool = False) -> ClockView:
        setting = ClockSetting(speed, is_auto)
        async with self._moving.turn(name):
            fleet = await self._database.call(partial(self._load, name))
            if fleet.is_on_its_way:
                # If the fleet is replaced meanwhile, it is the new one whose clock is set.
                with suppress(FleetReplaced):
                    await self._keep(name, fleet.fleet_id, fleet.promised_time)
            clock, was_auto = await self._database.persist(partial(self._set_clock, name, setting))
        if clock.is_auto != was_auto:
            await self._catch_up()
            # All replicas know then that reads are to move it.
            await asyncio.sleep(HEARD_SECONDS)
        return clock

    async def _set_clock(
        self, name: str, setting: ClockSetting, connection: Connection
    ) -> tuple[ClockView, bool] | None:
        """Set a fleet's clock; return it, and whether it moved itself before.

        None if others were faster.
        """
        fleet = await load_fleet(self._database, connection, name)
        if fleet.is_on_its_way:
            return None
        changes = FleetChanges(fleet)
        changes.clock = fleet.clock.set_to(setting, fleet.real_time)
        due = await first_due(connection, fleet)
        wait = None if due is None else changes.clock.real_wait(due, fleet.real_time)
        told = [] if wait is None else [notifications.due(wait / SECOND)]
        async with connection.transaction():
            if not await self._apply(connection, changes, all_of(()), told):
                return None
            # However it seems: a replica of 0.1.0 that lets it run leaves the mark.
            await connection.execute(_SET_AUTO, fleet.fleet_id, setting.is_auto)
            if fleet.clock.is_auto != setting.is_auto:
                await connection.execute(NOTIFY, name)
        self._commits.send_soon()
        if wait is not None:
            self._holder.observer.due_in(wait / SECOND)
        return changes.clock.view(fleet.real_time), fleet.clock.is_auto

    # When one is released

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        return await self._database.persist(partial(self._release, fleet, device_id, outcome))

    async def _release(
        self, name: str, device_id: int, outcome: Outcome, connection: Connection
    ) -> Device | None:
        fleet = await load_fleet(self._database, connection, name, [device_id])
        if device_id not in fleet.devices:
            raise NoSuchDevice
        if not await load_polls(connection, fleet):
            return None
        changes = FleetChanges(fleet)
        finished = changes.release(device_id, outcome, fleet.now)
        return (
            finished.device if await self._apply(connection, changes, all_of([finished])) else None
        )

    # Within

    async def _load(self, name: str, connection: Connection) -> FleetSnapshot:
        return await load_fleet(self._database, connection, name)

    async def _same(self, name: str, fleet_id: int, connection: Connection) -> FleetSnapshot:
        """Read a fleet that was read before.

        Raises:
            FleetReplaced: It has ended since.
        """
        try:
            fleet = await self._load(name, connection)
        except NoSuchFleet:
            raise FleetReplaced from None
        if fleet.fleet_id != fleet_id:
            raise FleetReplaced
        return fleet

    async def _apply(
        self,
        connection: Connection,
        changes: SnapshotChanges,
        progress: Progress,
        more_notices: Sequence[str] = (),
    ) -> bool:
        """Make changes true, and tell what came of them; say whether their snapshot still held."""
        fleet = changes.fleet
        if not changes.devices and changes.clock is fleet.clock:
            return True
        newest_error = await self._commits.apply(
            connection, changes, changed=progress.changed, more_notices=more_notices
        )
        if newest_error is None:
            return False
        if progress.begun:
            self._holder.observer.began(fleet.name, progress.begun)
        if progress.finished:
            self._holder.observer.finished(
                fleet.name,
                fleet.fleet_id,
                [numbered(each, newest_error) for each in progress.finished],
            )
        return True


class _NothingDue(Exception):
    """Nothing is pending that time could be moved to, or it is not for a read to move it."""


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
