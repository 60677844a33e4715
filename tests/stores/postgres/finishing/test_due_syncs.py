"""What finishes by itself: how often a replica looks at all that is due."""

import asyncio

import pytest

from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.profile import Profile
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finishing import due_syncs
from pisync.stores.postgres.snapshot import FleetSnapshot, fleets_at_work
from pisync.stores.postgres.store import PostgresStore
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import PROFILE, TWENTY, F, start

QUICK = Profile(seed=7, delay=ConstantDelay(0.02))


async def test_own_syncs_finish_without_a_look_at_all_others(
    home: PostgresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_syncs, "_LOOK_EVERY", 60.0)
    store = home.store(TWENTY, QUICK, 1000)
    await store.open(RecordingObserver())
    await start(store, 1)
    await store.finisher.finish_due(100)
    looks: list[None] = []

    async def look(database: Database, connection: Connection) -> list[tuple[FleetSnapshot, int]]:
        looks.append(None)
        return await fleets_at_work(database, connection)

    monkeypatch.setattr(due_syncs, "fleets_at_work", look)
    for device_id in (2, 3):
        await start(store, device_id)
        await asyncio.sleep(0.03)
        assert await store.finisher.finish_due(100) >= 1
    assert looks == []
    # Who has finished something looks again soon; where nothing of its own is due, at all.
    assert await store.finisher.next_due() is not None
    assert await store.finisher.finish_due(100) == 0
    assert len(looks) == 1
    await store.close()


@pytest.mark.parametrize("speed", [0, 1])
async def test_own_syncs_finish_by_the_database_and_not_before(
    home: PostgresHarness, monkeypatch: pytest.MonkeyPatch, speed: float
) -> None:
    monkeypatch.setattr(due_syncs, "_LOOK_EVERY", 60.0)
    store, other = (home.store(TWENTY, PROFILE, 1000) for _ in range(2))
    for each in (store, other):
        await each.open(RecordingObserver())
    await start(store, 1)
    assert await store.finisher.finish_due(100) == 0
    await other.finisher.set_clock(F, speed)
    # For all that this replica knows, it is twenty seconds later: the sync takes ten.
    vars(vars(store.finisher)["_due"])["_looked_at"] -= 20
    assert await store.finisher.finish_due(100) == 0
    assert await store.queries.pending() == 1
    assert (await store.finisher.settle(F)).finished == 1
    for each in (store, other):
        await each.close()


async def test_what_was_begun_while_time_stood_still_is_in_time_once_it_goes_on(
    home: PostgresHarness,
) -> None:
    observer = RecordingObserver()
    # It would leave to others for a minute what it has not begun.
    store = PostgresStore(home.url, TWENTY, QUICK, grace=60)
    await store.open(observer)
    await store.fleets.put("other", TWENTY, QUICK)
    await store.finisher.set_clock(F, 0)
    await start(store, 1, 2)
    # Another fleet has something to do: what is in one that has not is forgotten.
    await start(store, 1, fleet="other")
    await asyncio.sleep(0.03)
    assert await store.finisher.finish_due(100) == 1
    await store.finisher.set_clock(F, 1)
    await asyncio.sleep(0.03)
    async with asyncio.timeout(5):
        while await store.queries.pending():
            await store.finisher.finish_due(100)
    assert observer.order_finished(F) == [1, 2]
    await store.close()
