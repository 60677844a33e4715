"""One replica at a time gets the database ready."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import (
    FAILURES,
    HAVE_PATIENCE,
    LOCK_SECONDS,
    CannotConnect,
    Connection,
    connect,
    reason,
    set_up,
)
from pisync.stores.postgres.connection.pooler import process_of, refuse_transaction_pooling
from pisync.stores.postgres.connection.progress import waiting

_LOCK = 0x50695379
"""Whoever gets the database ready holds this advisory lock: with a session, or a transaction."""
_NEXT_TRY = 0.2
"""Seconds between two tries to have it for a transaction."""
_HEARTBEAT = 1.0
"""Seconds between two checks that the lock is still held: no pooler and no server that ends what is
idle is to end its connection."""
_ANSWER_SECONDS = 30.0
"""How long a check may take."""

_HOLDERS = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objid = $1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_BUSY = f"another replica has been getting the database ready for {LOCK_SECONDS} s"
_NO_ROOM = (
    "the pooler has no second session for PiSync, beside the one that keeps other replicas waiting:"
    " let it open more (default_pool_size)"
)


@asynccontextmanager
async def alone(address: Address) -> AsyncIterator[None]:
    """Wait while another replica gets the database ready; then keep others waiting.

    Where a pooler shares sessions, that takes one of them for as long as it lasts.

    Raises:
        CannotOpen: The wait was too long, the database can't be shared this way, or what keeps
            others waiting was lost.
        CannotConnect: No host takes writes.
    """
    with waiting(address, "the database to answer"):
        connection = await connect(address, is_bare=True)
    try:
        async with asyncio.timeout(LOCK_SECONDS + 10):  # if the server itself stands still
            if address.shares_sessions:
                await _lock_by_transaction(address, connection)
                await _refuse_lack_of_room(address)
            else:
                await _lock_by_session(address, connection)
        async with _held(connection):
            yield
    finally:
        # It ends the transaction, too, if there is one.
        connection.terminate()


async def _lock_by_session(address: Address, connection: Connection) -> None:
    with waiting(address, "the database to answer"):
        await refuse_transaction_pooling(address, connection)
        await set_up(connection, patient=True)
        process = await process_of(connection)
    with waiting(address, "another replica to get the database ready") as wait:
        wait.process = process
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        except asyncpg.LockNotAvailableError as exc:
            raise CannotOpen(_BUSY) from exc


async def _lock_by_transaction(address: Address, connection: Connection) -> None:
    """Try again and again: who waited in a transaction would take a session from the others."""
    now = asyncio.get_running_loop().time
    give_up_at = now() + LOCK_SECONDS
    with waiting(address, "another replica to get the database ready") as wait:
        while True:
            transaction = connection.transaction(isolation="read_committed")
            await transaction.start()
            await connection.execute(HAVE_PATIENCE)
            if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return
            wait.holders = [pid for (pid,) in await connection.fetch(_HOLDERS, _LOCK)]
            await transaction.rollback()
            if now() > give_up_at:
                raise CannotOpen(_BUSY)
            await asyncio.sleep(_NEXT_TRY)


async def _refuse_lack_of_room(address: Address) -> None:
    try:
        connection = await connect(address)
    except CannotConnect as exc:
        if isinstance(exc.__cause__, TimeoutError):
            raise CannotOpen(_NO_ROOM) from exc
        raise
    connection.terminate()


@asynccontextmanager
async def _held(connection: Connection) -> AsyncIterator[None]:
    """End what goes on within if the connection is lost.

    Raises:
        CannotOpen: It was.
    """
    reasons: list[str] = []
    try:
        async with asyncio.timeout(None) as limit:
            holding = asyncio.create_task(_hold(connection, limit, reasons))
            try:
                yield
            finally:
                holding.cancel()
    except TimeoutError as exc:
        if not reasons:
            raise
        raise CannotOpen(
            f"the connection that keeps other replicas waiting was lost: {reasons[0]}"
        ) from exc


async def _hold(connection: Connection, limit: asyncio.Timeout, reasons: list[str]) -> None:
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        while True:
            # Without an argument: it leaves no portal, which would hold a snapshot until the next.
            await connection.execute("SELECT", timeout=_ANSWER_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT):
                    await lost.wait()
    except FAILURES as exc:
        reasons.append(reason(exc))
        limit.reschedule(asyncio.get_running_loop().time())


async def refuse_another_database(pooler: Address) -> None:
    """Return if it is the same database that a pooler leads to, while `alone`.

    Raises:
        CannotOpen: It is another one: there, nobody holds the lock.
        CannotConnect: The pooler lets nobody in, or its sessions lack settings.
    """
    connection = await connect(pooler)
    try:
        if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            raise CannotOpen("PISYNC_STORE and PISYNC_STORE_DIRECT lead to different databases")
    finally:
        connection.terminate()
