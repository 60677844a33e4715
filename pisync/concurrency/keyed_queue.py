"""A queue for each key: a few callers are served at once, the others wait."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class Busy(Exception):
    """Too many callers are waiting."""


class KeyedQueue:
    """Serves `concurrency` callers of each key at a time, in the order in which they came.

    When `max_waiting` callers wait, of all keys together, one more may wait only if its key has
    less than its share of them: so nobody keeps those of other keys out.
    """

    def __init__(self, concurrency: int, max_waiting: int = 500) -> None:
        self._concurrency = concurrency
        self._max_waiting = max_waiting
        self._waiting = Counter[bytes]()
        # A queue exists for as long as somebody stands in it.
        self._queues = WeakValueDictionary[bytes, asyncio.Semaphore]()

    @property
    def waiting(self) -> int:
        """How many callers are waiting."""
        return self._waiting.total()

    @asynccontextmanager
    async def turn(self, *keys: bytes) -> AsyncIterator[None]:
        """Wait for a turn in the queue of each of `keys`, one after the other, and hold them.

        Keys of different kinds must come in the same order in every call.

        Raises:
            Busy: Too many callers are waiting.
        """
        async with AsyncExitStack() as turns:
            for key in keys:
                await turns.enter_async_context(self._turn(key))
            yield

    @asynccontextmanager
    async def _turn(self, key: bytes) -> AsyncIterator[None]:
        queue = self._queues.setdefault(key, asyncio.Semaphore(self._concurrency))
        if queue.locked() and self._is_full(key):
            raise Busy
        self._waiting[key] += 1
        try:
            await queue.acquire()
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
        try:
            yield
        finally:
            queue.release()

    def _is_full(self, key: bytes) -> bool:
        share = self._max_waiting // len({*self._waiting, key})
        return self._waiting.total() >= self._max_waiting and self._waiting[key] >= share
