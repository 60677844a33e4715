import asyncio
from dataclasses import replace
from itertools import pairwise
from time import monotonic

import pytest

from pisync.model.fleet import DeviceSpec, Generated
from pisync.model.plans.delay import LognormalDelay
from pisync.model.sync import ClockAdvance
from pisync.model.timestamp import LATEST, SECOND
from pisync.stores.base import Store
from pisync.stores.errors import ClockNotManual, FleetReplaced, NoSuchFleet, PastTheLastYear
from tests.stores.conftest import MakeStore
from tests.support.stores.harness import StoreHarness
from tests.support.stores.paused import Paused
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import (
    FAILING,
    FULL,
    TWENTY,
    F,
    advance,
    devices,
    error_logs,
    finish_all_due,
    hold,
    hurry,
    listed,
    manual,
    now,
    planned,
    shuffled,
    start,
)

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


class TestClock:
    async def test_is_real_at_first_from_the_wall_clock(
        self, store: Store, home: StoreHarness
    ) -> None:
        clock = (await store.queries.fleet(F)).clock
        assert (clock.mode, clock.speed) == ("real", 1)
        assert abs(clock.now - await home.wall()) < MINUTE

    async def test_runs_with_real_time(self, store: Store, home: StoreHarness) -> None:
        before = await now(store)
        await home.pass_time(0.1)
        assert SECOND // 10 <= await now(store) - before < MINUTE

    async def test_runs_at_another_speed_from_the_present(
        self, store: Store, home: StoreHarness
    ) -> None:
        before = await now(store)
        began = monotonic()
        clock = await store.finisher.set_clock(F, 1000)
        assert (clock.mode, clock.speed) == ("real", 1000)
        assert 0 <= clock.now - before < MINUTE
        await home.pass_time(0.1)
        passed = await now(store) - clock.now
        assert 100 * SECOND <= passed < 1000 * SECOND * (monotonic() - began + 0.1)

    async def test_that_is_manual_stands_still(self, store: Store, home: StoreHarness) -> None:
        clock = await store.finisher.set_clock(F, 0)
        assert (clock.mode, clock.speed) == ("manual", 0)
        await home.pass_time(0.1)
        assert await now(store) == clock.now

    async def test_never_runs_backwards_whatever_is_changed(
        self, store: Store, home: StoreHarness
    ) -> None:
        times = [await now(store)]
        for speed in (10, 0, 100_000, 0.001, 0, 0, 1, 3):
            times.append((await store.finisher.set_clock(F, speed)).now)
            times.append(await now(store))
            if speed == 0:
                await advance(store, 3600)
                times.append(await now(store))
            await home.pass_time(0.01)
            times.append(await now(store))
        assert all(one <= other for one, other in pairwise(times))

    async def test_goes_on_ahead_of_the_wall_clock_once_it_was_advanced(
        self, store: Store, home: StoreHarness
    ) -> None:
        await manual(store)
        ahead = (await store.finisher.advance(F, 24 * HOUR)).now
        clock = await store.finisher.set_clock(F, 1)
        assert ahead <= clock.now < ahead + MINUTE
        await home.pass_time(0.1)
        assert SECOND // 10 <= await now(store) - ahead < MINUTE

    async def test_does_not_follow_the_wall_clock_back(
        self, store: Store, home: StoreHarness
    ) -> None:
        before = await now(store)
        await home.step_wall_clock(-3600)
        assert 0 <= await now(store) - before < MINUTE

    async def test_stepping_back_does_not_hold_a_sync_up(
        self, store: Store, home: StoreHarness
    ) -> None:
        await planned(store, {1: 0.05})
        await home.step_wall_clock(-3600)
        await home.pass_time(0.06)
        assert await finish_all_due(store) == 1

    async def test_is_its_fleets_own(self, store: Store) -> None:
        await store.fleets.put("other", Generated(1), FAILING)
        await manual(store, "other")
        await advance(store, 3600, "other")
        assert (await store.queries.fleet(F)).clock.mode == "real"
        assert await now(store) + HOUR // 2 < await now(store, "other")

    async def test_lets_fall_due_sooner_when_it_is_sped_up(
        self, store: Store, home: StoreHarness
    ) -> None:
        await planned(store, {1: 3000})
        assert await finish_all_due(store) == 0
        await hurry(store, home)
        assert await finish_all_due(store) == 1

    async def test_stops_at_the_end_of_the_last_year(
        self, make_store: MakeStore, home: StoreHarness
    ) -> None:
        store = await make_store()
        present = await manual(store)
        await store.finisher.advance(F, LATEST - present - SECOND)
        await planned(store, {1: 86_400})
        await hurry(store, home)
        assert await now(store) == LATEST
        assert await finish_all_due(store) == 1
        assert (await start(store, 2))[0].last_attempt_at == LATEST

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.finisher.set_clock("other", 1)


class TestAdvance:
    async def test_fires_what_falls_due_on_the_way_and_what_is_due_exactly_then(
        self, store: Store
    ) -> None:
        present = await manual(store)
        await planned(store, {1: 5, 2: 10, 3: 10.000001, 4: 11})
        assert await store.finisher.advance(F, 10 * SECOND) == ClockAdvance(
            present + 10 * SECOND, 2
        )
        assert [each.device_id for each in await devices(store) if each.is_pending] == [3, 4]
        assert await store.finisher.advance(F, 1) == ClockAdvance(present + 10 * SECOND + 1, 1)
        assert await store.finisher.advance(F, SECOND) == ClockAdvance(present + 11 * SECOND + 1, 1)

    async def test_by_nothing_fires_what_is_due_now(self, store: Store) -> None:
        present = await manual(store)
        await planned(store, {1: 0, 2: 1})
        assert await store.finisher.advance(F, 0) == ClockAdvance(present, 1)

    async def test_fires_in_the_order_in_which_syncs_fall_due(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await manual(store)
        order = shuffled(range(1, 21), 9)
        await planned(store, {device: rank for rank, device in enumerate(order)})
        assert await advance(store, 100) == 20
        assert heard.order_finished(F) == order

    async def test_fires_many_before_it_answers(
        self, make_store: MakeStore, heard: RecordingObserver
    ) -> None:
        store = await make_store(
            Generated(3000), replace(FAILING, delay=LognormalDelay(2, 0.5, 10))
        )
        await manual(store)
        await start(store, *range(1, 3001))
        assert await advance(store, 10) == 3000
        assert await store.queries.pending() == 0
        dues = [each.error_log.occurred_at for each in heard.finishes[F] if each.error_log]
        assert dues == sorted(dues)
        assert len(dues) == 3000

    async def test_lets_each_error_occur_when_it_was_due(self, make_store: MakeStore) -> None:
        store = await make_store(profile=FAILING)
        present = await manual(store)
        await start(store, 1)
        await advance(store, 4)
        await start(store, 2)
        await advance(store, 3600)
        assert [log.occurred_at - present for log in await error_logs(store)] == [
            10 * SECOND,
            14 * SECOND,
        ]

    async def test_is_not_lateness(self, store: Store, heard: RecordingObserver) -> None:
        await manual(store)
        await planned(store, {1: 1})
        await advance(store, 3600)
        assert [each.lateness for each in heard.finishes[F]] == [None]

    async def test_leaves_what_is_held(self, store: Store) -> None:
        await manual(store)
        held = await hold(store, 1)
        assert await advance(store, 86_400) == 0
        assert await store.queries.device(F, 1) == held

    async def test_adds_up_with_others_at_once(
        self, make_store: MakeStore, heard: RecordingObserver
    ) -> None:
        store = await make_store(Generated(1000), FAILING)
        present = await manual(store)
        await start(store, *range(1, 1001))
        moved = await asyncio.gather(*(store.finisher.advance(F, 3 * SECOND) for _ in range(20)))
        assert await now(store) == present + 60 * SECOND
        assert sorted(each.now - present for each in moved) == [
            3 * SECOND * step for step in range(1, 21)
        ]
        assert sum(each.finished for each in moved) == 1000
        assert len(heard.finishes[F]) == 1000

    async def test_is_refused_on_a_real_clock(self, store: Store) -> None:
        await start(store, 1)
        with pytest.raises(ClockNotManual):
            await store.finisher.advance(F, HOUR)
        await store.finisher.set_clock(F, 0.001)
        with pytest.raises(ClockNotManual):
            await store.finisher.advance(F, HOUR)
        assert await store.queries.pending() == 1

    async def test_past_the_last_year_leaves_everything_as_it_was(self, store: Store) -> None:
        present = await manual(store)
        (pending,) = await start(store, 1)
        with pytest.raises(PastTheLastYear):
            await store.finisher.advance(F, LATEST - present + 1)
        with pytest.raises(PastTheLastYear):
            await store.finisher.advance(F, 10**30)
        assert await now(store) == present
        assert await store.queries.device(F, 1) == pending
        assert await store.finisher.advance(F, LATEST - present) == ClockAdvance(LATEST, 1)
        assert await store.finisher.advance(F, 0) == ClockAdvance(LATEST, 0)

    async def test_moves_no_other_fleet(self, store: Store) -> None:
        await store.fleets.put("other", Generated(5), FAILING)
        await manual(store)
        present = await manual(store, "other")
        await start(store, 1, fleet="other")
        await advance(store, 3600)
        assert await now(store, "other") == present
        assert (await store.queries.device("other", 1)).is_pending

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.finisher.advance("other", 1)

    async def test_that_a_reset_overtakes_moves_and_finishes_nothing_more(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(Generated(2000), FAILING)
        await manual(store)
        await start(store, *range(1, 2001))
        # The first stops in the middle of its work, and the others stand in line behind it.
        first = Paused(store.finisher.advance(F, 12 * SECOND), until=lambda: F in heard.finishes)
        moving = asyncio.ensure_future(first)
        queued = [asyncio.create_task(store.finisher.advance(F, 4 * SECOND)) for _ in range(5)]
        await first.is_reached.wait()
        await store.fleets.reset(F)
        at_reset = len(heard.finishes[F])
        assert at_reset < 2000
        first.let_go()
        overtaken, *others = await asyncio.gather(moving, *queued, return_exceptions=True)
        assert isinstance(overtaken, FleetReplaced)
        assert all(isinstance(each, FleetReplaced | ClockNotManual) for each in others)
        await home.hear()
        assert len(heard.finishes[F]) == at_reset
        assert heard.changes(F) == []
        assert (await store.queries.fleet(F)).clock.mode == "real"
        assert await store.queries.pending() == (await store.queries.ledger(F)).accepted == 0


class TestSettle:
    async def test_moves_a_manual_clock_to_the_last_due_time(self, store: Store) -> None:
        present = await manual(store)
        await planned(store, {1: 5, 2: 3600, 3: 20})
        assert await store.finisher.settle(F) == ClockAdvance(present + HOUR, 3)
        assert await now(store) == present + HOUR
        assert await store.queries.pending() == 0

    async def test_finishes_all_now_on_a_real_clock(self, store: Store) -> None:
        await planned(store, {1: 5, 2: 3600, 3: 20})
        before = await now(store)
        moved = await store.finisher.settle(F)
        assert moved.finished == 3
        # Time itself has not moved.
        assert before <= moved.now < before + MINUTE
        assert (await store.queries.fleet(F)).clock.mode == "real"
        assert await store.queries.pending() == 0
        assert await store.finisher.next_due() is None

    async def test_leaves_no_error_log_in_the_future_of_a_real_clock(
        self, make_store: MakeStore
    ) -> None:
        store = await make_store(TWENTY, FAILING)
        await planned(store, {1: 5, 2: 3600}, FULL)
        before = await now(store)
        moved = await store.finisher.settle(F)
        first, second = await error_logs(store)
        assert before <= first.occurred_at <= second.occurred_at <= moved.now

    @pytest.mark.parametrize("speed", [0, 1])
    async def test_leaves_what_is_held(self, store: Store, speed: float) -> None:
        await store.finisher.set_clock(F, speed)
        held = await hold(store, 7)
        await planned(store, {1: 5})
        assert (await store.finisher.settle(F)).finished == 1
        assert await store.queries.device(F, 7) == held
        assert (await store.finisher.settle(F)).finished == 0

    @pytest.mark.parametrize("speed", [0, 1])
    async def test_finishes_in_due_order(
        self, store: Store, heard: RecordingObserver, speed: float
    ) -> None:
        await manual(store)
        order = shuffled(range(1, 21), 4)
        await planned(store, {device: 100 * rank for rank, device in enumerate(order)})
        await store.finisher.set_clock(F, speed)
        await store.finisher.settle(F)
        assert heard.order_finished(F) == order
        assert {each.lateness for each in heard.finishes[F]} == {None}

    @pytest.mark.parametrize("speed", [0, 1])
    async def test_has_nothing_to_do_where_nothing_is_pending(
        self, store: Store, speed: float
    ) -> None:
        before = (await store.finisher.set_clock(F, speed)).now
        moved = await store.finisher.settle(F)
        assert moved.finished == 0
        assert before <= moved.now < before + MINUTE
        assert (await store.queries.ledger(F)).balanced

    async def test_moves_no_clock_for_what_was_due_before(
        self, make_store: MakeStore, home: StoreHarness
    ) -> None:
        store = await make_store()
        await planned(store, {1: 1})
        await hurry(store, home)
        present = await manual(store)
        assert await store.finisher.settle(F) == ClockAdvance(present, 1)

    async def test_is_not_held_up_by_an_attempt_in_the_future(self, make_store: MakeStore) -> None:
        future = LATEST - SECOND
        store = await make_store(listed(DeviceSpec(1, last_attempt_at=future)), FAILING)
        present = await manual(store)
        await start(store, 1)
        assert await store.finisher.settle(F) == ClockAdvance(present + 10 * SECOND, 1)
        (log,) = await error_logs(store)
        # No error occurs before its attempt.
        assert log.occurred_at == future

    async def test_finishes_many(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(3000), FAILING)
        await start(store, *range(1, 3001))
        assert (await store.finisher.settle(F)).finished == 3000
        assert (await store.queries.ledger(F)).balanced

    async def test_and_the_loop_share_the_work_and_do_it_once(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(Generated(1000), FAILING)
        await start(store, *range(1, 1001))
        await hurry(store, home)
        moved, *finished = await asyncio.gather(
            store.finisher.settle(F), finish_all_due(store), finish_all_due(store)
        )
        assert moved.finished + sum(finished) == 1000
        assert sorted(heard.order_finished(F)) == list(range(1, 1001))
        assert len(await error_logs(store)) == 1000

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.finisher.settle("other")
