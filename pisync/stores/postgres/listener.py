"""Hearing what all replicas do, this one included, over a connection that does nothing else."""

import asyncio
from contextlib import suppress

import asyncpg

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres import notifications
from pisync.stores.postgres.connection.connect import FAILURES, Connection, connect, reason
from pisync.stores.postgres.database import PATIENCE, Database
from pisync.stores.postgres.outbox.relay import Relay
from pisync.telemetry.outage import Outage

_HEARTBEAT = 1.0
"""Seconds between two checks that the connection still stands."""
_RETRY = 0.5
_CATCH_UP = 1.0
"""Seconds for which a call waits to hear of what it did."""


class Listener:
    """Tells an observer what has happened, in the order in which it became true.

    A lost connection is replaced; the observer is told then that it may have missed something.
    """

    def __init__(
        self, database: Database, holder: notifications.ObserverHolder, relay: Relay
    ) -> None:
        self._database = database
        self._relay = relay
        self._holder = holder
        self._marks: dict[object, asyncio.Event] = {}
        self._lost = Outage(
            "connection to hear other replicas is lost", "other replicas are heard again"
        )

    async def open(self) -> None:
        """Begin to listen.

        Raises:
            CannotConnect: No host takes writes.
            Exception: One of `FAILURES`.
        """
        connection = await self._connect()
        self._listening = asyncio.create_task(self._listen(connection))

    async def close(self) -> None:
        """Stop listening."""
        self._listening.cancel()
        with suppress(asyncio.CancelledError):
            await self._listening

    async def catch_up(self) -> None:
        """Wait until the observer has been told all that is true by now, but not for long.

        If the connection is lost, the observer will hear that it has missed something.
        """
        mark = notifications.mark()
        heard = self._marks[mark] = asyncio.Event()
        try:
            async with asyncio.timeout(_CATCH_UP):
                await self._relay.send_all()
                await self._database.fetchval(
                    "SELECT pg_notify($1, $2)", notifications.CHANNEL, mark
                )
                await heard.wait()
        except (TimeoutError, StoreUnavailable):
            pass
        finally:
            del self._marks[mark]

    async def _connect(self) -> Connection:
        connection = await connect(self._database.address, command_timeout=PATIENCE)
        try:
            await connection.add_listener(notifications.CHANNEL, self._hear)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _hear(self, _connection: object, _pid: int, _channel: str, notice: object) -> None:
        if self._marks and notice in self._marks:
            self._marks[notice].set()
        else:
            self._relay.heard(str(notice))
            notifications.tell(self._holder, str(notice))

    async def _listen(self, connection: Connection) -> None:
        while True:
            try:
                await self._keep_alive(connection)
            except FAILURES as exc:
                self._lost.failed(reason(exc))
                self._holder.settings.lost()
                if isinstance(exc, asyncpg.ReadOnlySQLTransactionError):
                    await self._database.leave_server()
            finally:
                connection.terminate()
            connection = await self._reconnect()
            self._lost.succeeded()
            self._database.may_be_another_server()
            self._holder.missed()
            # Nobody here knows when what began meanwhile falls due.
            self._holder.observer.due_in(0)

    async def _keep_alive(self, connection: Connection) -> None:
        """Let the database's time go on, as long as the connection lasts."""
        while True:
            await asyncio.sleep(_HEARTBEAT)
            await self._database.keep_time(connection)

    async def _reconnect(self) -> Connection:
        while True:
            await asyncio.sleep(_RETRY)
            try:
                return await self._connect()
            except FAILURES as exc:
                self._lost.failed(reason(exc))
