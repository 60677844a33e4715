"""Bringing the schema up to date."""

import asyncio

import asyncpg

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import (
    HAVE_PATIENCE,
    LOCK_SECONDS,
    Connection,
    connect,
)
from pisync.stores.postgres.connection.pooler import process_of
from pisync.stores.postgres.connection.progress import Wait, waiting

_MIGRATION_SECONDS = 3600.0


async def migrate(address: Address) -> None:
    """Bring the schema up to date.

    Raises:
        CannotOpen: Another session keeps a table locked.
        SchemaRefused: The schema is another program's, or a newer PiSync's.
        Exception: What the driver raises, and what SQLAlchemy does.
    """
    connection = await connect(address, patient=True)
    with waiting(address, "the database's schema to be brought up to date") as wait:
        migrating = asyncio.create_task(_migrate(address, connection, wait))
        try:
            async with asyncio.timeout(_MIGRATION_SECONDS):
                await asyncio.shield(migrating)
        finally:
            # SQLAlchemy would wait for an answer, whatever for.
            connection.terminate()
            await asyncio.gather(migrating, return_exceptions=True)


async def _migrate(address: Address, connection: Connection, wait: Wait) -> None:
    # Nothing else here needs them, and they take long to import.
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    from pisync.stores.schema import migrations  # noqa: PLC0415

    async def connected() -> Connection:
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connected, poolclass=NullPool
    )
    try:
        async with engine.begin() as transaction:
            if address.shares_sessions:
                await transaction.exec_driver_sql(HAVE_PATIENCE)
            wait.process = await process_of(connection)
            await transaction.run_sync(migrations.upgrade)
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) == asyncpg.LockNotAvailableError.sqlstate:
            raise CannotOpen(
                f"another session has kept a table locked for {LOCK_SECONDS} s"
            ) from exc
        raise
    finally:
        await engine.dispose()
