"""A bounded number of connections, lent for one job each.

The driver's own pool takes 45 µs of processor time to lend one and to take it back: it arms timers,
and makes a task.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import asyncpg

from pisync.stores.postgres.connection.connect import Connection

_MOST_IDLE_SECONDS = 300
"""How long a connection stays that nobody uses."""


class _Idle(NamedTuple):
    connection: Connection
    since: float


class Pool:
    """Connections are opened as they are needed; those that were lent last are lent again first."""

    def __init__(self, open_one: Callable[[], Awaitable[Connection]], most: int) -> None:
        """Take what opens a connection, and how many there may be at a time."""
        self._open_one = open_one
        self._most = most
        self._room = asyncio.Semaphore(most)
        self._idle: list[_Idle] = []
        """Those that nobody uses; the first one for the longest time."""
        self._lent: set[Connection] = set()
        self._expired: set[Connection] = set()
        """Of those that are lent, which are not to be lent again."""
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def acquire(self) -> Connection:
        """Lend a connection, once there is one; it must be released.

        Raises:
            asyncpg.InterfaceError: The pool is closed.
            Exception: What opening one raises.
        """
        await self._room.acquire()
        try:
            if self._is_closed:
                raise asyncpg.InterfaceError("the pool is closed")
            connection = self._next_idle() or await self._open_one()
        except BaseException:
            self._room.release()
            raise
        self._lent.add(connection)
        return connection

    def release(self, connection: Connection) -> None:
        """Take a connection back."""
        self._lent.discard(connection)
        if not connection.is_closed():
            if connection in self._expired or connection.is_in_transaction():
                connection.terminate()
            else:
                now = asyncio.get_running_loop().time()
                self._idle.append(_Idle(connection, now))
                if self._idle[0].since < now - _MOST_IDLE_SECONDS:
                    self._end(self._idle.pop(0).connection)
        self._expired.discard(connection)
        self._room.release()

    def expire(self) -> None:
        """Lend none of these connections again."""
        self._expired |= self._lent
        for idle in self._idle:
            self._end(idle.connection)
        self._idle.clear()

    async def close(self) -> None:
        """Lend no more connections, wait for those that are lent, and end all politely."""
        self._is_closed = True
        for _ in range(self._most):
            await self._room.acquire()
        for _ in range(self._most):
            self._room.release()
        self.expire()
        while self._ending:
            await asyncio.wait(self._ending)

    def terminate(self) -> None:
        """End all at once, those that are lent, too."""
        self._is_closed = True
        for connection in [*self._lent, *(idle.connection for idle in self._idle)]:
            connection.terminate()
        self._idle.clear()
        for task in self._ending:
            task.cancel()

    def _next_idle(self) -> "Connection | None":
        while self._idle:
            connection = self._idle.pop().connection
            if not connection.is_closed():
                return connection
        return None

    def _end(self, connection: Connection) -> None:
        task = asyncio.create_task(_close(connection))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=1)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()
