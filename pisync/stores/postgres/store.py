"""The store that replicas share, put together from its parts."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress

from pisync.model.account import Account
from pisync.model.clock import ClockView
from pisync.model.device import Device
from pisync.model.fleet import DEFAULT_FLEET, FirstData, FleetView, Ledger, Stats
from pisync.model.outcome import Outcome
from pisync.model.profile import Profile
from pisync.model.script import Script
from pisync.model.sync import (
    ClockAdvance,
    SyncResult,
)
from pisync.stores.base import (
    AccountPage,
    CannotOpen,
    DevicePage,
    ErrorFilter,
    ErrorPage,
    LoginPermit,
    NoSuchFleet,
    StoreObserver,
    TokenRevocations,
)
from pisync.stores.postgres.accounts import PostgresAccounts
from pisync.stores.postgres.begin_queue import BeginQueue
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import reason
from pisync.stores.postgres.connection.progress import waiting
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finisher import Finisher
from pisync.stores.postgres.fleet_settings import FleetSettings
from pisync.stores.postgres.fleet_writer import FleetWriter
from pisync.stores.postgres.listener import Listener
from pisync.stores.postgres.login_attempts import PostgresLoginAttempts
from pisync.stores.postgres.migrate import (
    alone,
    migrate,
)
from pisync.stores.postgres.queries import Queries


class PostgresStore:
    """A `Store` that any number of processes may open on the same database at a time."""

    def __init__(
        self, url: str, first: FirstData, profile: Profile, *, max_error_logs: int = 100_000
    ) -> None:
        """Take the database at `url`: `postgresql://user:password@host/database`."""
        self._first = first
        self._profile = profile
        self._most_error_logs = max_error_logs
        self._database = Database(Address.parse(url))
        self._accounts = PostgresAccounts(self._database)
        self._guesses = PostgresLoginAttempts(self._database)
        self._looks = Queries(self._database)
        self._settings = FleetSettings(self._database, max_error_logs)
        self._making = FleetWriter(self._database, max_error_logs)

    async def open(self, observer: StoreObserver) -> None:
        self._begins = BeginQueue(self._database, observer, self._most_error_logs)
        self._finishing = Finisher(self._database, observer, self._most_error_logs)
        self._listener = Listener(self._database, observer)
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
            await self._database.open()
            opened.push_async_callback(self._database.close)
            await self._listener.open()
            opened.push_async_callback(self._listener.close)
            try:
                await self.fleet(DEFAULT_FLEET)
            except NoSuchFleet:
                with waiting(address, "the first devices to be written"):
                    await self._making.put_fleet(DEFAULT_FLEET, self._first, self._profile)
        sweeping = asyncio.create_task(self._making.sweep())
        opened.push_async_callback(_end, sweeping)
        opened.push_async_callback(self._begins.close)

    async def close(self) -> None:
        await self._opened.aclose()

    async def ping(self) -> None:
        await self._database.ping()

    # Accounts

    async def add_account(self, account: Account) -> bool:
        return await self._accounts.add(account)

    async def account(self, key: str) -> Account | None:
        return await self._accounts.find(key)

    async def accounts(self, *, after: str, limit: int) -> AccountPage:
        return await self._accounts.page(after, limit)

    async def change_account(self, key: str, change: Callable[[Account], Account]) -> Account:
        return await self._accounts.change(key, change)

    async def delete_account(self, key: str, now: int) -> None:
        await self._accounts.delete(key, now)

    async def revocations(self, known: int = 0) -> TokenRevocations:
        return await self._accounts.revocations(known)

    async def acquire_login_permit(
        self, keys: Sequence[bytes], limit: int, window: float
    ) -> LoginPermit:
        return await self._guesses.ask(keys, limit, window)

    async def record_login(self, keys: Sequence[bytes], *, failed: bool) -> None:
        await self._guesses.ended(keys, failed=failed)

    # Fleets

    async def fleets(self) -> Sequence[FleetView]:
        return await self._looks.fleets()

    async def fleet(self, name: str) -> FleetView:
        return await self._looks.fleet(name)

    async def put_fleet(
        self, name: str, first: FirstData, profile: Profile
    ) -> tuple[FleetView, bool]:
        made = await self._making.put_fleet(name, first, profile)
        await self._listener.catch_up()
        return made

    async def change_profile(self, name: str, change: Callable[[Profile], Profile]) -> FleetView:
        profile = await self._settings.change_profile(name, change)
        # Others may have changed it again.
        return (await self._looks.fleet(name))._replace(profile=profile)

    async def delete_fleet(self, name: str) -> None:
        await self._making.delete_fleet(name)
        await self._listener.catch_up()

    async def reset_fleet(self, name: str) -> None:
        await self._making.reset_fleet(name)
        await self._listener.catch_up()

    async def set_clock(self, name: str, speed: float) -> ClockView:
        return await self._finishing.set_clock(name, speed)

    async def advance(self, name: str, microseconds: int) -> ClockAdvance:
        return await self._finishing.advance(name, microseconds)

    async def settle(self, name: str) -> ClockAdvance:
        return await self._finishing.settle(name)

    # Devices

    async def device(self, fleet: str, device_id: int) -> Device:
        return await self._looks.device(fleet, device_id)

    async def devices(
        self,
        fleet: str,
        *,
        after: int,
        limit: int,
        statuses: frozenset[int] | None,
        known: Hashable = None,
    ) -> DevicePage:
        return await self._looks.devices(fleet, after, limit, statuses)

    async def begin(
        self, fleet: str, device_ids: Iterable[int], *, generation: int | None = None
    ) -> Sequence[SyncResult]:
        return await self._begins.begin(fleet, [*device_ids], generation)

    async def finish_due(self, limit: int) -> int:
        return await self._finishing.finish_due(limit)

    async def next_due(self) -> float | None:
        return await self._finishing.next_due()

    async def set_script(self, fleet: str, device_id: int, script: Script | None) -> None:
        await self._settings.set_script(fleet, device_id, script)

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        return await self._finishing.release(fleet, device_id, outcome)

    # What happened

    async def errors(self, fleet: str, which: ErrorFilter, limit: int) -> ErrorPage:
        return await self._looks.errors(fleet, which, limit)

    async def pending(self) -> int:
        return await self._looks.pending()

    async def stats(self, fleet: str) -> Stats:
        return await self._looks.stats(fleet)

    async def ledger(self, fleet: str) -> Ledger:
        return await self._looks.ledger(fleet)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
