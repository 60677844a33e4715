"""The connections to PostgreSQL, and how long anyone waits for them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from pisync.stores.base import StoreUnavailable
from pisync.telemetry.logs import get_logger

PATIENCE = 2.4
"""Seconds that a transaction may take, waiting for a connection included.

Callers are promised an answer in 5, and may need two, or wait for another one's first.
"""
CONNECTIONS = 10
"""How many a process uses at most, apart from the one that listens."""

_CONNECT_PATIENCE = 2.0
_TRIES = 4

_SESSION = {
    "application_name": "pisync",
    # What the caller has given up must not become true later.
    "statement_timeout": "2200",
    # One that is stopped, or cut off, must not keep its locks.
    "idle_in_transaction_session_timeout": "2400",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # There is an index for each statement. A plan must not go by statistics that are older than a
    # fleet of a million devices.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_material": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}

OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
# Nothing here depends on whether a connection comes from a pool.
Connection: TypeAlias = "OwnConnection | PoolConnectionProxy[asyncpg.Record]"

_CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_REFUSALS = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
)
"""What a healthy database answers to a faulty statement."""

_log = get_logger()
_Result = TypeVar("_Result")


FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # What a statement meets on a connection that is being ended.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a connection may raise."""


async def connect(url: str, *, patient: bool = False) -> OwnConnection:
    """Open a connection; a patient one waits for answers however long they take.

    Raises what is in FAILURES.
    """
    return await asyncpg.connect(
        url,
        timeout=_CONNECT_PATIENCE,
        command_timeout=None if patient else PATIENCE,
        server_settings=_SESSION | ({"statement_timeout": "0"} if patient else {}),
    )


class Database:
    """A bounded pool of connections to one database.

    Whatever goes wrong, callers soon get StoreUnavailable, and the pool mends itself.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_reachable = True
        """Whether the last attempt to reach it succeeded."""
        self._latest = 0

    async def open(self) -> None:
        """Make the pool; connections are opened as they are needed."""
        self._pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
            self.url,
            min_size=0,
            max_size=CONNECTIONS,
            timeout=_CONNECT_PATIENCE,
            command_timeout=PATIENCE,
            server_settings=_SESSION,
            reset=_leave_as_it_is,
        )

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

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection, for as long as a transaction may take. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await self._pool.acquire()
                try:
                    yield connection
                except (TimeoutError, asyncio.CancelledError, GeneratorExit):
                    # Nobody waits any more for what goes on there, nor for its end.
                    connection.terminate()
                    raise
                finally:
                    await self._pool.release(connection)
        except FAILURES as exc:
            self._failed(exc)
            raise StoreUnavailable from exc
        self._succeeded()

    async def call(self, job: Callable[[Connection], Awaitable[_Result]]) -> _Result:
        """Do a job with a connection, and again if it conflicted with others.

        Raises StoreUnavailable, and what the job raises.
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

        Raises StoreUnavailable, also if that takes too long, and what the job raises.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + PATIENCE
        while (result := await self.call(job)) is None:
            if now() > deadline:
                raise StoreUnavailable
        return result

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """Return the rows of a statement. Raises StoreUnavailable."""
        return await self.call(lambda connection: connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        """Return the first row of a statement, if any. Raises StoreUnavailable."""
        return await self.call(lambda connection: connection.fetchrow(sql, *args))

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Return the first value of a statement's first row. Raises StoreUnavailable."""
        return await self.call(lambda connection: connection.fetchval(sql, *args))

    def _failed(self, exc: Exception) -> None:
        if isinstance(exc, _REFUSALS):
            _log.error("database refused a statement", reason=reason(exc))
        elif self.is_reachable and not isinstance(exc, _CONFLICTS):
            self.is_reachable = False
            _log.error("database can't be reached", reason=reason(exc))

    def _succeeded(self) -> None:
        if not self.is_reachable:
            self.is_reachable = True
            _log.info("database can be reached again")


class Turns:
    """Writers of one process to the same thing take turns: else they would retry over and over."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # A lock exists for as long as somebody holds it or waits for it.
        self._locks = WeakValueDictionary[str, asyncio.Lock]()

    @asynccontextmanager
    async def turn(self, what: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it. Raises StoreUnavailable."""
        lock = self._locks.setdefault(what, asyncio.Lock())
        has_waited = lock.locked()
        async with lock:
            # It waited for a call that failed: its own time is up, too.
            if has_waited and not self._database.is_reachable:
                raise StoreUnavailable
            yield


def reason(exc: BaseException) -> str:
    """Say what went wrong; some exceptions have no text."""
    return str(exc) or type(exc).__name__


async def _leave_as_it_is(_: object) -> None:
    """Spare the round trip that resets a session: none here has anything to reset."""
