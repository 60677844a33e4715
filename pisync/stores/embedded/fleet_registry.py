"""The fleets of a process, and what their observer is told of them."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import count
from secrets import token_hex

from pisync.clocks import MachineClocks
from pisync.model.clock import Clock
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import FirstData, FleetView
from pisync.model.plans.profile import Profile
from pisync.model.sync import Change, FinishedSync, SyncDecision, SyncResult
from pisync.model.timestamp import SECOND
from pisync.stores.base import NoSuchFleet, StoreObserver
from pisync.stores.changes import Due
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.transaction import Transaction


class FleetRegistry:
    """Fleets by name. `observer` must be set before anything changes."""

    observer: StoreObserver

    def __init__(self, clocks: MachineClocks, max_error_logs: int) -> None:
        self.clocks = clocks
        self.max_error_logs = max_error_logs
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
        self, name: str, first: FirstData, profile: Profile, made_at: int | None = None
    ) -> FleetState:
        """Make a fleet, in a thread: a large one takes longer than requests should wait for."""
        return await asyncio.to_thread(self._make, name, first, profile, made_at)

    def _make(
        self, name: str, first: FirstData, profile: Profile, made_at: int | None
    ) -> FleetState:
        wall = self.clocks.wall()
        return FleetState(
            name,
            next(self._generations),
            first,
            wall if made_at is None else made_at,
            profile,
            Clock(wall, self.clocks.monotonic()),
            self.max_error_logs,
        )

    def replace(self, transaction: Transaction, name: str, fleet: FleetState | None) -> None:
        """Put a fleet, or (None) no fleet, into the place of the one of this name."""
        old = transaction.replaced.get(name) or self.fleets.get(name)
        transaction.replaced[name] = fleet
        transaction.on_commit(lambda: self._tell_replaced(name, old))

    def give_back(self, fleet: FleetState, due: Iterable[Due]) -> None:
        """Put back what was taken from a fleet's queue and could not be finished."""
        fleet.give_back(due)
        # While its queue was empty, it may have been dropped from those that wait.
        self.waiting.add(fleet)

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
        started = [
            device for decision, device in begun if decision is SyncDecision.STARTED and device
        ]
        # One that the same transaction replaces is gone: nothing of it may finish.
        if started and self.fleets.get(fleet.name) is fleet:
            self.waiting.add(fleet)
            self._tell_changed(fleet.name, started)
            if fleet.begins_with_one_of(started):
                self.tell_next_due(fleet)

    def tell_finished(self, fleet: FleetState, finished: Sequence[FinishedSync]) -> None:
        """Tell which attempts have finished."""
        self.observer.finished(fleet.name, fleet.generation, finished)
        changed: list[Device | ErrorLog] = []
        for device, error_log, _ in finished:
            changed.append(device)
            if error_log is not None:
                changed.append(error_log)
        self._tell_changed(fleet.name, changed)

    def _tell_changed(self, fleet: str, changed: Iterable[Device | ErrorLog]) -> None:
        changes = [
            Change(f"{self._process}-{next(self._change_numbers)}", item) for item in changed
        ]
        self.observer.changed(fleet, changes)

    def _tell_replaced(self, name: str, old: FleetState | None) -> None:
        if old is not None:
            self.waiting.discard(old)
        self.observer.replaced(name)
