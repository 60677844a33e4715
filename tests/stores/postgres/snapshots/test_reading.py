"""What a snapshot costs a database that others use."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from pisync.stores.base import Store
from pisync.stores.postgres.snapshots.reading import READERS
from tests.support.stores.short import F, start


async def test_a_process_takes_a_few_at_a_time_and_others_wait(store: Store) -> None:
    async with AsyncExitStack() as taken:
        for _ in range(READERS):
            await taken.enter_async_context(store.snapshots.take(F))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), store.snapshots.take(F):
                pytest.fail("there are too many")
        # Nobody else waits for them.
        await start(store, 1)
    async with store.snapshots.take(F) as snapshot:
        assert snapshot.head.fleet == F
