"""A clock that moves itself: time stands, and moves when somebody looks."""

from pisync.model.clock import AUTO, MANUAL, REAL
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from tests.support.stores.harness import StoreHarness
from tests.support.stores.short import (
    PROFILE,
    TWENTY,
    F,
    advance,
    devices,
    finish_all_due,
    now,
    planned,
    start,
)


async def auto(store: Store, fleet: str = F) -> int:
    """Let a fleet's clock move itself; return its time."""
    return (await store.finisher.set_clock(fleet, *AUTO)).now


class TestMode:
    async def test_stands_still(self, store: Store, home: StoreHarness) -> None:
        clock = await store.finisher.set_clock(F, *AUTO)
        assert (clock.mode, clock.speed) == ("auto", 0)
        await start(store, 1)
        await home.pass_time(0.1)
        assert await finish_all_due(store) == 0
        assert (await store.queries.fleet(F)).clock == clock

    async def test_is_advanced_as_a_manual_clock_is(self, store: Store) -> None:
        before = await auto(store)
        await planned(store, {1: 1, 2: 3})
        assert await advance(store, 2) == 1
        assert await now(store) == before + 2 * SECOND
        assert (await store.queries.fleet(F)).clock.mode == "auto"

    async def test_settles_as_a_manual_clock_does(self, store: Store) -> None:
        before = await auto(store)
        await planned(store, {1: 1, 2: 3})
        assert (await store.finisher.settle(F)).finished == 2
        clock = (await store.queries.fleet(F)).clock
        assert (clock.mode, clock.now) == ("auto", before + 3 * SECOND)

    async def test_changes_and_time_never_runs_backwards(self, store: Store) -> None:
        times = []
        for setting, mode in ((AUTO, "auto"), (MANUAL, "manual"), (AUTO, "auto"), (REAL, "real")):
            clock = await store.finisher.set_clock(F, *setting)
            times.append(clock.now)
            assert clock.mode == mode
            assert (await store.queries.fleet(F)).clock.mode == mode
        assert times == sorted(times)

    async def test_real_after_auto_is_not_auto_when_it_stops_again(self, store: Store) -> None:
        await auto(store)
        await store.finisher.set_clock(F, *REAL)
        assert (await store.finisher.set_clock(F, 0)).mode == "manual"

    async def test_is_real_again_after_a_reset(self, store: Store) -> None:
        await auto(store)
        await store.fleets.reset(F)
        assert (await store.queries.fleet(F)).clock.mode == "real"

    async def test_of_one_fleet_is_no_other_fleets(self, store: Store) -> None:
        await auto(store)
        view, _ = await store.fleets.put("other", TWENTY, PROFILE)
        assert view.clock.mode == "real"
        assert len(await devices(store, "other")) == view.devices
