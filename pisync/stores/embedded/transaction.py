"""A transaction: changes to several fleets, and accounts, that become true together."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from pisync.model.account import Account, TokenRevocation
from pisync.model.clock import Clock
from pisync.model.fleet import Lifetime
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.errors import NoSuchFleet
from pisync.telemetry.logs import get_logger

_Result = TypeVar("_Result")

_log = get_logger()


class Transaction:
    """What mutations change, computed on top of each other, and committed as a whole."""

    __slots__ = (
        *("_fleets", "changes", "replaced", "lifetimes", "accounts", "revocations"),
        *("login_failures", "_on_commit", "_on_rollback"),
    )

    def __init__(self, fleets: Mapping[str, FleetState]) -> None:
        self._fleets = fleets
        self.changes: dict[FleetState, FleetChanges[FleetState]] = {}
        self.replaced: dict[str, FleetState | None] = {}
        """The fleets that are made, replaced or (None) deleted."""
        self.lifetimes: dict[FleetState, Lifetime | None] = {}
        """The lifetimes that are given, extended or (None) ended."""
        self.accounts: dict[str, Account | None] = {}
        """The accounts that are added, changed or (None) deleted, by key."""
        self.revocations: dict[str, TokenRevocation] = {}
        self.login_failures: dict[bytes, tuple[int, float]] = {}
        """Failed logins under a key, and the seconds that are left of their window."""
        self._on_commit: list[Callable[[], object]] = []
        self._on_rollback: list[Callable[[], object]] = []

    def __bool__(self) -> bool:
        """Say whether there is anything to commit."""
        return any(
            (
                self.changes,
                self.replaced,
                self.lifetimes,
                self.accounts,
                self.revocations,
                self.login_failures,
            )
        )

    def fleet(self, name: str) -> FleetState:
        """Return the fleet of this name as the mutations so far leave it.

        Raises:
            NoSuchFleet: There is none.
        """
        fleet = self.replaced[name] if name in self.replaced else self._fleets.get(name)
        if fleet is None:
            raise NoSuchFleet
        return fleet

    def changes_of(self, fleet: FleetState) -> FleetChanges[FleetState]:
        """Return what changes in a fleet, to add to it."""
        changes = self.changes.get(fleet)
        if changes is None:
            changes = self.changes[fleet] = FleetChanges(fleet)
        return changes

    def clock_of(self, fleet: FleetState) -> Clock:
        """Return a fleet's clock as the mutations so far leave it."""
        changes = self.changes.get(fleet)
        return fleet.clock if changes is None else changes.clock

    def lifetime_of(self, fleet: FleetState) -> Lifetime | None:
        """Return a fleet's lifetime as the mutations so far leave it."""
        return self.lifetimes.get(fleet, fleet.lifetime)

    def ended(self) -> list[FleetState]:
        """Return the fleets that are replaced or deleted."""
        return [self._fleets[name] for name in self.replaced if name in self._fleets]

    def has_ended(self, fleet: FleetState) -> bool:
        """Say whether a fleet is replaced or deleted."""
        return self.replaced.get(fleet.name, fleet) is not fleet

    def on_commit(self, callback: Callable[[], object]) -> None:
        """Call this once everything is true."""
        self._on_commit.append(callback)

    def on_rollback(self, callback: Callable[[], object]) -> None:
        """Call this if nothing becomes true: it puts back what was taken to work on."""
        self._on_rollback.append(callback)

    def roll_back(self) -> None:
        """Leave everything as it was."""
        for callback in reversed(self._on_rollback):
            callback()

    def commit(self, fleets: dict[str, FleetState]) -> None:
        """Make everything true, in `fleets`, and tell it."""
        for fleet, changes in self.changes.items():
            fleet.apply(changes)
        for fleet, lifetime in self.lifetimes.items():
            fleet.lifetime = lifetime
        for name, new in self.replaced.items():
            if new is None:
                fleets.pop(name, None)
            else:
                fleets[name] = new
        for callback in self._on_commit:
            try:
                callback()
            except Exception:  # noqa: BLE001 - what is true stays true, and the others must hear
                _log.exception("a commit could not be told")


Mutation = Callable[[Transaction], _Result]
"""Checks something and enters what follows in a transaction, in one synchronous step.

What it refuses (StoreError) it refuses before it changes anything. It may be called again in
another transaction, if the one that it was called in is rolled back.
"""
