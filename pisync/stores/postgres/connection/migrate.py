"""Getting the database ready, by whichever replica comes first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import LOCK_SECONDS, OwnConnection, connect
from pisync.stores.postgres.connection.pooler import refuse_transaction_pooling
from pisync.stores.postgres.connection.progress import waiting

_LOCK = 0x50695379
"""Whoever gets the database ready holds this advisory lock."""
_MIGRATION_SECONDS = 3600.0


@asynccontextmanager
async def alone(address: Address) -> AsyncIterator[None]:
    """Wait while another replica gets the database ready; then keep others waiting.

    Raises:
        CannotOpen: The wait was too long, or the database can't be shared this way.
        CannotConnect: No host takes writes.
    """
    with waiting(address, "the database to answer"):
        connection = await connect(address, patient=True)
    try:
        async with asyncio.timeout(LOCK_SECONDS + 10):  # if the server itself stands still
            with waiting(address, "the database to answer"):
                await refuse_transaction_pooling(address, connection)
            process = connection.get_server_pid()
            with waiting(address, "another replica to get the database ready", process):
                await _lock(connection)
        yield
    finally:
        connection.terminate()


async def _lock(connection: OwnConnection) -> None:
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    except asyncpg.LockNotAvailableError as exc:
        raise CannotOpen(
            f"another replica has been getting the database ready for {LOCK_SECONDS} s"
        ) from exc


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


async def migrate(address: Address) -> None:
    """Bring the schema up to date.

    Raises:
        CannotOpen: Another session keeps a table locked.
        SchemaRefused: The schema is another program's, or a newer PiSync's.
        Exception: What the driver raises, and what SQLAlchemy does.
    """
    connection = await connect(address, patient=True)
    process = connection.get_server_pid()
    with waiting(address, "the database's schema to be brought up to date", process):
        migrating = asyncio.create_task(_migrate(connection))
        try:
            async with asyncio.timeout(_MIGRATION_SECONDS):
                await asyncio.shield(migrating)
        finally:
            # SQLAlchemy would wait for an answer, whatever for.
            connection.terminate()
            await asyncio.gather(migrating, return_exceptions=True)


async def _migrate(connection: OwnConnection) -> None:
    # Nothing else here needs them, and they take long to import.
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    from pisync.stores.schema import migrations  # noqa: PLC0415

    async def connected() -> OwnConnection:
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connected, poolclass=NullPool
    )
    try:
        async with engine.begin() as transaction:
            await transaction.run_sync(migrations.upgrade)
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) == asyncpg.LockNotAvailableError.sqlstate:
            raise CannotOpen(
                f"another session has kept a table locked for {LOCK_SECONDS} s"
            ) from exc
        raise
    finally:
        await engine.dispose()
