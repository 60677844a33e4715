"""Requests to begin that share a commit."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from pisync.model.sync import SyncDecision
from pisync.stores.base import Store
from pisync.stores.errors import StoreUnavailable
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask
from tests.support.stores.short import FAILING, TWENTY, F, start, verdicts
from tests.support.waiting import eventually

WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@pytest.fixture
async def store(home: PostgresHarness) -> AsyncIterator[Store]:
    store = home.store(TWENTY, FAILING, 1000)
    await store.open(RecordingObserver())
    yield store
    await store.close()


async def test_one_that_fails_fails_alone(store: Store) -> None:
    no_such_number = 2**63
    results = await asyncio.gather(
        *(store.starter.begin(F, [device_id]) for device_id in (1, 2, 3, no_such_number, 4, 5)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [list, list, list, StoreUnavailable, list, list]
    assert await store.queries.pending() == 5
    ledger = await store.queries.ledger(F)
    assert (ledger.accepted, ledger.joined, ledger.balanced) == (5, 0, True)


@pytest.fixture
async def other(home: PostgresHarness, store: Store) -> AsyncIterator[Store]:
    other = home.store(TWENTY, FAILING, 1000)
    await other.open(RecordingObserver())
    yield other
    await other.close()


async def waiting_sessions(url: str, count: int) -> bool:
    return bool(await ask(url, WAITING) == count)


async def test_whoever_waits_for_a_device_keeps_nobody_from_the_others(
    home: PostgresHarness, store: Store, other: Store
) -> None:
    holder = await asyncpg.connect(home.url)
    async with holder.transaction():
        await holder.execute("SELECT FROM devices WHERE device_id = 10 FOR UPDATE")
        waiting = asyncio.create_task(start(store, 10))
        await eventually(lambda: waiting_sessions(home.url, 1))
        async with asyncio.timeout(1):
            await start(other, 1, 2, 3)
        assert not waiting.done()
    await holder.close()
    await waiting
    assert await store.queries.pending() == 4


async def test_whatever_the_order_of_devices_commits_never_wait_for_each_other_in_a_circle(
    home: PostgresHarness, store: Store, other: Store
) -> None:
    holder = await asyncpg.connect(home.url)
    async with holder.transaction():
        await holder.execute("SELECT FROM devices WHERE device_id = 10 FOR UPDATE")
        up = asyncio.create_task(store.starter.begin(F, range(1, 21)))
        down = asyncio.create_task(other.starter.begin(F, range(20, 0, -1)))
        await eventually(lambda: waiting_sessions(home.url, 2))
    await holder.close()
    decisions = {frozenset(verdicts(await begun)) for begun in (up, down)}
    assert decisions == {frozenset([SyncDecision.STARTED]), frozenset([SyncDecision.JOINED])}
    assert await ask(home.url, DEADLOCKS) == 0
