"""Attempts finish: when they are due, when time is moved, or when one is released."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from pisync.model.clock import ClockSetting, ClockView
from pisync.model.device import Device
from pisync.model.outcome import Outcome
from pisync.model.sync import ClockAdvance
from pisync.model.timestamp import LATEST, SECOND
from pisync.stores.base import BATCH
from pisync.stores.changes import STEP, Due, FleetChanges, all_of
from pisync.stores.errors import (
    ClockNotManual,
    FleetReplaced,
    NoSuchDevice,
    NoSuchFleet,
    PastTheLastYear,
)
from pisync.stores.postgres import notifications
from pisync.stores.postgres.commit import Commits
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database, Turns
from pisync.stores.postgres.finishing.along import DueAlong
from pisync.stores.postgres.finishing.commits import ObservedCommits, run_due
from pisync.stores.postgres.finishing.due_syncs import DueSyncs
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.notifications import ObserverHolder
from pisync.stores.postgres.outbox.hearing import all_have_heard
from pisync.stores.postgres.reading.polls import load_polls
from pisync.stores.postgres.requests.settings import NOTIFY
from pisync.stores.postgres.snapshot import (
    FleetSnapshot,
    due_of,
    dues,
    first_due,
    last_due,
    load_due,
    load_fleet,
)
from pisync.stores.postgres.traffic.moments import prepare

_TAKEN_OVER = 10_000
"""How many pending syncs a replica takes for its own when it lets time go on that stood still."""

_Target = Callable[[Connection, FleetSnapshot], Awaitable[int]]

_PROMISE = """
    UPDATE turns SET promised_time = $3, version = version + 1
    WHERE fleet_id = $1 AND version = $2 RETURNING promised_time"""

_LOCK_TURN = """
    SELECT true FROM turns JOIN fleets USING (fleet_id) WHERE name = $1 FOR UPDATE OF turns"""
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
        along: DueAlong,
        commits: Commits,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """Take, last, what waits until this process has heard of all that is true by now."""
        self._catch_up = catch_up
        self._database = database
        self._own = own
        self._holder = holder
        self._commits = ObservedCommits(commits, holder)
        self._due = DueSyncs(database, own, along, self._commits)
        self._moving = Turns(database)

    # By themselves

    async def finish_due(self, limit: int) -> int:
        return await self._due.finish_due(limit)

    async def next_due(self) -> float | None:
        return await self._due.next_due()

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
        progress, changes = await run_due(connection, fleet, due, until, STEP, by_itself=False)
        changes.clock = fleet.clock.moved_to(progress.reached, fleet.real_time)
        if not await self._commits.apply(connection, changes, progress):
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
        progress, changes = await run_due(connection, fleet, due, until, STEP, by_itself=False)
        if fleet.now < progress.reached:
            changes.clock = fleet.clock.moved_to(progress.reached, fleet.real_time)
        is_kept = not due and changes.clock is fleet.clock
        if not is_kept and not await self._commits.apply(connection, changes, progress):
            return None
        return ClockAdvance(until, len(progress.finished)), is_kept

    async def _keep_some_now(
        self, connection: Connection, fleet: FleetSnapshot, until: int
    ) -> tuple[ClockAdvance, bool] | None:
        """Finish some of what is pending before its time has come, as `_keep_some` does."""
        due = await load_due(connection, fleet, until, BATCH, own=False)
        changes = FleetChanges(fleet)
        ended = changes.finish_due(due, fleet.now, by_itself=False)
        if due and not await self._commits.apply(connection, changes, all_of(ended)):
            return None
        return ClockAdvance(fleet.now, len(ended)), not due

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
            await all_have_heard(self._database)
        return clock

    async def _set_clock(
        self, name: str, setting: ClockSetting, connection: Connection
    ) -> tuple[ClockView, bool] | None:
        """Set a fleet's clock; return it, and whether it moved itself before.

        None if others were faster.
        """
        async with connection.transaction():
            # First: others would go on by the old clock, past the time that is read here.
            is_locked = await connection.fetchval(_LOCK_TURN, name)
            fleet = await load_fleet(self._database, connection, name)
            if fleet.is_on_its_way or not is_locked:
                return None
            changes = FleetChanges(fleet)
            changes.clock = fleet.clock.set_to(setting, fleet.real_time)
            due = await first_due(connection, fleet)
            wait = None if due is None else changes.clock.real_wait(due, fleet.real_time)
            told = [] if wait is None else [notifications.due(wait / SECOND)]
            if not await self._commits.apply(connection, changes, all_of(()), told):
                return None
            # However it seems: a replica of 0.1.0 that lets it run leaves the mark.
            await connection.execute(_SET_AUTO, fleet.fleet_id, setting.is_auto)
            if fleet.clock.is_auto != setting.is_auto:
                await connection.execute(NOTIFY, name)
            left: list[Due] = []
            if wait is not None and fleet.clock.stands_still and fleet.profile.traffic is None:
                # Whoever began what is pending may have forgotten it while time stood still.
                left = await dues(connection, fleet, _TAKEN_OVER)
        self._commits.send_soon()
        self._own.add(fleet.fleet_id, left)
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
            finished.device
            if await self._commits.apply(connection, changes, all_of([finished]))
            else None
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


class _NothingDue(Exception):
    """Nothing is pending that time could be moved to, or it is not for a read to move it."""
