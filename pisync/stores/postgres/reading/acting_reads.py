"""Reads that do something in a fleet that replicas share."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from pisync.model.device import Device, DevicePage
from pisync.model.fleet import Stats
from pisync.model.sync import FinishedSync
from pisync.stores.changes import FleetChanges, all_of
from pisync.stores.errors import NoSuchDevice, StoreUnavailable
from pisync.stores.postgres.commit import Commits, SnapshotChanges, numbered
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import PATIENCE, Database, Turns
from pisync.stores.postgres.notifications import ObserverHolder
from pisync.stores.postgres.queries import PostgresQueries
from pisync.stores.postgres.reading.polls import load_polls
from pisync.stores.postgres.requests.settings import KnownSettings
from pisync.stores.postgres.snapshot import load_fleet


class _Read(NamedTuple):
    device_id: int
    answer: asyncio.Future[Device | None]
    """None where there is no such device."""


class PostgresActingReads:
    """What the methods promise is written in pisync.stores.base.

    Reads of devices that come while a commit is under way share the next one; each has its turn in
    it. A page has a commit of its own, where it counts anything.
    """

    def __init__(
        self,
        database: Database,
        queries: PostgresQueries,
        settings: KnownSettings,
        holder: ObserverHolder,
        commits: Commits,
    ) -> None:
        self._database = database
        self._queries = queries
        self._settings = settings
        self._holder = holder
        self._commits = commits
        self._queues: dict[str, list[_Read]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._turns = Turns(database)

    def acts(self, fleet: str) -> bool:
        return self._settings.may_act(fleet)

    async def _is_plain(self, fleet: str) -> bool:
        """Return whether nobody has to count reads of a fleet, which may be news."""
        settings = await self._settings.of(fleet)
        return settings is None or not settings.is_polled

    async def device(self, fleet: str, device_id: int) -> Device:
        if await self._is_plain(fleet):
            return await self._queries.device(fleet, device_id)
        answer: asyncio.Future[Device | None] = asyncio.get_running_loop().create_future()
        read = _Read(device_id, answer)
        if fleet in self._queues:
            self._queues[fleet].append(read)
        else:
            self._queues[fleet] = [read]
            worker = asyncio.create_task(self._answer_all(fleet))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        device = await answer
        if device is None:
            raise NoSuchDevice
        return device

    async def _answer_all(self, fleet: str) -> None:
        # Those whose client has hung up count nothing.
        while reads := [read for read in self._queues[fleet] if not read.answer.done()]:
            self._queues[fleet] = []
            try:
                async with self._turns.turn(fleet):
                    seen = await self._database.persist(partial(self._read, fleet, reads))
            except Exception as exc:  # noqa: BLE001 - whatever it was, every caller must hear of it
                for _, answer in reads:
                    if not answer.done():
                        answer.set_exception(exc)
            else:
                for (_, answer), device in zip(reads, seen, strict=True):
                    if not answer.done():
                        answer.set_result(device)
        del self._queues[fleet]

    async def _read(
        self, name: str, reads: Sequence[_Read], connection: Connection
    ) -> Sequence[Device | None] | None:
        """Return what reads see that share a commit; None if others were faster."""
        device_ids = {read.device_id for read in reads}
        fleet = await load_fleet(self._database, connection, name, [*device_ids])
        if not await load_polls(connection, fleet):
            return None
        changes = FleetChanges(fleet)
        seen: list[Device | None] = []
        finished: list[FinishedSync] = []
        for read in reads:
            if read.device_id in fleet.devices:
                seen.append(changes.device(read.device_id))
                finished += changes.count_reads((read.device_id,), fleet.now)
            else:
                seen.append(None)
        return seen if await self._commit(connection, changes, finished) else None

    async def devices(
        self, fleet: str, *, after: int, limit: int, statuses: frozenset[int] | None
    ) -> DevicePage:
        read = partial(self._queries.devices, fleet, after=after, limit=limit, statuses=statuses)
        if await self._is_plain(fleet):
            return await read()
        try:
            async with asyncio.timeout(2 * PATIENCE), self._turns.turn(fleet):
                page = await read()
                while not await self._count_page(fleet, page):
                    page = await read()
        except TimeoutError:
            raise StoreUnavailable from None
        return page

    async def _count_page(self, name: str, page: DevicePage) -> bool:
        """Count a read of each device on a page; say whether they were still as it shows them."""
        shown = {
            device.device_id: device
            for device in page.devices
            if device.pending is not None and device.pending.is_held
        }
        if not shown:
            return True

        async def count(connection: Connection) -> bool:
            fleet = await load_fleet(self._database, connection, name, [*shown])
            if fleet.devices != shown or not await load_polls(connection, fleet):
                return False
            changes = FleetChanges(fleet)
            finished = changes.count_reads(shown, fleet.now)
            return await self._commit(connection, changes, finished)

        return await self._database.call(count)

    async def _commit(
        self, connection: Connection, changes: SnapshotChanges, finished: Sequence[FinishedSync]
    ) -> bool:
        """Make true what reads do, and tell it; say whether their snapshot still held."""
        if not changes.polls:
            return True
        changed = all_of(finished).changed
        newest_error = await self._commits.apply(connection, changes, changed=changed)
        if newest_error is None:
            return False
        if finished:
            fleet = changes.fleet
            self._holder.observer.finished(
                fleet.name, fleet.fleet_id, [numbered(each, newest_error) for each in finished]
            )
        return True

    async def stats(self, fleet: str) -> Stats:
        return await self._queries.stats(fleet)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._workers:
            await asyncio.wait(self._workers)
