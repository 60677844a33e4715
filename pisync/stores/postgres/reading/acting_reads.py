"""Reads that do something in a fleet that replicas share."""

from pisync.model.device import Device, DevicePage
from pisync.model.fleet import Stats
from pisync.stores.postgres.queries import PostgresQueries


class PostgresActingReads:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, queries: PostgresQueries) -> None:
        self._queries = queries

    def acts(self, fleet: str) -> bool:
        return False

    async def device(self, fleet: str, device_id: int) -> Device:
        return await self._queries.device(fleet, device_id)

    async def devices(
        self, fleet: str, *, after: int, limit: int, statuses: frozenset[int] | None
    ) -> DevicePage:
        return await self._queries.devices(fleet, after=after, limit=limit, statuses=statuses)

    async def stats(self, fleet: str) -> Stats:
        return await self._queries.stats(fleet)
