"""A database is got ready by whoever comes first: its tables, and the first data."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from pisync.model.first_fleet import first_fleet
from pisync.model.fleet import FirstData, Generated
from pisync.stores.base import CannotOpen
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import connect
from pisync.stores.postgres.store import PostgresStore
from pisync.stores.schema import (
    migrations,
    tables,
)
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import (
    ask,
    server,
)
from tests.support.stores.short import (
    FAILING,
    SUCCEEDING,
    F,
    error_logs,
    start,
)


@pytest.fixture
async def empty() -> AsyncIterator[str]:
    """A database without any table."""
    url = await server().make_database("template0")
    yield url
    await server().drop_database(url)


def store_on(url: str, first: FirstData) -> PostgresStore:
    return PostgresStore(url, first, FAILING)


async def test_three_at_once_make_the_tables_and_the_first_data_once(empty: str) -> None:
    stores = [store_on(empty, Generated(500)) for _ in range(3)]
    await asyncio.gather(*(store.open(RecordingObserver()) for store in stores))
    generations = {(await store.fleet(F)).generation for store in stores}
    assert len(generations) == 1
    assert await ask(empty, "SELECT count(*) FROM devices") == 500
    assert await ask(empty, "SELECT count(*) FROM fleets") == 1
    for store in stores:
        assert len(await start(store, *range(1, 11))) == 10
        await store.settle(F)
        await store.close()


async def test_one_that_comes_later_leaves_everything_as_it_is(empty: str) -> None:
    first = store_on(empty, first_fleet())
    await first.open(RecordingObserver())
    await start(first, 1)
    later = PostgresStore(empty, Generated(500), SUCCEEDING)
    await later.open(RecordingObserver())
    view = await later.fleet(F)
    assert (view.devices, view.profile) == (10, FAILING)
    assert (await later.device(F, 1)).is_pending
    assert len(await error_logs(later)) == 5
    await first.close()
    await later.close()


async def test_migrations_go_up_and_down_and_up_again(empty: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(Address.parse(empty)),
        poolclass=NullPool,
    )

    def found(connection: Connection) -> dict[str, Any]:
        inspector = inspect(connection)
        return {
            name: (
                sorted(column["name"] for column in inspector.get_columns(name)),
                sorted(str(index["name"]) for index in inspector.get_indexes(name)),
            )
            for name in inspector.get_table_names()
        }

    def differing(connection: Connection) -> Any:
        """What would have to change for the tables to be as `tables` says."""
        context = MigrationContext.configure(connection, opts={"include_object": _is_compared})
        # It takes several, whatever its type says.
        both: Any = [tables.metadata, tables.shared]
        return compare_metadata(context, both)

    seen = []
    for revision in (migrations.NEWEST, "base", migrations.NEWEST):
        async with engine.begin() as connection:
            way = migrations.downgrade if revision == "base" else migrations.upgrade
            await connection.run_sync(way, revision)
            seen.append(await connection.run_sync(found))
    async with engine.begin() as connection:
        assert await connection.run_sync(differing) == []
    await engine.dispose()
    assert seen[0] == seen[2]
    assert set(seen[1]) == {"alembic_version"}
    assert "ix_accounts_page" in seen[0]["accounts"][1]
    assert await ask(empty, "SELECT count(*) FROM pg_proc WHERE proname = 'apply_work'") == 1


def _is_compared(_item: object, name: str | None, *_: object) -> bool:
    # The index is on an expression, which Alembic can't compare.
    return name not in {"alembic_version", "ix_accounts_page"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geheim@127.0.0.1:1/none",
        "postgresql://me:geheim@localhost:1/none?sslmode=nonsense",
        "postgresql://me:geheim@/none?host=/nowhere",
    ],
)
async def test_a_database_that_is_not_there_is_said_so_without_its_password(url: str) -> None:
    with pytest.raises(CannotOpen) as caught:
        await store_on(url, Generated(1)).open(RecordingObserver())
    assert str(caught.value).startswith("PostgreSQL: ")
    assert "geheim" not in str(caught.value)


async def test_a_database_of_which_it_may_not_make_tables_is_said_so(empty: str) -> None:
    await ask(empty, "CREATE ROLE guest LOGIN")
    try:
        with pytest.raises(CannotOpen, match="permission denied"):
            await store_on(empty.replace("postgres:@", "guest:@"), Generated(1)).open(
                RecordingObserver()
            )
    finally:
        await ask(empty, "DROP ROLE guest")
