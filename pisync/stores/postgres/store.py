"""The store that replicas share, put together from its parts."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress

from pisync.model.bounds import Budget
from pisync.model.fleet import FirstData, FleetDefinition
from pisync.model.plans.profile import Profile
from pisync.model.requests.idempotency import MAX_KEYS
from pisync.stores.base import StoreObserver
from pisync.stores.errors import CannotOpen
from pisync.stores.first_fleets import first_fleets, make_missing
from pisync.stores.postgres.accounts import PostgresAccounts, PostgresLoginAttempts
from pisync.stores.postgres.begin_queue import BeginQueue
from pisync.stores.postgres.commit import Commits
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.alone import alone, refuse_another_database
from pisync.stores.postgres.connection.connect import reason
from pisync.stores.postgres.connection.migrate import migrate
from pisync.stores.postgres.connection.progress import waiting
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finisher import PostgresFinisher
from pisync.stores.postgres.finishing.along import DueAlong
from pisync.stores.postgres.finishing.own_syncs import GRACE, OwnSyncs
from pisync.stores.postgres.fleet_writer import PostgresFleetWriter
from pisync.stores.postgres.lifetimes import PostgresLifetimes
from pisync.stores.postgres.listener import Listener
from pisync.stores.postgres.notifications import ObserverHolder
from pisync.stores.postgres.outbox.notice_reader import NoticeReader
from pisync.stores.postgres.outbox.relay import Relay
from pisync.stores.postgres.queries import PostgresQueries
from pisync.stores.postgres.reading.acting_reads import PostgresActingReads
from pisync.stores.postgres.reading.auto_clock import AutoClockReads
from pisync.stores.postgres.requests.settings import KnownSettings
from pisync.stores.postgres.requests.store import PostgresRequests
from pisync.stores.postgres.snapshots.store import PostgresSnapshots

NO_WAY = "none"
"""In place of a URL past a pooler: there is none."""


class PostgresStore:
    """A `Store` that any number of processes may open on the same database at a time."""

    budgets: Iterable[Budget] = ()
    """None: the database has what fleets hold."""

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        url: str,
        first: FirstData,
        profile: Profile,
        *,
        definitions: Iterable[FleetDefinition] = (),
        max_error_logs: int = 100_000,
        max_keys: int = MAX_KEYS,
        grace: float = GRACE,
        direct: str | None = None,
    ) -> None:
        """Take the database at `url`: `postgresql://user:password@host/database`.

        An empty one gets the default fleet of this first data and profile, and the `definitions`.
        Syncs that other replicas began are left to them for `grace` seconds after they are due.

        With a `direct` URL, the other may lead through a pooler that gives each transaction another
        session: what needs a session of its own is done past it. If that is `none`, all goes
        through the pooler.
        """
        self._first_fleets = first_fleets(first, profile, definitions)
        self._database = database = _database(url, direct)
        own = OwnSyncs(grace)
        along = DueAlong(own)
        self._settings = settings = KnownSettings(database)
        self._holder = holder = ObserverHolder(settings, own)
        self._relay = relay = Relay(database)
        hearing = Listener if database.has_sessions else NoticeReader
        self._listener = hearing(database, holder, relay)
        commits = Commits(own, relay, max_error_logs)
        self.queries = PostgresQueries(database)
        self.fleets = PostgresFleetWriter(
            database, self.queries, self._listener.catch_up, commits, max_error_logs
        )
        self.snapshots = PostgresSnapshots(
            database, self.fleets, self.queries, self._listener.catch_up, own, max_error_logs
        )
        self.lifetimes = PostgresLifetimes(
            database, self.fleets.sweep_soon, self._listener.catch_up
        )
        self.starter = BeginQueue(database, holder, along, commits, max_keys)
        self.finisher = PostgresFinisher(
            database, holder, own, along, commits, self._listener.catch_up
        )
        self._counted = counted = PostgresActingReads(
            database, self.queries, settings, holder, commits
        )
        self.acting_reads = AutoClockReads(database, settings, counted, self.queries, self.finisher)
        self.requests = PostgresRequests(database, settings, self._listener.catch_up)
        self.accounts = PostgresAccounts(database)
        self.login_attempts = PostgresLoginAttempts(database)

    async def open(self, observer: StoreObserver) -> None:
        self._holder.observer = observer
        async with AsyncExitStack() as opened:
            try:
                await self._open(opened)
            except Exception as exc:
                raise CannotOpen(f"PostgreSQL: {reason(exc)}") from exc
            self._opened = opened.pop_all()

    async def _open(self, opened: AsyncExitStack) -> None:
        address = self._database.address
        async with alone(address):
            await migrate(address)
            if self._database.pooler is not None:
                await refuse_another_database(self._database.pooler)
            await self._database.open()
            opened.push_async_callback(self._database.close)
            await self._listener.open()
            opened.push_async_callback(self._listener.close)
            await self._settings.load()
            with waiting(address, "the first devices to be written"):
                await make_missing(self, self._first_fleets)
        for work in (self.fleets.sweep(), self._relay.run()):
            opened.push_async_callback(_end, asyncio.create_task(work))
        opened.push_async_callback(self._relay.close)
        opened.push_async_callback(self.starter.close)
        opened.push_async_callback(self._counted.close)

    async def close(self) -> None:
        await self._opened.aclose()

    async def ping(self) -> None:
        await self._database.ping()


def _database(url: str, direct: str | None) -> Database:
    if direct is None:
        return Database(Address.parse(url))
    if direct == NO_WAY:
        return Database(Address.parse(url, shares_sessions=True), has_sessions=False)
    return Database(Address.parse(direct), Address.parse(url, shares_sessions=True))


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
