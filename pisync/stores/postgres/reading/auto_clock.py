"""Reads that move a clock which moves itself."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from pisync.model.device import Device, DevicePage
from pisync.model.fleet import Stats
from pisync.stores.base import ActingReads
from pisync.stores.errors import FleetReplaced, StoreUnavailable
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import PATIENCE, Database, Turns
from pisync.stores.postgres.finisher import PostgresFinisher
from pisync.stores.postgres.queries import PostgresQueries
from pisync.stores.postgres.requests.settings import KnownSettings
from pisync.stores.postgres.snapshot import FleetSnapshot, load_fleet

_Answer = TypeVar("_Answer")


class AutoClockReads:
    """What the methods promise is written in pisync.stores.base.

    Each read sees what those before it have moved, on whichever replica they were. What else reads
    do, those do that it is made of.
    """

    def __init__(
        self,
        database: Database,
        settings: KnownSettings,
        counted: ActingReads,
        queries: PostgresQueries,
        finisher: PostgresFinisher,
    ) -> None:
        """Take the reads that count, and those that do nothing."""
        self._database = database
        self._settings = settings
        self._counted = counted
        self._queries = queries
        self._finisher = finisher
        self._reading = Turns(database)

    def acts(self, fleet: str) -> bool:
        return self._counted.acts(fleet)

    async def device(self, fleet: str, device_id: int) -> Device:
        return await self._read(
            fleet,
            partial(self._counted.device, fleet, device_id),
            partial(self._queries.device, fleet, device_id),
            lambda device: device.finishes_by_itself,
        )

    async def devices(
        self, fleet: str, *, after: int, limit: int, statuses: frozenset[int] | None
    ) -> DevicePage:
        counted, queries = self._counted.devices, self._queries.devices
        return await self._read(
            fleet,
            partial(counted, fleet, after=after, limit=limit, statuses=statuses),
            partial(queries, fleet, after=after, limit=limit, statuses=statuses),
            _shows_one,
        )

    async def stats(self, fleet: str) -> Stats:
        read = partial(self._counts, fleet)
        stats, _ = await self._read(fleet, read, read, lambda counts: counts[1])
        return stats

    async def _counts(self, fleet: str) -> tuple[Stats, bool]:
        """Return a fleet's counts, and whether something is pending that would finish by itself."""
        ledger = await self._queries.ledger(fleet)
        return await self._counted.stats(fleet), ledger.pending > ledger.held

    async def _read(
        self,
        name: str,
        first: Callable[[], Awaitable[_Answer]],
        again: Callable[[], Awaitable[_Answer]],
        shows: Callable[[_Answer], bool],
    ) -> _Answer:
        """Return what is read; if that shows what would finish by itself, move the fleet's clock.

        Args:
            name: The fleet.
            first: Reads, and counts as a read.
            again: Reads what may have changed meanwhile, and counts as none.
            shows: Says whether there is something pending in it that would finish by itself.

        Raises:
            StoreUnavailable: The database can't be reached, or others were faster for too long.
        """
        settings = await self._settings.of(name)
        if settings is None or not settings.is_auto:
            return await first()
        now = asyncio.get_running_loop().time
        deadline = now() + PATIENCE
        read = first
        async with self._reading.turn(name):
            while True:
                fleet = await self._database.call(partial(_load, self._database, name))
                answer = await read()
                if not fleet.clock.is_auto or not shows(answer):
                    return answer
                with suppress(FleetReplaced):
                    if await self._finisher.step(fleet):
                        return answer
                if now() > deadline:
                    raise StoreUnavailable
                read = again


def _shows_one(page: DevicePage) -> bool:
    return any(device.finishes_by_itself for device in page.devices)


async def _load(database: Database, name: str, connection: Connection) -> FleetSnapshot:
    return await load_fleet(database, connection, name)
