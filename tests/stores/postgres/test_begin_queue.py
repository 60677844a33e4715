"""Requests to begin that share a commit."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pisync.stores.base import Store
from pisync.stores.errors import StoreUnavailable
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import FAILING, TWENTY, F


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
