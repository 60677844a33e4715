"""A database is got ready by whoever comes first: its tables, and the first data."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pisync.model.first_fleet import first_fleet
from pisync.model.fleet import FirstData, Generated
from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.store import PostgresStore
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
    generations = {(await store.queries.fleet(F)).generation for store in stores}
    assert len(generations) == 1
    assert await ask(empty, "SELECT count(*) FROM devices") == 500
    assert await ask(empty, "SELECT count(*) FROM fleets") == 1
    for store in stores:
        assert len(await start(store, *range(1, 11))) == 10
        await store.finisher.settle(F)
        await store.close()


async def test_one_that_comes_later_leaves_everything_as_it_is(empty: str) -> None:
    first = store_on(empty, first_fleet())
    await first.open(RecordingObserver())
    await start(first, 1)
    later = PostgresStore(empty, Generated(500), SUCCEEDING)
    await later.open(RecordingObserver())
    view = await later.queries.fleet(F)
    assert (view.devices, view.profile) == (10, FAILING)
    assert (await later.queries.device(F, 1)).is_pending
    assert len(await error_logs(later)) == 5
    await first.close()
    await later.close()


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
