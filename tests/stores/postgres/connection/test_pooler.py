"""Poolers in front of the database: one that keeps sessions apart will do, another is refused."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.store import PostgresStore
from tests.support.stores.pooler import Pooler
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask, server
from tests.support.stores.short import FAILING, TWENTY, F, start
from tests.support.waiting import SOON

SETTINGS = "SELECT string_agg(name, ', ') FROM pg_settings WHERE source = 'session'"
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await server().make_database()
    yield url
    await server().drop_database(url)


async def test_a_pooler_that_keeps_sessions_will_do(url: str) -> None:
    async with Pooler(url, shared=False) as pooler:
        store = PostgresStore(pooler.url, TWENTY, FAILING)
        await store.open(RecordingObserver())
        assert len(await start(store, 1, 2, 3)) == 3
        await store.finisher.settle(F)
        assert (await store.queries.ledger(F)).balanced
        await store.close()
        assert pooler.refused == []


async def test_one_that_shares_them_is_refused_and_nothing_left_with_it(url: str) -> None:
    async with Pooler(url, shared=True) as pooler:
        with pytest.raises(CannotOpen, match=r"transaction pooling.* PiSync needs session pooling"):
            await PostgresStore(pooler.url, TWENTY, FAILING).open(RecordingObserver())
        assert await ask(url, LOCKS) == 0
        # Its sessions are other clients', too: each in its turn.
        client = await asyncpg.connect(pooler.url, statement_cache_size=0)
        async with asyncio.timeout(SOON):
            assert [await client.fetchval(SETTINGS) for _ in range(6)] == [None] * 6
        await client.close()
