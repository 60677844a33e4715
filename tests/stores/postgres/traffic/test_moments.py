"""Fleets that live on several replicas: no attempt twice, and nothing left half begun."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from pisync.model.device import Device
from pisync.model.fleet import Generated
from pisync.model.plans.delay import UniformDelay
from pisync.model.plans.profile import Profile
from pisync.model.plans.traffic import Traffic
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.postgres.traffic import moments
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask
from tests.support.stores.short import F, devices, manual

LIVING = Profile(seed=7, delay=UniformDelay(0, 5), traffic=Traffic(UniformDelay(10, 30)))
STILL = Profile(seed=7)


@pytest.fixture
def profile() -> Profile:
    return STILL


async def test_no_attempt_begins_twice_whichever_replica_is_up(
    home: PostgresHarness, replicas: Sequence[Store], observers: list[RecordingObserver]
) -> None:
    one, other, third = replicas
    await one.fleets.put("lab", Generated(50), LIVING)
    await one.finisher.set_clock("lab", 3600)
    gone, ended = asyncio.Event(), asyncio.Event()

    async def run(store: Store, end: asyncio.Event) -> None:
        while not end.is_set():
            await store.finisher.finish_due(256)

    running = [
        asyncio.create_task(run(store, gone if store is one else ended)) for store in replicas
    ]
    await asyncio.sleep(0.3)
    # One is no longer there, and the others go on.
    gone.set()
    await asyncio.sleep(0.3)
    ended.set()
    await asyncio.gather(*running)
    await manual(third, "lab")
    await third.finisher.advance("lab", 60 * SECOND)
    await home.hear(3)
    ledger = await other.queries.ledger("lab")
    assert ledger.balanced
    assert ledger.accepted > 500
    for observer in observers:
        begun = Counter(
            (each.device_id, each.attempt)
            for each in observer.changes("lab")
            if isinstance(each, Device) and each.is_pending
        )
        assert set(begun.values()) == {1}
        assert len(begun) == ledger.accepted
    last = {each.device_id: each.attempt for each in await devices(one, "lab")}
    assert sum(last.values()) == ledger.accepted
    # What each replica counts as its own adds up.
    own = sum(len(observer.begun.get("lab", ())) for observer in observers)
    assert own == ledger.accepted


async def test_what_a_replica_has_begun_to_prepare_any_other_ends(
    home: PostgresHarness, replicas: Sequence[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, _ = replicas
    monkeypatch.setattr(moments, "_PREPARED_AT_ONCE", 8)
    await one.fleets.change_profile(F, lambda _: LIVING)
    await one.finisher.finish_due(256)
    count = "SELECT count(*) FROM devices WHERE due_at IS NOT NULL"
    assert await ask(home.url, count) == 8
    # Nothing begins by itself before all is prepared: in what order would it?
    assert (await one.queries.ledger(F)).accepted == 0
    for _ in range(3):
        await other.finisher.finish_due(256)
    assert await ask(home.url, count) == 20
    assert await ask(home.url, "SELECT prepared FROM traffic") is None
    await one.fleets.reset(F)
    assert await ask(home.url, "SELECT prepared FROM traffic") == 0
    await one.fleets.change_profile(F, lambda _: STILL)
    assert await ask(home.url, "SELECT count(*) FROM traffic") == 0
