import asyncio

import pytest

from pisync.model.device import ErrorLog
from pisync.model.fleet import Generated
from pisync.model.outcome import SUCCEEDED
from pisync.model.plans.delay import ConstantDelay, LognormalDelay
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchDevice, NoSuchFleet, NothingHeld
from tests.stores.conftest import MakeStore
from tests.support.stores.harness import StoreHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import (
    FAILING,
    FULL,
    PROFILE,
    SUCCEEDING,
    TIMEOUT,
    TWENTY,
    F,
    advance,
    devices,
    error_logs,
    finish_all_due,
    hold,
    hurry,
    manual,
    now,
    planned,
    shuffled,
    start,
)

SLOW = Profile(seed=7, delay=ConstantDelay(86_400))
AT_ONCE = Profile(seed=7, outcomes=FAILING.outcomes, delay=ConstantDelay(0))


class TestSuccess:
    async def test_sets_the_last_sync_to_the_attempts_time(self, make_store: MakeStore) -> None:
        store = await make_store(profile=SUCCEEDING)
        await manual(store)
        (pending,) = await start(store, 7)
        await advance(store, 11)
        assert await store.queries.device(F, 7) == pending._replace(
            sync_status_code=200, last_sync_at=pending.last_attempt_at, pending=None
        )
        assert await error_logs(store) == []


class TestFailure:
    async def test_leaves_exactly_one_error_log_and_the_last_sync_as_it_was(
        self, make_store: MakeStore
    ) -> None:
        store = await make_store(profile=FAILING)
        await manual(store)
        (pending,) = await start(store, 7)
        await advance(store, 11)
        assert await store.queries.device(F, 7) == pending._replace(
            sync_status_code=400, error_message="Storage Full", pending=None
        )
        assert pending.pending is not None
        assert pending.pending.due_at is not None
        assert await error_logs(store) == [
            ErrorLog(1, 7, 1, 400, "Storage Full", pending.pending.due_at)
        ]

    async def test_and_its_error_log_are_seen_together_or_not_at_all(
        self, make_store: MakeStore, home: StoreHarness
    ) -> None:
        store = await make_store(Generated(300), FAILING)
        await start(store, *range(1, 301))
        await hurry(store, home)
        uneven: list[tuple[int, int]] = []

        async def watch() -> None:
            while True:
                stats = await store.queries.stats(F)
                if stats.failed != stats.error_logs:
                    uneven.append((stats.failed, stats.error_logs))
                await asyncio.sleep(0)

        watcher = asyncio.create_task(watch())
        for _ in range(300):
            await store.finisher.finish_due(16)
            await asyncio.sleep(0)
        watcher.cancel()
        assert uneven == []
        assert (await store.queries.stats(F)).error_logs == 300

    async def test_is_numbered_in_the_order_of_what_happened(self, make_store: MakeStore) -> None:
        store = await make_store(profile=Profile(3, FAILING.outcomes, LognormalDelay(2, 1, 60)))
        await manual(store)
        await start(store, *shuffled(range(1, 21), 1))
        await store.finisher.settle(F)
        logs = await error_logs(store)
        assert [log.error_id for log in logs] == list(range(1, 21))
        occurred = [log.occurred_at for log in logs]
        assert occurred == sorted(occurred)


class TestFinishDue:
    async def test_finishes_what_is_due(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(profile=FAILING)
        await start(store, 1, 2, 3)
        await hurry(store, home)
        assert await finish_all_due(store) == 3
        assert sorted(heard.order_finished(F)) == [1, 2, 3]
        assert await store.queries.pending() == 0

    async def test_finishes_at_once_what_takes_no_time(self, make_store: MakeStore) -> None:
        store = await make_store(profile=AT_ONCE)
        (pending,) = await start(store, 1)
        assert pending.is_pending
        assert await finish_all_due(store) == 1
        (log,) = await error_logs(store)
        assert log.occurred_at == pending.last_attempt_at

    async def test_leaves_what_is_not_due(self, make_store: MakeStore) -> None:
        store = await make_store(profile=SLOW)
        await start(store, 1, 2, 3)
        assert await store.finisher.finish_due(100) == 0
        assert await store.queries.pending() == 3

    async def test_leaves_what_is_held_whatever_the_clock_does(
        self, store: Store, home: StoreHarness
    ) -> None:
        held = await hold(store, 1)
        await hurry(store, home)
        assert await finish_all_due(store) == 0
        assert await store.queries.device(F, 1) == held

    async def test_leaves_fleets_with_a_manual_clock(self, make_store: MakeStore) -> None:
        store = await make_store(profile=AT_ONCE)
        await manual(store)
        await start(store, 1)
        assert await store.finisher.finish_due(100) == 0
        assert (await store.queries.device(F, 1)).is_pending

    async def test_finishes_the_earliest_first(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await manual(store)
        order = shuffled(range(1, 21), 5)
        await planned(store, {device: rank for rank, device in enumerate(order, start=1)})
        await hurry(store, home)
        finished = await store.finisher.finish_due(5)
        # About the limit, says the contract.
        assert 1 <= finished <= 10
        assert heard.order_finished(F) == order[:finished]
        while await store.finisher.finish_due(5):
            pass
        assert heard.order_finished(F) == order

    async def test_finishes_the_earliest_of_all_fleets_first(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        names = [f"fleet-{number}" for number in range(8)]
        for name in names:
            await store.fleets.put(name, TWENTY, PROFILE)
            await manual(store, name)
            await planned(store, {1: 60, 2: 60}, fleet=name)
        await planned(store, {3: 1}, fleet=names[5])
        for name in (names[5], *names):
            await hurry(store, home, name)
        await store.finisher.finish_due(1)
        assert heard.order_finished(names[5])[:1] == [3]

    async def test_finishes_in_all_fleets_what_is_due(
        self, store: Store, home: StoreHarness
    ) -> None:
        for name in ("one", "other"):
            await store.fleets.put(name, TWENTY, FAILING)
            await start(store, 1, 2, 3, fleet=name)
        await start(store, 1)
        for name in ("one", "other"):
            await hurry(store, home, name)
        assert await finish_all_due(store) == 6
        assert await store.queries.pending() == 1
        assert (await store.queries.device(F, 1)).is_pending

    async def test_finishes_each_attempt_once_however_many_loops_run(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(Generated(500), FAILING)
        await start(store, *range(1, 501))
        await hurry(store, home)
        counts = await asyncio.gather(*(finish_all_due(store) for _ in range(8)))
        assert sum(counts) == 500
        assert sorted(heard.order_finished(F)) == list(range(1, 501))
        assert (await store.queries.ledger(F)).error_logs == 500

    async def test_says_how_late_in_real_seconds(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await manual(store)
        await planned(store, {1: 1})
        await store.finisher.set_clock(F, 10)
        await home.pass_time(0.3)
        await finish_all_due(store)
        (finished,) = heard.finishes[F]
        # Due after 0.1 s; a machine that does other things may make it later.
        assert finished.lateness is not None
        assert 0.19 <= finished.lateness <= 5

    async def test_finds_nothing_where_nothing_is_pending(self, store: Store) -> None:
        assert await store.finisher.finish_due(100) == 0

    async def test_finishes_just_what_was_drawn(
        self, make_store: MakeStore, home: StoreHarness
    ) -> None:
        profile = Profile(seed=12)
        store = await make_store(Generated(100), profile)
        for _ in range(3):
            await start(store, *range(1, 101))
            await hurry(store, home)
            assert await finish_all_due(store) == 100
        for device in await devices(store):
            outcome, _ = draw(profile, device.device_id, 3)
            assert (device.sync_status_code, device.error_message) == outcome


class TestNextDue:
    async def test_is_not_in_sight_where_nothing_is_pending(self, store: Store) -> None:
        assert await store.finisher.next_due() is None

    async def test_is_in_real_seconds(self, store: Store) -> None:
        await start(store, 1)
        wait = await store.finisher.next_due()
        assert wait is not None
        assert 5 < wait <= 10
        await store.finisher.set_clock(F, 0.5)
        wait = await store.finisher.next_due()
        assert wait is not None
        assert 10 < wait <= 20

    async def test_is_the_earliest_of_all_fleets(self, store: Store) -> None:
        await start(store, 1)
        await store.fleets.put("fast", TWENTY, PROFILE)
        await store.finisher.set_clock("fast", 2)
        await start(store, 1, fleet="fast")
        wait = await store.finisher.next_due()
        assert wait is not None
        assert wait <= 5

    async def test_is_now_for_what_is_overdue(self, store: Store, home: StoreHarness) -> None:
        await start(store, 1)
        await hurry(store, home)
        assert await store.finisher.next_due() == 0

    async def test_is_not_in_sight_on_a_manual_clock(self, store: Store) -> None:
        await start(store, 1)
        await manual(store)
        assert await store.finisher.next_due() is None

    async def test_is_not_in_sight_for_what_is_held(self, store: Store) -> None:
        await hold(store, 1)
        assert await store.finisher.next_due() is None

    async def test_is_long_enough_to_wait(self, make_store: MakeStore, home: StoreHarness) -> None:
        store = await make_store(profile=Profile(7, delay=ConstantDelay(0.05)))
        await start(store, 1)
        wait = await store.finisher.next_due()
        assert wait is not None
        await home.pass_time(wait + 0.001)
        assert await store.finisher.finish_due(1) == 1


class TestRelease:
    async def test_finishes_a_held_attempt_now_with_its_outcome(self, store: Store) -> None:
        await manual(store)
        held = await hold(store, 7)
        await advance(store, 3600)
        present = await now(store)
        released = await store.finisher.release(F, 7, FULL)
        assert released == held._replace(
            sync_status_code=400, error_message="Storage Full", pending=None
        )
        assert await store.queries.device(F, 7) == released
        assert await error_logs(store) == [ErrorLog(1, 7, 1, 400, "Storage Full", present)]

    async def test_with_a_success_leaves_no_error(self, store: Store) -> None:
        held = await hold(store, 7)
        released = await store.finisher.release(F, 7, SUCCEEDED)
        assert released.sync_status_code == 200
        assert released.last_sync_at == held.last_attempt_at
        assert await error_logs(store) == []

    async def test_works_on_a_real_clock_too(self, store: Store, home: StoreHarness) -> None:
        await hold(store, 7)
        await hurry(store, home)
        earliest = await now(store)
        await store.finisher.release(F, 7, TIMEOUT)
        (log,) = await error_logs(store)
        assert earliest <= log.occurred_at <= await now(store)

    async def test_counts_in_the_ledger_but_not_as_late(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await hold(store, 7)
        await store.finisher.release(F, 7, FULL)
        (finished,) = heard.finishes[F]
        assert finished.lateness is None
        ledger = await store.queries.ledger(F)
        assert (ledger.failed, ledger.held) == ({400: {"Storage Full": 1}}, 0)
        assert ledger.balanced

    async def test_is_refused_where_none_is_held(self, store: Store) -> None:
        await manual(store)
        with pytest.raises(NothingHeld):
            await store.finisher.release(F, 7, FULL)
        (pending,) = await start(store, 7)
        with pytest.raises(NothingHeld):
            await store.finisher.release(F, 7, FULL)
        assert await store.queries.device(F, 7) == pending
        await hold(store, 8)
        await store.finisher.release(F, 8, FULL)
        with pytest.raises(NothingHeld):
            await store.finisher.release(F, 8, FULL)
        assert len(await error_logs(store)) == 1

    async def test_happens_once_however_many_ask_at_once(self, store: Store) -> None:
        await hold(store, 7)
        answers = await asyncio.gather(
            *(store.finisher.release(F, 7, FULL) for _ in range(20)), return_exceptions=True
        )
        assert sum(isinstance(answer, NothingHeld) for answer in answers) == 19
        assert len(await error_logs(store)) == 1

    async def test_names_what_is_not_there(self, store: Store) -> None:
        with pytest.raises(NoSuchDevice):
            await store.finisher.release(F, 21, FULL)
        with pytest.raises(NoSuchFleet):
            await store.finisher.release("other", 7, FULL)
