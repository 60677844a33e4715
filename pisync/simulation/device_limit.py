"""How many devices all fleets may have together, so that no caller fills the memory or the disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pisync.stores.base import Queries


class TooManyDevices(Exception):
    """A fleet is refused, since all together would have more than `limit` devices."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"All fleets together may have at most {limit} devices.")


class DeviceLimit:
    """Counts the devices of all fleets, with those of fleets that are being made."""

    def __init__(self, queries: Queries, limit: int) -> None:
        self._queries = queries
        self._limit = limit
        self._reserved = 0

    @asynccontextmanager
    async def reserve(self, fleet: str, devices: int) -> AsyncIterator[None]:
        """Hold room for a fleet of so many devices, in place of the one of its name, for a block.

        Replicas reserve for themselves: together they may go beyond the limit by what they make at
        once.

        Raises:
            TooManyDevices: There is no room.
        """
        # Before the store is asked: what is done meanwhile counts twice rather than not at all.
        reserved = self._reserved
        self._reserved += devices
        try:
            others = await self._queries.device_count(without=fleet)
            if others + reserved + devices > self._limit:
                raise TooManyDevices(self._limit)
            yield
        finally:
            self._reserved -= devices
