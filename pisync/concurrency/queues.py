"""Queues of callers who want the same thing: a few are served at once, the others wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

LONGEST = 500
"""How many may wait, for a turn or for a thread; whoever comes then is told that it is busy."""


class Busy(Exception):
    """Too many wait already. Try again."""


class Queues:
    """A queue for each key: `at_once` callers at a time have their turn, in the order they came.

    In all queues together, at most `longest` callers wait.
    """

    def __init__(self, at_once: int, longest: int = LONGEST) -> None:
        self._at_once = at_once
        self._longest = longest
        self._waiting = 0
        # A queue exists for as long as somebody stands in it.
        self._queues = WeakValueDictionary[bytes, asyncio.Semaphore]()

    @asynccontextmanager
    async def turn(self, *keys: bytes) -> AsyncIterator[None]:
        """Wait for a turn in the queue of each of `keys`, one after the other, and hold them.

        Keys of different kinds must come in the same order in every call. Raises Busy.
        """
        async with AsyncExitStack() as turns:
            for key in keys:
                await turns.enter_async_context(self._turn(key))
            yield

    @asynccontextmanager
    async def _turn(self, key: bytes) -> AsyncIterator[None]:
        queue = self._queues.setdefault(key, asyncio.Semaphore(self._at_once))
        if queue.locked() and self._waiting >= self._longest:
            raise Busy
        self._waiting += 1
        try:
            await queue.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            queue.release()
