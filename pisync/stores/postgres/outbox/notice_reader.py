"""Hearing what all replicas do without listening: by looking, again and again, at what was sent.

For databases that give nobody a connection that keeps its session.
"""

import asyncio
from contextlib import suppress
from secrets import randbits

import asyncpg

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres import notifications
from pisync.stores.postgres.connection.connect import FAILURES, Connection, connect, reason
from pisync.stores.postgres.database import PATIENCE, Database
from pisync.stores.postgres.outbox.relay import Relay
from pisync.telemetry.outage import Outage

_INTERVAL = 0.1
"""Seconds between two looks; `hearing.py` knows how many looks later all have heard."""
_HEARTBEAT = 1.0
"""Seconds between two times that a reader shows that it is there."""
_RETRY = 0.5
_CATCH_UP = 1.0
"""Seconds for which a call waits to hear of what it did."""
_READ_AT_ONCE = 500

_SIGN_ON = "SELECT sign_on($1)"
_SIGN_OFF = """
    WITH gone AS (DELETE FROM notice_readers WHERE reader_id = $1)
    DELETE FROM sent_notices
    WHERE NOT EXISTS (SELECT FROM notice_readers WHERE reader_id <> $1)"""
_STAY = "UPDATE notice_readers SET seen_at = steady_now() WHERE reader_id = $1"
# No row: it is not signed on. One without a position: nothing is new.
_READ = """
    SELECT position, notice FROM notice_readers LEFT JOIN LATERAL (
        SELECT position, notice FROM sent_notices WHERE position > $2 ORDER BY position LIMIT $3
    ) AS new ON true
    WHERE reader_id = $1 ORDER BY position"""


class NoticeReader:
    """Tells an observer what has happened, in the order in which it became true: as `Listener`.

    Positions become visible in their order (`send_notices`), so all that is new is after the last.
    While a reader is signed on, nothing is sent that it can't read. If it is not any more, because
    the database has lost that, or it was away for a minute, it may have missed something.
    """

    def __init__(
        self, database: Database, holder: notifications.ObserverHolder, relay: Relay
    ) -> None:
        self._database = database
        self._relay = relay
        self._holder = holder
        # Drawn: a number that the database gives could come twice, after a failover.
        self._id = randbits(63)
        self._position = 0
        self._callers: list[asyncio.Event] = []
        """Those who wait for a look that begins after they have come."""
        self._has_callers = asyncio.Event()
        self._lost = Outage(
            "connection to hear other replicas is lost", "other replicas are heard again"
        )

    async def open(self) -> None:
        """Begin to read what is sent from now on.

        Raises:
            CannotConnect: No host takes writes.
            Exception: One of `FAILURES`.
        """
        connection = await self._connect()
        try:
            self._position = await connection.fetchval(_SIGN_ON, self._id)
        except BaseException:
            connection.terminate()
            raise
        self._reading = asyncio.create_task(self._read(connection))

    async def close(self) -> None:
        """Stop reading."""
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        with suppress(StoreUnavailable):
            await self._database.fetch(_SIGN_OFF, self._id)

    async def catch_up(self) -> None:
        """Wait until the observer has been told all that is true by now, but not for long.

        If nothing can be read, it will be told later, or hear that it has missed something.
        """
        looked = asyncio.Event()
        with suppress(TimeoutError, StoreUnavailable):
            async with asyncio.timeout(_CATCH_UP):
                await self._relay.send_all()
                self._callers.append(looked)
                self._has_callers.set()
                await looked.wait()

    async def _connect(self) -> Connection:
        address = self._database.pooler or self._database.address
        return await connect(address, command_timeout=PATIENCE)

    async def _read(self, connection: Connection) -> None:
        while True:
            try:
                await self._keep_reading(connection)
            except FAILURES as exc:
                self._lost.failed(reason(exc))
                self._holder.settings.lost()
                if isinstance(exc, asyncpg.ReadOnlySQLTransactionError):
                    await self._database.leave_server()
            finally:
                connection.terminate()
            connection = await self._reconnect()

    async def _keep_reading(self, connection: Connection) -> None:
        """Look again and again, and let the database's time go on, as long as that works."""
        now = asyncio.get_running_loop().time
        next_heartbeat = now()
        while True:
            if now() >= next_heartbeat:
                next_heartbeat = now() + _HEARTBEAT
                await connection.execute(_STAY, self._id)
                await self._database.keep_time(connection)
            callers, self._callers = self._callers, []
            self._has_callers.clear()
            await self._look(connection)
            for caller in callers:
                caller.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await self._has_callers.wait()

    async def _look(self, connection: Connection) -> None:
        """Tell all that is new."""
        has_more = True
        while has_more:
            rows = await connection.fetch(_READ, self._id, self._position, _READ_AT_ONCE)
            if not rows:
                await self._begin_anew(connection)
            for position, notice in rows:
                if position is not None:
                    self._position = position
                    self._tell(notice)
            has_more = len(rows) == _READ_AT_ONCE

    def _tell(self, notice: str) -> None:
        self._relay.heard(notice)
        try:
            notifications.tell(self._holder, notice)
        except ValueError as exc:
            # Of another version, perhaps. What comes after it must be told all the same.
            context = {"message": "a notice can't be read", "exception": exc}
            asyncio.get_running_loop().call_exception_handler(context)
            self._holder.missed()

    async def _begin_anew(self, connection: Connection) -> None:
        self._position = await connection.fetchval(_SIGN_ON, self._id)
        self._database.may_be_another_server()
        self._holder.missed()
        # Nobody here knows when what began meanwhile falls due.
        self._holder.observer.due_in(0)

    async def _reconnect(self) -> Connection:
        while True:
            await asyncio.sleep(_RETRY)
            try:
                connection = await self._connect()
            except FAILURES as exc:
                self._lost.failed(reason(exc))
            else:
                self._lost.succeeded()
                # What was sent meanwhile is still to be read.
                self._holder.settings.missed()
                return connection
