"""A batch: changes to several fleets, and accounts, that become true together."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from pisync.model.account import (
    Account,
    TokenRevocation,
)
from pisync.stores.base import NoSuchFleet
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.fleet_state import FleetState

_Result = TypeVar("_Result")


class Transaction:
    """What jobs want to change, computed on top of each other, and applied as a whole.

    A job that raises must do so before it changes anything.
    """

    def __init__(self, fleets: Mapping[str, FleetState]) -> None:
        self._fleets = fleets
        self.works: dict[FleetState, FleetChanges[FleetState]] = {}
        self.replaced: dict[str, FleetState | None] = {}
        """The fleets that are made, replaced or (None) deleted."""
        self.accounts: dict[str, Account | None] = {}
        """The accounts that are added, changed or (None) deleted, by key."""
        self.restrictions: dict[str, TokenRevocation] = {}
        self.guesses: dict[bytes, tuple[int, float]] = {}
        """Failed guesses under a key, and the seconds that are left of their window."""
        self._told: list[Callable[[], object]] = []
        self._undone: list[Callable[[], object]] = []

    def __bool__(self) -> bool:
        """Say whether there is anything to make true."""
        return any((self.works, self.replaced, self.accounts, self.restrictions, self.guesses))

    def fleet(self, name: str) -> FleetState:
        """Return the fleet of this name as the jobs so far leave it; raises NoSuchFleet."""
        fleet = self.replaced[name] if name in self.replaced else self._fleets.get(name)
        if fleet is None:
            raise NoSuchFleet
        return fleet

    def work(self, fleet: FleetState) -> FleetChanges[FleetState]:
        """Return what is to be done to a fleet."""
        work = self.works.get(fleet)
        if work is None:
            work = self.works[fleet] = FleetChanges(fleet)
        return work

    def ended(self) -> list[FleetState]:
        """Return the fleets that are replaced or deleted."""
        return [self._fleets[name] for name in self.replaced if name in self._fleets]

    def has_ended(self, fleet: FleetState) -> bool:
        """Say whether a fleet is replaced or deleted."""
        return self.replaced.get(fleet.name, fleet) is not fleet

    def tell(self, what: Callable[[], object]) -> None:
        """Call this once everything is true."""
        self._told.append(what)

    def undo(self, how: Callable[[], object]) -> None:
        """Call this if none of it becomes true: it puts back what was taken to work on."""
        self._undone.append(how)

    def give_up(self) -> None:
        """Leave everything as it was."""
        for how in self._undone:
            how()

    def apply(self, fleets: dict[str, FleetState]) -> None:
        """Make it all true, in `fleets`, and tell."""
        for fleet, work in self.works.items():
            fleet.apply(work)
        for name, new in self.replaced.items():
            if new is None:
                fleets.pop(name, None)
            else:
                fleets[name] = new
        for what in self._told:
            what()


Mutation = Callable[[Transaction], _Result]
"""Checks something and enters what follows from it in a batch, in one synchronous step."""
