"""The store of one process: its state in memory, made true by a writer."""

from collections.abc import Iterable

from pisync.clocks import MachineClocks
from pisync.model.fleet import FirstData, FleetDefinition
from pisync.model.plans.profile import Profile
from pisync.model.requests.idempotency import MAX_KEYS
from pisync.stores.base import StoreObserver
from pisync.stores.embedded.accounts.accounts import EmbeddedAccounts
from pisync.stores.embedded.accounts.login_attempts import EmbeddedLoginAttempts
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_writer import EmbeddedFleetWriter
from pisync.stores.embedded.lifetimes import EmbeddedLifetimes
from pisync.stores.embedded.reading.acting_reads import EmbeddedActingReads
from pisync.stores.embedded.reading.queries import EmbeddedQueries
from pisync.stores.embedded.requests.store import EmbeddedRequests
from pisync.stores.embedded.snapshots.store import EmbeddedSnapshots
from pisync.stores.embedded.syncs import EmbeddedFinisher, EmbeddedStarter
from pisync.stores.embedded.writers import ImmediateWriter, Writer
from pisync.stores.errors import CannotOpen, StoreUnavailable
from pisync.stores.first_fleets import first_fleets, make_missing


class EmbeddedStore:
    """A `Store` in one process.

    Without a `writer` it lives in memory alone. With one, what it keeps is what the writer keeps,
    and reads are still those of the memory.
    """

    def __init__(
        self,
        first: FirstData,
        profile: Profile,
        clocks: MachineClocks,
        *,
        definitions: Iterable[FleetDefinition] = (),
        writer: Writer | None = None,
        max_error_logs: int = 100_000,
        max_keys: int = MAX_KEYS,
    ) -> None:
        """Take the default fleet's first data and profile, and other fleets to make at first."""
        self._first_fleets = first_fleets(first, profile, definitions)
        self._writer = writer or ImmediateWriter()
        self._registry = FleetRegistry(clocks, max_error_logs, max_keys)
        self.budgets = tuple(self._registry.budgets)
        self.queries = EmbeddedQueries(self._registry)
        self.fleets = EmbeddedFleetWriter(self._registry, self._writer)
        self.lifetimes = EmbeddedLifetimes(self._registry, self._writer)
        self.snapshots = EmbeddedSnapshots(self._registry, self._writer)
        self.starter = EmbeddedStarter(self._registry, self._writer)
        self.finisher = EmbeddedFinisher(self._registry, self._writer)
        self.acting_reads = EmbeddedActingReads(self._registry, self._writer, self.finisher)
        self.requests = EmbeddedRequests(self._registry, self._writer)
        self.accounts = EmbeddedAccounts(self._writer)
        self.login_attempts = EmbeddedLoginAttempts(self._writer, clocks)

    async def open(self, observer: StoreObserver) -> None:
        self._registry.observer = observer
        contents = await self._writer.open(self._registry)
        self._registry.restore(contents.fleets, contents.newest_generation)
        self.accounts.restore(contents.accounts, contents.revocations)
        self.login_attempts.restore(contents.login_failures)
        try:
            await make_missing(self, self._first_fleets)
        except StoreUnavailable as exc:
            await self.close()
            raise CannotOpen(str(exc.__cause__ or exc)) from exc

    async def close(self) -> None:
        await self._writer.close()

    async def ping(self) -> None:
        await self._writer.ping()
