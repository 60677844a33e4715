"""The fleets that a store gets when it is opened."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pisync.model.clock import AUTO
from pisync.model.fleet import FleetDefinition, Generated
from pisync.model.outcome import Outcome
from pisync.model.plans.script import Script, Step
from pisync.model.requests.fault import FaultRule, StatusFault
from pisync.stores.base import Store
from pisync.stores.embedded.sqlite.group_commit import GroupCommitWriter
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.postgres.store import PostgresStore
from tests.conftest import ManualTime
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import server
from tests.support.stores.short import FAILING, SUCCEEDING, TWENTY, F, start

RULE = FaultRule(("sync",), StatusFault(429), first=2)
SHOP = FleetDefinition(
    "shop",
    Generated(7),
    FAILING,
    AUTO,
    {3: Script((Step(Outcome(500, "Storage Full"), 0),))},
    ttl=600,
    journal=5,
    faults=(RULE,),
)
MakeStore = Callable[..., Store]


def on_sqlite(path: Path) -> MakeStore:
    def make(*definitions: FleetDefinition) -> Store:
        return EmbeddedStore(
            TWENTY,
            SUCCEEDING,
            ManualTime(),
            definitions=definitions,
            writer=GroupCommitWriter(path),
        )

    return make


def on_postgres(url: str) -> MakeStore:
    def make(*definitions: FleetDefinition) -> Store:
        return PostgresStore(url, TWENTY, SUCCEEDING, definitions=definitions)

    return make


@pytest.fixture(params=["sqlite", "postgres"])
async def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MakeStore]:
    """Makes stores on one file or database, which is empty at first."""
    if request.param == "sqlite":
        yield on_sqlite(tmp_path / "pisync.db")
        return
    url = await server().make_database("template0")
    yield on_postgres(url)
    await server().drop_database(url)


async def is_as_described(store: Store) -> None:
    shop = await store.queries.fleet("shop")
    assert (shop.devices, shop.profile, shop.clock.mode) == (7, FAILING, "auto")
    assert (shop.ttl, shop.journal) == (600, 5)
    assert await store.requests.faults("shop") == [(RULE, 0)]
    await store.starter.begin("shop", [3])
    await store.finisher.settle("shop")
    assert (await store.queries.device("shop", 3)).error_message == "Storage Full"


async def test_they_are_made_with_clock_and_scripts(make_store: MakeStore) -> None:
    store = make_store(SHOP)
    await store.open(RecordingObserver())
    await is_as_described(store)
    assert (await store.queries.fleet(F)).devices == 20
    await store.close()


async def test_in_memory_too() -> None:
    store = EmbeddedStore(TWENTY, SUCCEEDING, ManualTime(), definitions=[SHOP])
    await store.open(RecordingObserver())
    await is_as_described(store)


async def test_what_is_there_stays_as_it_is(make_store: MakeStore) -> None:
    store = make_store()
    await store.open(RecordingObserver())
    await store.fleets.put("shop", Generated(2), SUCCEEDING)
    await store.close()
    store = make_store(SHOP)
    await store.open(RecordingObserver())
    shop = await store.queries.fleet("shop")
    assert (shop.devices, shop.profile, shop.clock.speed) == (2, SUCCEEDING, 1)
    await store.close()


async def test_one_may_be_the_default_fleet(make_store: MakeStore) -> None:
    store = make_store(FleetDefinition(F, Generated(3), FAILING))
    await store.open(RecordingObserver())
    fleet = await store.queries.fleet(F)
    assert (fleet.devices, fleet.profile) == (3, FAILING)
    await store.close()


async def test_replicas_that_start_at_once_make_each_once() -> None:
    url = await server().make_database("template0")
    stores = [on_postgres(url)(SHOP) for _ in range(3)]
    await asyncio.gather(*(store.open(RecordingObserver()) for store in stores))
    assert len({(await store.queries.fleet("shop")).generation for store in stores}) == 1
    await start(stores[0], 1)
    await is_as_described(stores[1])
    for store in stores:
        await store.close()
    await server().drop_database(url)
