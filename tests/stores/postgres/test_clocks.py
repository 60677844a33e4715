"""A clock that is set beside what other replicas do by the time that it had."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from pisync.model.timestamp import SECOND
from pisync.stores.postgres.store import PostgresStore
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import server
from tests.support.stores.short import FAILING, TWENTY, F

SOON = 20.0
TURN = "SELECT FROM turns FOR UPDATE"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await server().make_database()
    yield url
    await server().drop_database(url)


async def test_goes_on_from_the_latest_time_that_others_have_acted_by(url: str) -> None:
    store = PostgresStore(url, TWENTY, FAILING)
    await store.open(RecordingObserver())
    await store.finisher.set_clock(F, 1000)
    acting = await asyncpg.connect(url)
    async with acting.transaction():
        await acting.execute(TURN)
        stopping = asyncio.create_task(store.finisher.set_clock(F, 0))
        async with asyncio.timeout(SOON):
            while not await acting.fetchval(WAITING):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        acted_at = (await store.queries.fleet(F)).clock.now
    assert (await stopping).now >= acted_at > 100 * SECOND
    await acting.close()
    await store.close()
