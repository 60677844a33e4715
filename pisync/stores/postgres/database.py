"""The connections to PostgreSQL, and how long anyone waits for them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import asyncpg

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import (
    FAILURES,
    Connection,
    connect,
    reason,
)
from pisync.stores.postgres.connection.pool import Pool
from pisync.telemetry.outage import Outage

PATIENCE = 2.4
"""Seconds that a transaction may take, waiting for a connection included.

Callers are promised an answer in 5, and may need two, or wait for another one's first.
"""
CONNECTIONS = 10
"""How many a process uses at most, apart from the one that listens."""

_TRIES = 4
_CHUNK_SECONDS = 0.5
"""How long one of many statements that write rows should take."""
_FEWEST_ROWS = 100

_CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_REFUSALS = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
)
"""What a healthy database answers to a faulty statement."""
_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
"""What a server says when it is leaving, or not there yet. All else that it says is an answer."""

_Result = TypeVar("_Result")


class Database:
    """A bounded pool of connections to one database.

    Whatever goes wrong, callers soon get StoreUnavailable, and the pool mends itself.
    """

    def __init__(
        self, address: Address, pooler: Address | None = None, *, has_sessions: bool = True
    ) -> None:
        """Take the database at an address; what is pooled here goes through a pooler, if any."""
        self.address = address
        """Where connections keep their sessions, if they do anywhere."""
        self.has_sessions = has_sessions
        """Whether they do there: without, nobody can listen."""
        self.pooler = pooler
        """What the pool's connections lead through, if anything."""
        self.is_reachable = True
        """Whether the last statement was answered in time."""
        self.epoch = 0
        """Grows whenever what is asked next may go to another server than what was asked last."""
        self._unreachable = Outage(
            "database can't be reached", "database can be reached again", quiet=1.0
        )
        self._refusing = Outage(
            "database refused a statement", "database refuses no more statements", quiet=10.0
        )
        self._latest = 0
        self._ping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the pool; connections are opened as they are needed."""
        self._pool = Pool(self._connect, CONNECTIONS)

    async def _connect(self) -> Connection:
        connection = await connect(self.pooler or self.address, command_timeout=PATIENCE)
        self.may_be_another_server()
        return connection

    def may_be_another_server(self) -> None:
        """Take note that what is asked next may go to another server: a pooler hides that."""
        self.epoch += 1

    async def close(self) -> None:
        """Close all connections, as politely as the database allows."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    def real_time(self, steady_now: int) -> int:
        """Return the database's time, in microseconds, given what it just answered.

        It never steps back, not even before the database has noticed that its clock did.
        """
        self._latest = max(self._latest, steady_now)
        return self._latest

    async def keep_time(self, connection: Connection) -> None:
        """Let the database go on from the latest time seen, if its clock has stepped back."""
        self.real_time(await connection.fetchval("SELECT keep_time($1)", self._latest))

    async def ping(self) -> None:
        """Write something. All who ask while that is under way share the answer.

        Raises:
            StoreUnavailable: No write goes through.
        """
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self.call(self.keep_time))
            # Perhaps nobody waits for it any more.
            self._ping.add_done_callback(lambda ping: ping.cancelled() or ping.exception())
        await asyncio.shield(self._ping)

    async def leave_server(self) -> None:
        """Replace all connections, once they are not in use: their server takes no writes."""
        self._pool.expire()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection, for as long as a transaction may take.

        Raises:
            StoreUnavailable: The database can't be reached, or refused a statement.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await self._pool.acquire()
                try:
                    yield connection
                except (TimeoutError, asyncio.CancelledError, GeneratorExit):
                    # Nobody waits any more for what goes on there, nor for its end.
                    connection.terminate()
                    raise
                except asyncpg.ReadOnlySQLTransactionError:
                    await self.leave_server()
                    raise
                finally:
                    self._pool.release(connection)
        except FAILURES as exc:
            self._failed(exc)
            raise StoreUnavailable from exc
        self._succeeded()

    async def call(self, job: Callable[[Connection], Awaitable[_Result]]) -> _Result:
        """Do a job with a connection, and again if it conflicted with others.

        Raises:
            StoreUnavailable: The database can't be reached, refused a statement, or there were
                conflicts each time.
            Exception: What the job raises.
        """
        for left in reversed(range(_TRIES)):
            try:
                async with self.connection() as connection:
                    return await job(connection)
            except StoreUnavailable as exc:
                if not left or not isinstance(exc.__cause__, _CONFLICTS):
                    raise
        raise AssertionError("the last try returns or raises")

    async def persist(self, job: Callable[[Connection], Awaitable[_Result | None]]) -> _Result:
        """Do a job again and again until it returns something: others were faster each time.

        Raises:
            StoreUnavailable: As `call`, or others were faster for too long.
            Exception: What the job raises.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + PATIENCE
        while (result := await self.call(job)) is None:
            if now() > deadline:
                raise StoreUnavailable
        return result

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """Return the rows of a statement.

        Raises:
            StoreUnavailable: As `call`.
        """
        return await self.call(lambda connection: connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        """Return the first row of a statement, if any.

        Raises:
            StoreUnavailable: As `call`.
        """
        return await self.call(lambda connection: connection.fetchrow(sql, *args))

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Return the first value of a statement's first row.

        Raises:
            StoreUnavailable: As `call`.
        """
        return await self.call(lambda connection: connection.fetchval(sql, *args))

    def _failed(self, exc: Exception) -> None:
        if isinstance(exc, _CONFLICTS):
            return
        if not isinstance(exc, _REFUSALS):
            self.is_reachable = False
        is_answer = isinstance(exc, asyncpg.PostgresError) and not isinstance(exc, _AWAY)
        (self._refusing if is_answer else self._unreachable).failed(reason(exc))

    def _succeeded(self) -> None:
        self.is_reachable = True
        self._unreachable.succeeded()
        self._refusing.succeeded()


class Turns:
    """Writers of one process to the same thing take turns: else they would retry over and over."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # A lock exists for as long as somebody holds it or waits for it.
        self._locks = WeakValueDictionary[str, asyncio.Lock]()

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it.

        Raises:
            StoreUnavailable: The call that was waited for has failed.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())
        has_waited = lock.locked()
        async with lock:
            # It waited for a call that failed: its own time is up, too.
            if has_waited and not self._database.is_reachable:
                raise StoreUnavailable
            yield


class ChunkSize:
    """How many rows one of many statements is about: fewer where the disk is slow."""

    def __init__(self, most: int) -> None:
        self._most = self._rows = most

    async def fit(self, statement: Callable[[int], Awaitable[_Result]]) -> _Result:
        """Make a statement about some rows; it takes their number, at most.

        One that takes too long is made again, about fewer.

        Raises:
            StoreUnavailable: There is another reason, or it takes too long for a few rows.
        """
        now = asyncio.get_running_loop().time
        while True:
            began = now()
            try:
                result = await statement(self._rows)
            except StoreUnavailable as exc:
                if self._rows == _FEWEST_ROWS:
                    raise
                if isinstance(exc.__cause__, asyncpg.QueryCanceledError):
                    # Given up by the server: it is there, but slow.
                    self._rows = max(self._rows // 4, _FEWEST_ROWS)
                elif isinstance(exc.__cause__, TimeoutError):
                    # It may be slow, or away: whoever waits has time for one try more.
                    self._rows = _FEWEST_ROWS
                else:
                    raise
            else:
                fitting = self._rows * _CHUNK_SECONDS / max(now() - began, 0.001)
                self._rows = round(min(max(fitting, _FEWEST_ROWS), 2 * self._rows, self._most))
                return result
