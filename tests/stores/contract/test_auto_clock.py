"""A clock that moves itself: time stands, and moves when somebody looks."""

import asyncio
from collections.abc import Iterable

import pytest

from pisync.model.clock import AUTO, MANUAL, REAL, ClockSetting
from pisync.model.device import Device, DevicePage
from pisync.model.fleet import Generated
from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.profile import Profile
from pisync.model.plans.traffic import Traffic
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchDevice, NoSuchFleet
from tests.stores.conftest import MakeStore
from tests.support.stores.harness import StoreHarness
from tests.support.stores.short import (
    PROFILE,
    SUCCEEDING,
    TWENTY,
    F,
    advance,
    devices,
    error_logs,
    finish_all_due,
    hold,
    manual,
    now,
    planned,
    start,
)


async def auto(store: Store, fleet: str = F) -> int:
    """Let a fleet's clock move itself; return its time."""
    return (await store.finisher.set_clock(fleet, *AUTO)).now


def pending(many: Iterable[Device]) -> list[int]:
    """Return the ids of those that are pending."""
    return [device.device_id for device in many if device.is_pending]


LIVING = Profile(seed=7, delay=ConstantDelay(10), traffic=Traffic(ConstantDelay(60)))


class TestRunToDue:
    async def test_moves_time_to_when_a_device_is_due_and_finishes_all_on_the_way(
        self, store: Store
    ) -> None:
        before = await auto(store)
        await planned(store, {1: 1, 2: 5, 3: 5, 4: 9})
        assert await store.finisher.run_to_due(F, 2)
        assert await now(store) == before + 5 * SECOND
        assert pending(await devices(store)) == [4]

    async def test_without_a_device_moves_to_the_last_that_is_pending(self, store: Store) -> None:
        before = await auto(store)
        await planned(store, {1: 1, 2: 5})
        assert await store.finisher.run_to_due(F)
        assert await now(store) == before + 5 * SECOND
        assert pending(await devices(store)) == []

    async def test_does_nothing_where_nothing_is_pending(self, store: Store) -> None:
        before = await auto(store)
        assert not await store.finisher.run_to_due(F, 1)
        assert not await store.finisher.run_to_due(F)
        assert await now(store) == before

    async def test_does_nothing_for_a_held_attempt(self, store: Store) -> None:
        before = await auto(store)
        await hold(store, 1)
        assert not await store.finisher.run_to_due(F, 1)
        assert not await store.finisher.run_to_due(F)
        assert await now(store) == before

    @pytest.mark.parametrize("setting", [MANUAL, REAL])
    async def test_moves_no_other_clock(self, store: Store, setting: ClockSetting) -> None:
        await store.finisher.set_clock(F, *setting)
        await planned(store, {1: 60})
        assert not await store.finisher.run_to_due(F, 1)
        assert not await store.finisher.run_to_due(F)
        assert pending(await devices(store)) == [1]

    async def test_of_a_device_or_fleet_that_is_not_there(self, store: Store) -> None:
        await auto(store)
        with pytest.raises(NoSuchDevice):
            await store.finisher.run_to_due(F, 999)
        with pytest.raises(NoSuchFleet):
            await store.finisher.run_to_due("nowhere")

    async def test_ends_where_devices_sync_by_themselves(self, store: Store) -> None:
        await store.fleets.put(F, TWENTY, LIVING)
        before = await auto(store)
        await planned(store, {1: 600})
        assert await store.finisher.run_to_due(F)
        assert await now(store) == before + 600 * SECOND
        assert (await store.queries.stats(F)).attempts > 20


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


class TestReads:
    async def test_of_a_pending_device_shows_it_and_then_it_finishes(self, store: Store) -> None:
        before = await auto(store)
        await planned(store, {1: 5})
        assert (await store.acting_reads.device(F, 1)).is_pending
        assert await now(store) == before + 5 * SECOND
        assert not (await store.acting_reads.device(F, 1)).is_pending
        assert await now(store) == before + 5 * SECOND

    async def test_move_time_to_what_is_due_next_in_the_fleet(self, store: Store) -> None:
        before = await auto(store)
        await planned(store, {1: 9, 2: 5, 3: 5, 4: 7})
        for seconds, left in ((5, [1, 4]), (7, [1]), (9, [])):
            assert (await store.acting_reads.device(F, 1)).is_pending
            assert await now(store) == before + seconds * SECOND
            assert pending(await devices(store)) == left

    async def test_of_a_page_and_of_stats_move_time_as_well(self, store: Store) -> None:
        await auto(store)
        await planned(store, {1: 5, 2: 9})
        assert pending((await page(store)).devices) == [1, 2]
        assert (await store.acting_reads.stats(F)).pending == 1
        assert (await store.acting_reads.stats(F)).pending == 0

    async def test_that_show_nothing_pending_move_nothing(self, store: Store) -> None:
        before = await auto(store)
        assert not (await store.acting_reads.device(F, 2)).is_pending
        assert (await store.acting_reads.stats(F)).pending == 0
        await planned(store, {1: 5})
        assert not (await store.acting_reads.device(F, 2)).is_pending
        assert pending((await page(store, after=1)).devices) == []
        assert pending((await page(store, statuses=frozenset({200}))).devices) == []
        assert await now(store) == before

    async def test_of_a_held_attempt_move_nothing(self, store: Store) -> None:
        before = await auto(store)
        await hold(store, 1)
        await planned(store, {2: 5})
        assert (await store.acting_reads.device(F, 1)).is_pending
        assert pending((await page(store, limit=1)).devices) == [1]
        assert await now(store) == before
        assert (await store.acting_reads.stats(F)).pending == 2
        assert (await store.acting_reads.stats(F)).pending == 1
        assert await now(store) == before + 5 * SECOND

    async def test_finish_at_once_what_is_due_already(self, store: Store) -> None:
        before = await auto(store)
        await planned(store, {1: 0})
        assert (await store.acting_reads.device(F, 1)).is_pending
        assert not (await store.acting_reads.device(F, 1)).is_pending
        assert await now(store) == before

    async def test_finish_all_that_is_due_at_one_moment(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(3000), SUCCEEDING)
        await auto(store)
        await start(store, *range(1, 3001))
        assert (await store.acting_reads.device(F, 1)).is_pending
        assert (await store.queries.stats(F)).pending == 0

    async def test_move_no_other_clock(self, store: Store) -> None:
        for setting in (MANUAL, REAL):
            await store.fleets.reset(F)
            await store.finisher.set_clock(F, *setting)
            await planned(store, {1: 60})
            assert (await store.acting_reads.device(F, 1)).is_pending
            assert not store.acting_reads.acts(F)
            assert (await store.acting_reads.device(F, 1)).is_pending

    async def test_act_while_the_clock_moves_itself(self, store: Store) -> None:
        # Who does not know asks when it reads.
        await store.acting_reads.device(F, 1)
        assert not store.acting_reads.acts(F)
        assert not store.acting_reads.acts("nowhere")
        await auto(store)
        assert store.acting_reads.acts(F)
        await store.finisher.set_clock(F, *MANUAL)
        await store.acting_reads.device(F, 1)
        assert not store.acting_reads.acts(F)
        await auto(store)
        await store.fleets.reset(F)
        await store.acting_reads.stats(F)
        assert not store.acting_reads.acts(F)

    async def test_have_their_turns(self, store: Store) -> None:
        delays = {number: float(number) for number in range(1, 11)}
        before = await auto(store)
        await planned(store, {**delays, 20: 30})
        reads = [store.acting_reads.device(F, 20) for _ in range(10)]
        assert all(device.is_pending for device in await asyncio.gather(*reads))
        # One for each: none has seen what another one had moved.
        assert await now(store) == before + 10 * SECOND
        reads = [store.acting_reads.device(F, 20) for _ in range(10)]
        shown = [device.is_pending for device in await asyncio.gather(*reads)]
        assert sorted(shown) == [False] * 9 + [True]

    async def test_of_a_fleet_that_lives_move_time_to_own_attempts_too(self, store: Store) -> None:
        await store.fleets.put(F, TWENTY, LIVING)
        before = await auto(store)
        await planned(store, {1: 600})
        times = [before]
        while (await store.acting_reads.device(F, 1)).is_pending:
            times.append(await now(store))
        assert times[-1] == before + 600 * SECOND
        assert times == sorted(times)
        assert len(times) > 20

    async def test_give_the_history_that_settling_gives(self, store: Store) -> None:
        profile = Profile(seed=7)
        for fleet in ("auto", "manual"):
            await store.fleets.put(fleet, TWENTY, profile)
        await auto(store, "auto")
        await manual(store, "manual")
        for _ in range(5):
            for fleet in ("auto", "manual"):
                await start(store, *range(1, 21), fleet=fleet)
            await store.finisher.settle("manual")
            while pending((await page(store, fleet="auto")).devices):
                pass
        assert outcomes(await devices(store, "auto")) == outcomes(await devices(store, "manual"))
        assert [each[1:5] for each in await error_logs(store, "auto")] == [
            each[1:5] for each in await error_logs(store, "manual")
        ]
        assert await store.queries.ledger("auto") == await store.queries.ledger("manual")


async def page(
    store: Store,
    *,
    fleet: str = F,
    after: int = 0,
    limit: int = 100,
    statuses: frozenset[int] | None = None,
) -> DevicePage:
    return await store.acting_reads.devices(fleet, after=after, limit=limit, statuses=statuses)


def outcomes(many: Iterable[Device]) -> list[tuple[object, ...]]:
    """Return what became of devices, times aside."""
    return [
        (device.device_id, device.sync_status_code, device.error_message, device.attempt)
        for device in many
    ]
