"""A call beside a reset acts before it or after it, never between."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from pisync.stores.postgres.store import PostgresStore
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import server
from tests.support.stores.short import FAILING, TWENTY, start

SOON = 20.0
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await server().make_database()
    yield url
    await server().drop_database(url)


async def test_a_sync_that_had_read_the_old_fleet_begins_in_the_new_one(url: str) -> None:
    store = PostgresStore(url, TWENTY, FAILING)
    await store.open(RecordingObserver())
    resetting = await asyncpg.connect(url)
    async with resetting.transaction():
        # The fleet is read before this table, and its devices with it.
        await resetting.execute("LOCK TABLE scripts")
        call = asyncio.create_task(start(store, 1))
        async with asyncio.timeout(SOON):
            while not await resetting.fetchval(WAITING):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        # What a reset and the sweep after it come to.
        new_id = await resetting.fetchval("SELECT nextval('fleet_ids')")
        for table in ("fleets", "turns", "status_counts", "devices"):
            await resetting.execute(f"UPDATE {table} SET fleet_id = {new_id}")  # noqa: S608
    (device,) = await call
    assert device.is_pending
    await resetting.close()
    await store.close()
