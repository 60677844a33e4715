"""The fleets of a process, and what their observer is told of them."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import count
from secrets import token_hex

from pisync.clocks import MachineClocks
from pisync.concurrency.garbage import set_aside
from pisync.model.bounds import Budget
from pisync.model.clock import Clock
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import FirstData, FleetTimes, FleetView, Listed
from pisync.model.plans.profile import Profile
from pisync.model.requests.journal import Journal
from pisync.model.sync import Change, FinishedSync, SyncDecision, SyncResult
from pisync.model.timestamp import SECOND
from pisync.stores.base import StoreObserver
from pisync.stores.changes import Due, Progress, all_of
from pisync.stores.embedded.bounds.budgets import FleetBudgets, check_room
from pisync.stores.embedded.bounds.disposal import Disposal
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.errors import NoSuchFleet

# By itself: to look it up in the enumeration costs a tenth of a microsecond.
_STARTED = SyncDecision.STARTED
_new = tuple.__new__
_MANY = 10_000
"""Devices of a list that are worth keeping from the garbage collector."""
_DROPPED_AT_ONCE = 10_000
"""How many error logs go in one turn of the event loop, at most: some milliseconds."""


class FleetRegistry:
    """Fleets by name. `observer` must be set before anything changes."""

    observer: StoreObserver

    def __init__(self, clocks: MachineClocks, max_error_logs: int, max_keys: int) -> None:
        self.clocks = clocks
        self._disposal = Disposal()
        self.budgets = budgets = FleetBudgets(max_error_logs, max_keys)
        budgets.journal_entries.on_overflow = self._shorten_journals
        budgets.error_logs.on_overflow = self._drop_error_logs
        budgets.error_page_logs.on_overflow = self._forget_error_pages
        budgets.answer_bytes.on_overflow = self._forget_answers
        self.fleets: dict[str, FleetState] = {}
        self.waiting: set[FleetState] = set()
        """The fleets that may have pending syncs."""
        self._generations = count(1)
        # Ids of another process's events must not be taken for this one's.
        self._process = token_hex(4)
        self._change_numbers = count(1)

    def restore(self, fleets: Iterable[FleetState], newest_generation: int) -> None:
        """Take over fleets that were kept."""
        self.fleets.update((fleet.name, fleet) for fleet in fleets)
        self.waiting.update(self.fleets.values())
        for fleet in self.fleets.values():
            fleet.shares.enter()
        self._generations = count(newest_generation + 1)

    def fleet(self, name: str) -> FleetState:
        """Return a fleet.

        Raises:
            NoSuchFleet: There is none of this name.
        """
        try:
            return self.fleets[name]
        except KeyError:
            raise NoSuchFleet from None

    def view(self, fleet: FleetState) -> FleetView:
        """Return a view of a fleet now."""
        return fleet.view(self.clocks.monotonic(), self.clocks.wall())

    async def make(
        self,
        name: str,
        first: FirstData,
        profile: Profile,
        *,
        made_at: int | None = None,
        started_at: int | None = None,
    ) -> FleetState:
        """Make a fleet, in a thread: a large one takes longer than requests should wait for.

        A time that is left out is the present, to which the fleet's clock is set in any case.
        """
        fleet = await asyncio.to_thread(self._make, name, first, profile, made_at, started_at)
        if isinstance(first, Listed) and first.size >= _MANY:
            set_aside()
        return fleet

    def _make(
        self,
        name: str,
        first: FirstData,
        profile: Profile,
        made_at: int | None,
        started_at: int | None,
    ) -> FleetState:
        wall = self.clocks.wall()
        return FleetState(
            name,
            next(self._generations),
            first,
            FleetTimes(
                wall if made_at is None else made_at, wall if started_at is None else started_at
            ),
            profile,
            Clock(wall, self.clocks.monotonic()),
            self.budgets,
        )

    def replace(self, transaction: Transaction, name: str, fleet: FleetState | None) -> None:
        """Put a fleet, or (None) no fleet, into the place of the one of this name.

        Raises:
            BoundReached: All fleets together would hold more than they may.
        """
        old = transaction.replaced.get(name) or self.fleets.get(name)
        if fleet is not None:
            self._check_room(transaction, fleet, old)
        transaction.replaced[name] = fleet
        transaction.on_commit(lambda: self._replaced(name, old, fleet))
        if fleet is not None:
            transaction.on_commit(lambda: self.look_soon(fleet))

    def _check_room(
        self, transaction: Transaction, fleet: FleetState, old: FleetState | None
    ) -> None:
        made = [fleet, *(each for each in transaction.replaced.values() if each is not None)]
        if old is None:
            check_room(self.budgets.fleets, len(made))
        for budget, share_of in (
            (self.budgets.text_bytes, _text_bytes),
            (self.budgets.script_steps, _script_steps),
        ):
            check_room(budget, sum(map(share_of, made)), share_of(old) if old else 0)

    def give_back(self, fleet: FleetState, due: Iterable[Due]) -> None:
        """Put back what was taken from a fleet's queue and could not be finished."""
        fleet.give_back(due)
        # While its queue was empty, it may have been dropped from those that wait.
        self.waiting.add(fleet)

    def look_soon(self, fleet: FleetState) -> None:
        """Have a fleet looked at that has something to do, or that will find that it has not."""
        if self.fleets.get(fleet.name) is fleet:
            self.waiting.add(fleet)
            self.tell_next_due(fleet)

    def next_due(self, fleet: FleetState) -> float | None:
        """Return the real seconds until a fleet has something to finish; None for never."""
        due = fleet.next_due()
        if due is None:
            return None
        wait = fleet.clock.real_wait(due, self.clocks.monotonic())
        return None if wait is None else wait / SECOND

    # Telling

    def tell_next_due(self, fleet: FleetState) -> None:
        """Tell when a fleet has something to finish, if ever."""
        wait = self.next_due(fleet)
        if wait is not None:
            self.observer.due_in(wait)

    def tell_begun(self, fleet: FleetState, begun: Sequence[SyncResult]) -> None:
        """Tell what became of requests to sync."""
        self.observer.began(fleet.name, begun)
        started = [device for decision, device in begun if decision is _STARTED and device]
        # One that the same transaction replaces is gone: nothing of it may finish.
        if started and self.fleets.get(fleet.name) is fleet:
            self.waiting.add(fleet)
            self._tell_changed(fleet.name, started)
            if fleet.begins_with_one_of(started):
                self.tell_next_due(fleet)

    def tell_finished(self, fleet: FleetState, finished: Sequence[FinishedSync]) -> None:
        """Tell which attempts have finished."""
        self.tell_progress(fleet, all_of(finished))

    def tell_progress(self, fleet: FleetState, progress: Progress) -> None:
        """Tell which attempts have begun by themselves, and which have finished."""
        if progress.begun:
            self.observer.began(fleet.name, progress.begun)
        self.observer.finished(fleet.name, fleet.generation, progress.finished)
        self._tell_changed(fleet.name, progress.changed)

    def _tell_changed(self, fleet: str, changed: Iterable[Device | ErrorLog]) -> None:
        process, numbers = self._process, self._change_numbers
        self.observer.changed(
            fleet,
            # A named tuple's own constructor takes twice as long.
            [
                _new(Change, (f"{process}-{number}", item))
                for item, number in zip(changed, numbers, strict=False)
            ],
        )

    def _replaced(self, name: str, old: FleetState | None, new: FleetState | None) -> None:
        if old is not None:
            self.waiting.discard(old)
            old.shares.leave()
            self._disposal.add(old)
        if new is not None:
            new.shares.enter()
        self.observer.replaced(name)

    # Making room

    def _shorten_journals(self) -> None:
        """Drop the oldest requests of the fleets that have had none for longest."""
        journals = [fleet.requests.journal for fleet in self.fleets.values()]
        journals = sorted((each for each in journals if each), key=Journal.newest_at)
        excess = _excess(self.budgets.journal_entries)
        for journal in journals:
            if excess <= 0:
                break
            excess -= journal.drop_oldest(excess)

    def _drop_error_logs(self) -> None:
        """Drop the oldest logs of the fleet that has most of them."""
        excess = min(_excess(self.budgets.error_logs), _DROPPED_AT_ONCE)
        max(self.fleets.values(), key=lambda fleet: len(fleet.errors)).errors.drop_oldest(excess)

    def _forget_error_pages(self) -> None:
        for fleet in self.fleets.values():
            fleet.errors.forget_pages()

    def _forget_answers(self) -> None:
        """Forget the oldest answers of the fleet that remembers most of them."""
        fleet = max(self.fleets.values(), key=lambda fleet: fleet.shares.answer_bytes.held)
        fleet.requests.answers.drop_oldest(_excess(self.budgets.answer_bytes))


def _text_bytes(fleet: FleetState) -> int:
    return fleet.shares.text_bytes.held


def _script_steps(fleet: FleetState) -> int:
    return fleet.shares.script_steps.held


def _excess(budget: Budget) -> int:
    """Return how much is to go, so that there is room for a while."""
    return budget.used - budget.bound.size + budget.bound.size // 100
