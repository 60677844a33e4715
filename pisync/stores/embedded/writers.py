"""How mutations become true: the writer of the memory store, and what any writer promises."""

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from pisync.model.account import Account, TokenRevocation
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.transaction import Mutation, Transaction

_Result = TypeVar("_Result")


@dataclass
class Contents:
    """What a store has kept from before it was opened."""

    fleets: list[FleetState] = field(default_factory=list)
    newest_generation: int = 0
    accounts: list[Account] = field(default_factory=list)
    revocations: list[TokenRevocation] = field(default_factory=list)
    login_failures: dict[bytes, tuple[int, float]] = field(default_factory=dict)
    """Failures by key, and the seconds that are left of their window."""


class Writer(Protocol):
    """Makes mutations true."""

    async def open(self, registry: FleetRegistry) -> Contents:
        """Get ready to write to these fleets; return what was kept.

        Raises:
            CannotOpen: It can't.
        """

    async def write(self, mutation: Mutation[_Result]) -> _Result:
        """Call a mutation; return its result once what it changed is true.

        A mutation that raises has changed nothing, and neither has any other because of it.

        Raises:
            StoreUnavailable: It could not be written; nothing has changed.
        """

    async def write_ahead(self, changes: FleetChanges[FleetState]) -> None:
        """Write changes to a fleet that has no place yet: they count when a mutation gives it one.

        Raises:
            StoreUnavailable: They could not be written.
        """

    def discard(self, fleet: FleetState) -> None:
        """Delete, some time, what was written ahead of a fleet that gets no place."""

    async def ping(self) -> None:
        """Return if a mutation would be written.

        Raises:
            StoreUnavailable: It would not.
        """

    async def close(self) -> None:
        """Write what waits, and release what `open` took."""


class ImmediateWriter:
    """Applies each mutation at once; nothing comes in between, and nothing is kept."""

    async def open(self, registry: FleetRegistry) -> Contents:
        self._fleets = registry.fleets
        return Contents()

    async def write(self, mutation: Mutation[_Result]) -> _Result:
        transaction = Transaction(self._fleets)
        try:
            result = mutation(transaction)
        except Exception:
            transaction.roll_back()
            raise
        transaction.commit(self._fleets)
        return result

    async def write_ahead(self, changes: FleetChanges[FleetState]) -> None:
        pass

    def discard(self, fleet: FleetState) -> None:
        pass

    async def ping(self) -> None:
        pass

    async def close(self) -> None:
        pass
