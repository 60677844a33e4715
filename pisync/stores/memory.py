"""The store that is nothing but memory: the default, and what the embedded store reads from."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import count, islice

from pisync.machine_time import MachineTime
from pisync.model.clock import Clock
from pisync.model.device import Device
from pisync.model.fleet import DEFAULT_FLEET, ClockView, FirstData, FleetView, Ledger, Stats
from pisync.model.outcome import Outcome
from pisync.model.profile import Profile
from pisync.model.script import Script
from pisync.model.timestamp import LATEST, SECOND
from pisync.stores.accounts import MemoryAccounts
from pisync.stores.base import (
    Account,
    Begun,
    ClockNotManual,
    DefaultFleetStays,
    DevicePage,
    ErrorFilter,
    ErrorPage,
    FleetReplaced,
    GuessPermit,
    Moved,
    NoSuchFleet,
    Observer,
    PastTheLastYear,
    Verdict,
)
from pisync.stores.memory_fleet import Due, MemoryFleet, Work

BATCH = 256
"""How many syncs finish in one turn of the event loop, so that requests get in between."""


class MemoryStore:
    """A `Store`. Its changes are synchronous steps: no `await` between a check and what it allows."""

    def __init__(
        self,
        first: FirstData,
        profile: Profile,
        time: MachineTime,
        *,
        most_error_logs: int = 100_000,
    ) -> None:
        self._first = first
        self._profile = profile
        self._time = time
        self._most_error_logs = most_error_logs
        self._fleets: dict[str, MemoryFleet] = {}
        self._generations = count(1)
        self._waiting: set[MemoryFleet] = set()
        """The fleets that may have pending syncs."""
        self._accounts = MemoryAccounts(lambda: time.monotonic() / SECOND)

    async def open(self, observer: Observer) -> None:
        self._observer = observer
        self._fleets[DEFAULT_FLEET] = self._new(DEFAULT_FLEET, self._first, self._profile)

    async def close(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    # Accounts

    async def add_account(self, account: Account) -> bool:
        return self._accounts.add_account(account)

    async def account(self, key: str) -> Account | None:
        return self._accounts.account(key)

    async def ask_to_guess(self, keys: Sequence[bytes], limit: int, window: float) -> GuessPermit:
        return self._accounts.ask_to_guess(keys, limit, window)

    async def guessed(self, keys: Sequence[bytes], *, failed: bool) -> None:
        self._accounts.guessed(keys, failed=failed)

    # Fleets

    async def fleets(self) -> Sequence[FleetView]:
        now = self._time.monotonic()
        return [self._fleets[name].view(now) for name in sorted(self._fleets)]

    async def fleet(self, name: str) -> FleetView:
        return self._fleet(name).view(self._time.monotonic())

    async def put_fleet(
        self, name: str, first: FirstData, profile: Profile
    ) -> tuple[FleetView, bool]:
        is_new = name not in self._fleets
        fleet = self._new(name, first, profile)
        self._replace(fleet)
        return fleet.view(self._time.monotonic()), is_new

    async def change_profile(self, name: str, change: Callable[[Profile], Profile]) -> FleetView:
        fleet = self._fleet(name)
        fleet.profile = change(fleet.profile)
        return fleet.view(self._time.monotonic())

    async def delete_fleet(self, name: str) -> None:
        fleet = self._fleet(name)
        if name == DEFAULT_FLEET:
            raise DefaultFleetStays
        del self._fleets[name]
        self._waiting.discard(fleet)
        self._observer.replaced(name)

    async def reset_fleet(self, name: str) -> None:
        old = self._fleet(name)
        self._replace(self._new(name, old.first, old.profile, old.made_at))

    async def set_clock(self, name: str, speed: float) -> ClockView:
        fleet = self._fleet(name)
        async with fleet.moving:
            now = self._time.monotonic()
            fleet.clock = fleet.clock.with_speed(speed, now)
            self._tell_next_due(fleet)
            return fleet.clock_view(now)

    async def advance(self, name: str, microseconds: int) -> Moved:
        fleet = self._fleet(name)
        async with fleet.moving:
            if not fleet.clock.is_manual:
                raise ClockNotManual
            target = fleet.clock.fleet_time + microseconds
            if target > LATEST:
                raise PastTheLastYear
            return await self._finish_until(fleet, target)

    async def settle(self, name: str) -> Moved:
        fleet = self._fleet(name)
        async with fleet.moving:
            return await self._finish_until(fleet, fleet.last_due())

    async def _finish_until(self, fleet: MemoryFleet, target: int | None) -> Moved:
        """Finish what is due up to `target`; a manual clock moves along."""
        finished = 0
        while target is not None and (due := fleet.take_due(target, BATCH)):
            self._move(fleet, due[-1].moment)
            self._finish(fleet, due)
            finished += len(due)
            await asyncio.sleep(0)
            if self._fleets.get(fleet.name) is not fleet:
                raise FleetReplaced
        if target is not None:
            self._move(fleet, target)
        return Moved(fleet.clock.now(self._time.monotonic()), finished)

    def _move(self, fleet: MemoryFleet, fleet_time: int) -> None:
        if fleet.clock.is_manual:
            fleet.clock = fleet.clock.moved_to(fleet_time, self._time.monotonic())

    # Devices

    async def device(self, fleet: str, device_id: int) -> Device:
        table = self._fleet(fleet)
        return table.devices.load(table.position(device_id))

    async def devices(
        self, fleet: str, *, after: int, limit: int, statuses: frozenset[int] | None
    ) -> DevicePage:
        table = self._fleet(fleet).devices
        positions = list(islice(table.after(after, statuses), limit + 1))
        return DevicePage(
            [table.load(position) for position in positions[:limit]],
            table.count(statuses),
            len(positions) > limit,
        )

    async def begin(
        self, fleet: str, device_ids: Iterable[int], *, generation: int | None = None
    ) -> Sequence[Begun]:
        chosen = self._fleet(fleet)
        if generation is not None and generation != chosen.generation:
            raise FleetReplaced
        work = Work(chosen)
        begun = work.begin(device_ids, chosen.clock.now(self._time.monotonic()))
        chosen.apply(work)
        self._observer.began(fleet, begun)
        if any(each.verdict is Verdict.STARTED for each in begun):
            self._waiting.add(chosen)
            self._tell_next_due(chosen)
        return begun

    async def finish_due(self, limit: int) -> int:
        finished = 0
        for fleet in list(self._waiting):
            if fleet.clock.is_manual:
                continue
            now = fleet.clock.now(self._time.monotonic())
            due = fleet.take_due(now, limit - finished)
            if due:
                self._finish(fleet, due, now)
                finished += len(due)
            if fleet.next_due() is None:
                self._waiting.discard(fleet)
        return finished

    async def next_due(self) -> float | None:
        waits = (self._next_due(fleet) for fleet in self._waiting)
        return min((wait for wait in waits if wait is not None), default=None)

    async def set_script(self, fleet: str, device_id: int, script: Script | None) -> None:
        chosen = self._fleet(fleet)
        chosen.position(device_id)
        work = Work(chosen)
        work.scripts[device_id] = script
        chosen.apply(work)

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        chosen = self._fleet(fleet)
        now = chosen.clock.now(self._time.monotonic())
        work = Work(chosen)
        finished = work.release(chosen.position(device_id), outcome, now)
        chosen.apply(work)
        self._observer.finished(fleet, [finished])
        return finished.device

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

    def _fleet(self, name: str) -> MemoryFleet:
        try:
            return self._fleets[name]
        except KeyError:
            raise NoSuchFleet from None

    def _new(
        self, name: str, first: FirstData, profile: Profile, made_at: int | None = None
    ) -> MemoryFleet:
        wall = self._time.wall()
        return MemoryFleet(
            name,
            next(self._generations),
            first,
            wall if made_at is None else made_at,
            profile,
            Clock(wall, self._time.monotonic()),
            self._most_error_logs,
        )

    def _replace(self, fleet: MemoryFleet) -> None:
        old = self._fleets.get(fleet.name)
        if old is not None:
            self._waiting.discard(old)
        self._fleets[fleet.name] = fleet
        self._observer.replaced(fleet.name)

    def _finish(self, fleet: MemoryFleet, due: Sequence[Due], now: int | None = None) -> None:
        """Finish what was taken from the queue; `now` is the fleet's time if that ran by itself."""
        work = Work(fleet)
        finished = []
        try:
            for moment, position in due:
                late = None if now is None else (now - moment) / fleet.clock.speed / SECOND
                finished.append(work.finish(position, late))
        except Exception:
            fleet.give_back(due)
            raise
        fleet.apply(work)
        self._observer.finished(fleet.name, finished)

    def _next_due(self, fleet: MemoryFleet) -> float | None:
        """Return the real seconds until a fleet has something to finish; None for never."""
        due = fleet.next_due()
        if due is None:
            return None
        wait = fleet.clock.real_wait(due, self._time.monotonic())
        return None if wait is None else wait / SECOND

    def _tell_next_due(self, fleet: MemoryFleet) -> None:
        wait = self._next_due(fleet)
        if wait is not None:
            self._observer.due_in(wait)
