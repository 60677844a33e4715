"""The store in memory alone: the default, and what the embedded store reads from."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from itertools import count, islice
from math import inf
from secrets import token_hex
from typing import TypeVar

from pisync.clocks import MachineClocks
from pisync.model.account import Account
from pisync.model.clock import Clock, ClockView
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import DEFAULT_FLEET, FirstData, FleetView, Ledger, Stats
from pisync.model.outcome import Outcome
from pisync.model.profile import Profile
from pisync.model.script import Script
from pisync.model.sync import (
    Change,
    ClockAdvance,
    FinishedSync,
    SyncDecision,
    SyncResult,
)
from pisync.model.timestamp import LATEST, SECOND
from pisync.stores.base import (
    BATCH,
    AccountPage,
    ClockNotManual,
    DefaultFleetProtected,
    DevicePage,
    ErrorFilter,
    ErrorPage,
    FleetReplaced,
    LoginPermit,
    NoSuchFleet,
    PastTheLastYear,
    StoreObserver,
    StoreUnavailable,
    TokenRevocations,
)
from pisync.stores.changes import (
    Due,
    FleetChanges,
)
from pisync.stores.embedded.accounts import AccountState
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.transaction import (
    Mutation,
    Transaction,
)

_Result = TypeVar("_Result")


class MemoryStore:
    """A `Store` whose changes are jobs; each is done at once, and nothing comes in between."""

    def __init__(
        self,
        first: FirstData,
        profile: Profile,
        time: MachineClocks,
        *,
        max_error_logs: int = 100_000,
    ) -> None:
        self._first = first
        self._profile = profile
        self._time = time
        self._most_error_logs = max_error_logs
        self._fleets: dict[str, FleetState] = {}
        self._generations = count(1)
        self._waiting: set[FleetState] = set()
        """The fleets that may have pending syncs."""
        # Ids of another process's events must not be taken for this one's.
        self._process = token_hex(4)
        self._changes = count(1)
        self._accounts = AccountState(time)

    async def open(self, observer: StoreObserver) -> None:
        self._observer = observer
        self._fleets[DEFAULT_FLEET] = self._new(DEFAULT_FLEET, self._first, self._profile)

    async def close(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    async def _write(self, job: Mutation[_Result]) -> _Result:
        """Do a job; return its result once what it changed is true."""
        batch = Transaction(self._fleets)
        try:
            result = job(batch)
        except Exception:
            batch.give_up()
            raise
        batch.apply(self._fleets)
        return result

    # Accounts

    async def add_account(self, account: Account) -> bool:
        return await self._write(lambda batch: self._accounts.add_in(batch, account))

    async def account(self, key: str) -> Account | None:
        return self._accounts.account(key)

    async def accounts(self, *, after: str, limit: int) -> AccountPage:
        return self._accounts.page(after, limit)

    async def change_account(self, key: str, change: Callable[[Account], Account]) -> Account:
        return await self._write(lambda batch: self._accounts.change_in(batch, key, change))

    async def delete_account(self, key: str, now: int) -> None:
        await self._write(lambda batch: self._accounts.delete_in(batch, key, now))

    async def revocations(self, known: int = 0) -> TokenRevocations:
        return self._accounts.revocations(known)

    async def acquire_login_permit(
        self, keys: Sequence[bytes], limit: int, window: float
    ) -> LoginPermit:
        return self._accounts.acquire_login_permit(keys, limit, window)

    async def record_login(self, keys: Sequence[bytes], *, failed: bool) -> None:
        self._accounts.record_login(keys, failed=failed)

    # Fleets

    async def fleets(self) -> Sequence[FleetView]:
        now = self._time.monotonic()
        return [self._fleets[name].view(now) for name in sorted(self._fleets)]

    async def fleet(self, name: str) -> FleetView:
        return self._fleet(name).view(self._time.monotonic())

    async def put_fleet(
        self, name: str, first: FirstData, profile: Profile
    ) -> tuple[FleetView, bool]:
        fleet = await self._made(name, first, profile)

        def job(batch: Transaction) -> bool:
            try:
                batch.fleet(name)
            except NoSuchFleet:
                is_new = True
            else:
                is_new = False
            self._replace(batch, name, fleet)
            return is_new

        is_new = await self._write(job)
        return fleet.view(self._time.monotonic()), is_new

    async def change_profile(self, name: str, change: Callable[[Profile], Profile]) -> FleetView:
        def job(batch: Transaction) -> FleetState:
            work = batch.work(batch.fleet(name))
            work.profile = change(work.profile)
            return work.fleet

        return (await self._write(job)).view(self._time.monotonic())

    async def delete_fleet(self, name: str) -> None:
        def job(batch: Transaction) -> None:
            batch.fleet(name)
            if name == DEFAULT_FLEET:
                raise DefaultFleetProtected
            self._replace(batch, name, None)

        await self._write(job)

    async def reset_fleet(self, name: str) -> None:
        while not await self._reset(name):
            pass

    async def _reset(self, name: str) -> bool:
        """Reset a fleet and return true, unless another takes its place before that is done."""
        old = self._fleet(name)
        new = await self._made(name, old.first, old.profile, old.made_at)

        def job(batch: Transaction) -> bool:
            if batch.fleet(name) is not old:
                return False
            new.profile = batch.work(old).profile
            self._replace(batch, name, new)
            return True

        return await self._write(job)

    async def set_clock(self, name: str, speed: float) -> ClockView:
        fleet = self._fleet(name)

        def job(batch: Transaction) -> ClockView:
            work = batch.work(self._same(batch, fleet))
            now = self._time.monotonic()
            work.clock = work.clock.with_speed(speed, now)
            batch.tell(lambda: self._tell_next_due(fleet))
            return work.clock.view(now)

        async with fleet.moving:
            return await self._write(job)

    async def advance(self, name: str, microseconds: int) -> ClockAdvance:
        fleet = self._fleet(name)
        async with fleet.moving:
            if not fleet.clock.is_manual:
                raise ClockNotManual
            target = fleet.clock.fleet_time + microseconds
            if target > LATEST:
                raise PastTheLastYear
            return await self._finish_until(fleet, target)

    async def settle(self, name: str) -> ClockAdvance:
        fleet = self._fleet(name)
        async with fleet.moving:
            return await self._finish_until(fleet, fleet.last_due())

    async def _finish_until(self, fleet: FleetState, target: int | None) -> ClockAdvance:
        """Finish what is due up to `target`, some at a time; a manual clock moves along."""
        finished, more = 0, target is not None
        while target is not None and more:
            try:
                step = await self._write(partial(self._finish_some, fleet, target))
            except StoreUnavailable:
                # What was to finish here was out of its queue: whoever looked meanwhile missed it.
                self._tell_next_due(fleet)
                raise
            finished += step
            more = step > 0
            await asyncio.sleep(0)
        return ClockAdvance(fleet.clock.now(self._time.monotonic()), finished)

    def _finish_some(self, fleet: FleetState, target: int, batch: Transaction) -> int:
        """Finish the next that are due up to `target`; if there are none, the clock moves there."""
        work = batch.work(self._same(batch, fleet))
        due = fleet.take_due(target, BATCH)
        if work.clock.is_manual:
            reached = due[-1].moment if due else target
            work.clock = work.clock.moved_to(reached, self._time.monotonic())
        self._finish(batch, work, due, None)
        return len(due)

    # Devices

    async def device(self, fleet: str, device_id: int) -> Device:
        chosen = self._fleet(fleet)
        return chosen.devices.load(chosen.position(device_id))

    async def devices(
        self,
        fleet: str,
        *,
        after: int,
        limit: int,
        statuses: frozenset[int] | None,
        known: Hashable = None,
    ) -> DevicePage:
        chosen = self._fleet(fleet)
        table = chosen.devices
        rest = table.after(after)
        if statuses is not None:
            positions = list(islice(table.having(statuses, rest), limit + 1))
            devices = [table.load(position) for position in positions[:limit]]
            return DevicePage(devices, table.count(statuses), len(positions) > limit)
        version = chosen.generation, table.changes(rest[:limit])
        devices = [] if version == known else [table.load(position) for position in rest[:limit]]
        return DevicePage(devices, table.count(), len(rest) > limit, version)

    async def begin(
        self, fleet: str, device_ids: Iterable[int], *, generation: int | None = None
    ) -> Sequence[SyncResult]:
        def job(batch: Transaction) -> list[SyncResult]:
            chosen = batch.fleet(fleet)
            if generation is not None and generation != chosen.generation:
                raise FleetReplaced
            work = batch.work(chosen)
            begun = work.begin(device_ids, work.clock.now(self._time.monotonic()))
            batch.tell(lambda: self._tell_begun(chosen, begun))
            return begun

        return await self._write(job)

    async def finish_due(self, limit: int) -> int:
        def job(batch: Transaction) -> int:
            finished = 0
            for fleet in sorted(self._waiting, key=_falls_due):
                clock = fleet.clock
                if not clock.is_manual and not batch.has_ended(fleet):
                    now = clock.now(self._time.monotonic())
                    due = fleet.take_due(now, limit - finished)
                    if due:
                        self._finish(batch, batch.work(fleet), due, now)
                        finished += len(due)
                    else:
                        self._stop_waiting(fleet)
            return finished

        return await self._write(job)

    async def next_due(self) -> float | None:
        waits = (self._next_due(fleet) for fleet in self._waiting)
        return min((wait for wait in waits if wait is not None), default=None)

    async def set_script(self, fleet: str, device_id: int, script: Script | None) -> None:
        def job(batch: Transaction) -> None:
            chosen = batch.fleet(fleet)
            chosen.position(device_id)
            batch.work(chosen).scripts[device_id] = script

        await self._write(job)

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        def job(batch: Transaction) -> Device:
            chosen = batch.fleet(fleet)
            work = batch.work(chosen)
            now = work.clock.now(self._time.monotonic())
            finished = work.release(chosen.position(device_id), outcome, now)
            batch.tell(lambda: self._tell_finished(chosen, [finished]))
            return finished.device

        return await self._write(job)

    # What happened

    async def errors(self, fleet: str, which: ErrorFilter, limit: int) -> ErrorPage:
        return self._fleet(fleet).errors.page(which, limit)

    async def pending(self) -> int:
        return sum(fleet.pending for fleet in self._fleets.values())

    async def stats(self, fleet: str) -> Stats:
        return self._fleet(fleet).stats()

    async def ledger(self, fleet: str) -> Ledger:
        return self._fleet(fleet).ledger()

    # Within

    def _fleet(self, name: str) -> FleetState:
        try:
            return self._fleets[name]
        except KeyError:
            raise NoSuchFleet from None

    def _same(self, batch: Transaction, fleet: FleetState) -> FleetState:
        """Return a fleet that was looked up before; raises FleetReplaced if it has ended since."""
        try:
            if batch.fleet(fleet.name) is fleet:
                return fleet
        except NoSuchFleet:
            pass
        raise FleetReplaced

    async def _made(
        self, name: str, first: FirstData, profile: Profile, made_at: int | None = None
    ) -> FleetState:
        """Make a fleet in a thread: a large one takes longer than requests should wait for."""
        return await asyncio.to_thread(self._new, name, first, profile, made_at)

    def _new(
        self, name: str, first: FirstData, profile: Profile, made_at: int | None = None
    ) -> FleetState:
        wall = self._time.wall()
        return FleetState(
            name,
            next(self._generations),
            first,
            wall if made_at is None else made_at,
            profile,
            Clock(wall, self._time.monotonic()),
            self._most_error_logs,
        )

    def _replace(self, batch: Transaction, name: str, fleet: FleetState | None) -> None:
        old = batch.replaced[name] if name in batch.replaced else self._fleets.get(name)
        batch.replaced[name] = fleet
        batch.tell(lambda: self._tell_replaced(name, old))

    def _finish(
        self,
        batch: Transaction,
        work: FleetChanges[FleetState],
        due: Sequence[Due],
        now: int | None,
    ) -> None:
        """Finish what was taken from a fleet's queue; it goes back there if that fails."""
        batch.undo(lambda: self._give_back(work.fleet, due))
        finished = work.finish_due(due, now)
        if finished:
            batch.tell(lambda: self._tell_finished(work.fleet, finished))

    def _give_back(self, fleet: FleetState, due: Sequence[Due]) -> None:
        fleet.give_back(due)
        # While its queue was empty, it may have been dropped from those that wait.
        self._waiting.add(fleet)

    def _stop_waiting(self, fleet: FleetState) -> None:
        if fleet.next_due() is None:
            self._waiting.discard(fleet)

    # Telling

    def _tell_replaced(self, name: str, old: FleetState | None) -> None:
        if old is not None:
            self._waiting.discard(old)
        self._observer.replaced(name)

    def _tell_begun(self, fleet: FleetState, begun: Sequence[SyncResult]) -> None:
        self._observer.began(fleet.name, begun)
        started = [
            device for verdict, device in begun if verdict is SyncDecision.STARTED and device
        ]
        # One that the same batch replaces is gone: nothing of it may finish.
        if started and self._fleets.get(fleet.name) is fleet:
            self._waiting.add(fleet)
            self._tell_changed(fleet.name, started)
            if fleet.begins_with_one_of(started):
                self._tell_next_due(fleet)

    def _tell_finished(self, fleet: FleetState, finished: Sequence[FinishedSync]) -> None:
        self._observer.finished(fleet.name, fleet.generation, finished)
        changed: list[Device | ErrorLog] = []
        for device, error_log, _ in finished:
            changed.append(device)
            if error_log is not None:
                changed.append(error_log)
        self._tell_changed(fleet.name, changed)

    def _tell_changed(self, fleet: str, changed: Iterable[Device | ErrorLog]) -> None:
        self._observer.changed(
            fleet, [Change(f"{self._process}-{next(self._changes)}", each) for each in changed]
        )

    def _tell_next_due(self, fleet: FleetState) -> None:
        wait = self._next_due(fleet)
        if wait is not None:
            self._observer.due_in(wait)

    def _next_due(self, fleet: FleetState) -> float | None:
        """Return the real seconds until a fleet has something to finish; None for never."""
        due = fleet.next_due()
        if due is None:
            return None
        wait = fleet.clock.real_wait(due, self._time.monotonic())
        return None if wait is None else wait / SECOND


def _falls_due(fleet: FleetState) -> float:
    """Return the real time at which a fleet's next sync falls, or fell, due; infinity for never."""
    due = fleet.next_due()
    return inf if due is None else fleet.clock.real_time_of(due)
