"""Answers that replicas remember: those that nobody needs any more are swept away."""

from collections.abc import AsyncIterator

import pytest

from pisync.model.requests.idempotency import KeyedRequest, KeyedStep, accepted_device
from pisync.stores.base import Store
from pisync.stores.postgres.store import PostgresStore
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask, server
from tests.support.stores.short import FAILING, TWENTY, F
from tests.support.waiting import eventually


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await server().make_database()
    yield url
    await server().drop_database(url)


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, TWENTY, FAILING)
    await store.open(RecordingObserver())
    yield store
    await store.close()


async def sync(store: Store, key: str) -> None:
    step = KeyedStep(KeyedRequest.of("alice", key, "/devices/7/sync"), 1, accepted_device)
    await store.starter.begin(F, [7], step=step)


async def test_those_of_a_fleet_that_is_gone_are_swept(store: PostgresStore, url: str) -> None:
    for n in range(5):
        await sync(store, f"k{n}")
    await store.fleets.reset(F)
    await sync(store, "new")

    async def only_the_new_one_is_there() -> bool:
        return bool(await ask(url, "SELECT count(*) FROM remembered_answers") == 1)

    await eventually(only_the_new_one_is_there)
    assert await ask(url, "SELECT count(*) FROM leftovers") == 0


async def test_those_of_a_day_ago_are_swept(store: PostgresStore, url: str) -> None:
    for n in range(3):
        await sync(store, f"k{n}")
    await ask(url, "UPDATE remembered_answers SET made_at = made_at - 86400000000 WHERE number < 3")
    await ask(url, "SELECT sweep(1)")
    assert await ask(url, "SELECT count(*) FROM remembered_answers") == 2
    await ask(url, "SELECT sweep(1)")
    await ask(url, "SELECT sweep(1)")
    assert await ask(url, "SELECT array_agg(number) FROM remembered_answers") == [3]
