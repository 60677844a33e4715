"""Getting the database ready, by whichever replica comes first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pisync.stores.postgres.database import connect

_LOCK = 0x50695379
"""Whoever gets the database ready holds this advisory lock."""


@asynccontextmanager
async def alone(url: str) -> AsyncIterator[None]:
    """Wait while another replica gets the database ready; then keep others waiting."""
    connection = await connect(url, patient=True)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        yield
    finally:
        connection.terminate()


async def migrate(url: str) -> None:
    """Bring the schema up to date. Raises what the driver does, and what SQLAlchemy does."""
    # Nothing else here needs them, and they take long to import.
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    from pisync.stores.schema import migrations  # noqa: PLC0415

    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(url, patient=True),
        poolclass=NullPool,
    )
    async with engine.begin() as connection:
        await connection.run_sync(migrations.upgrade)
    await engine.dispose()
