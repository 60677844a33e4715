"""Lines of callers who want the same thing: a few are served abreast, the others wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

LONGEST = 500
"""How many may wait, for a turn or for a thread; whoever comes then is told that it is busy."""


class Busy(Exception):
    """Too many wait already. Try again."""


class Lines:
    """One line for each key: `abreast` callers at a time have their turn, in the order they came.

    In all lines together, at most `longest` callers wait.
    """

    def __init__(self, abreast: int, longest: int = LONGEST) -> None:
        self._abreast = abreast
        self._longest = longest
        self._waiting = 0
        # A line is there as long as somebody stands in it.
        self._lines = WeakValueDictionary[bytes, asyncio.Semaphore]()

    @asynccontextmanager
    async def turn(self, *keys: bytes) -> AsyncIterator[None]:
        """Wait for a turn in the line of each of `keys`, one after the other, and have it.

        Keys of different kinds must come in the same order in every call. Raises Busy.
        """
        async with AsyncExitStack() as turns:
            for key in keys:
                await turns.enter_async_context(self._turn(key))
            yield

    @asynccontextmanager
    async def _turn(self, key: bytes) -> AsyncIterator[None]:
        line = self._lines.setdefault(key, asyncio.Semaphore(self._abreast))
        if line.locked() and self._waiting >= self._longest:
            raise Busy
        self._waiting += 1
        try:
            await line.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            line.release()
