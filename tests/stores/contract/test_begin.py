import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from pisync.model.device import MAX_DEVICE_ID, Pending
from pisync.model.fleet import DeviceSpec, Generated
from pisync.model.outcome import SUCCEEDED
from pisync.model.plans.delay import LognormalDelay
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.model.sync import (
    SyncDecision,
    SyncResult,
)
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import FleetReplaced, NoSuchFleet
from tests.stores.conftest import MakeStore
from tests.support.stores.harness import StoreHarness
from tests.support.stores.short import (
    FAILING,
    PROFILE,
    SUCCEEDING,
    TWENTY,
    F,
    advance,
    devices,
    error_logs,
    finish_all_due,
    hold,
    hurry,
    ids,
    listed,
    manual,
    now,
    shuffled,
    start,
    verdicts,
)


class TestStart:
    async def test_an_id_that_is_repeated_joins(self, store: Store) -> None:
        begun = await store.starter.begin(F, [7, 99, 8, 7])
        assert verdicts(begun) == [
            *(SyncDecision.STARTED, SyncDecision.UNKNOWN),
            *(SyncDecision.STARTED, SyncDecision.JOINED),
        ]
        assert begun[3].device == begun[0].device
        assert begun[0].device == await store.queries.device(F, 7)
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.joined, ledger.pending) == (2, 1, 2)

    async def test_makes_the_device_pending_with_its_plan_saved(self, store: Store) -> None:
        before = await store.queries.device(F, 7)
        earliest = await now(store)
        (begun,) = await store.starter.begin(F, [7])
        latest = await now(store)
        assert begun.decision is SyncDecision.STARTED
        assert begun.device is not None
        at = begun.device.last_attempt_at
        assert earliest <= at <= latest
        outcome, delay = draw(PROFILE, 7, 1)
        assert begun.device == before._replace(
            sync_status_code=202,
            last_attempt_at=at,
            attempt=1,
            pending=Pending(outcome, at + delay),
        )

    async def test_is_there_for_every_call_after_it(self, store: Store) -> None:
        (device,) = await start(store, 7)
        assert await store.queries.device(F, 7) == device
        assert (await devices(store))[6] == device
        assert await store.queries.pending() == 1

    async def test_changes_no_other_device(self, store: Store) -> None:
        before = await devices(store)
        await start(store, 7)
        assert [each for each in await devices(store) if each.device_id != 7] == [
            each for each in before if each.device_id != 7
        ]

    async def test_hides_the_failure_before(self, make_store: MakeStore) -> None:
        store = await make_store(profile=FAILING)
        await manual(store)
        for attempt in (1, 2, 3):
            (device,) = await start(store, 1)
            assert (device.sync_status_code, device.error_message) == (202, None)
            assert device.attempt == attempt
            await advance(store, 10)
            assert (await store.queries.device(F, 1)).error_message == "Storage Full"

    async def test_is_never_before_the_attempt_before_it_and_is_not_held_up_by_it(
        self, make_store: MakeStore
    ) -> None:
        future = 4_000_000_000 * SECOND
        store = await make_store(listed(DeviceSpec(1, last_attempt_at=future)), SUCCEEDING)
        present = await manual(store)
        (device,) = await start(store, 1)
        assert device.last_attempt_at == future
        assert device.pending == Pending(SUCCEEDED, present + 10 * SECOND)
        assert await advance(store, 10) == 1
        assert (await store.queries.device(F, 1)).last_sync_at == future

    async def test_takes_the_largest_id(self, make_store: MakeStore) -> None:
        store = await make_store(listed(DeviceSpec(1), DeviceSpec(MAX_DEVICE_ID)))
        (device,) = await start(store, MAX_DEVICE_ID)
        assert device.device_id == MAX_DEVICE_ID

    async def test_of_many_begins_each(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(3000))
        begun = await store.starter.begin(F, range(1, 3001))
        assert verdicts(begun) == [SyncDecision.STARTED] * 3000
        assert ids(begun) == list(range(1, 3001))
        assert await store.queries.pending() == 3000


class TestPending:
    async def test_is_joined_by_another_request(self, store: Store) -> None:
        (device,) = await start(store, 7)
        assert await store.starter.begin(F, [7]) == [SyncResult(SyncDecision.JOINED, device)]
        assert await store.queries.device(F, 7) == device

    async def test_refuses_another_request_where_the_profile_says_so(
        self, make_store: MakeStore
    ) -> None:
        store = await make_store(profile=replace(PROFILE, refuse_pending=True))
        (device,) = await start(store, 7)
        assert await store.starter.begin(F, [7]) == [SyncResult(SyncDecision.PENDING, device)]
        assert await store.queries.device(F, 7) == device

    async def test_is_joined_when_held_too(self, store: Store) -> None:
        device = await hold(store, 7)
        assert await store.starter.begin(F, [7]) == [SyncResult(SyncDecision.JOINED, device)]

    async def test_begins_anew_once_it_has_finished(self, store: Store) -> None:
        await manual(store)
        await start(store, 7)
        await advance(store, 10)
        (device,) = await start(store, 7)
        assert device.attempt == 2

    async def test_starts_once_however_many_ask_at_once(self, store: Store) -> None:
        begun = [
            each
            for (each,) in await asyncio.gather(*(store.starter.begin(F, [7]) for _ in range(50)))
        ]
        assert Counter(verdicts(begun)) == {SyncDecision.STARTED: 1, SyncDecision.JOINED: 49}
        assert {each.device for each in begun} == {await store.queries.device(F, 7)}
        assert (await store.queries.ledger(F)).accepted == 1

    async def test_starts_each_of_many_once_whatever_the_order(self, store: Store) -> None:
        orders = [shuffled(range(1, 21), seed) for seed in range(20)]
        answers = await asyncio.gather(*(store.starter.begin(F, order) for order in orders))
        for order, begun in zip(orders, answers, strict=True):
            assert ids(begun) == order
        started = [
            each for begun in answers for each in begun if each.decision is SyncDecision.STARTED
        ]
        assert sorted(ids(started)) == list(range(1, 21))


class TestFull:
    @pytest.fixture
    async def store(self, make_store: MakeStore) -> Store:
        return await make_store(profile=replace(SUCCEEDING, max_pending=3))

    async def test_refuses_what_goes_over_the_limit(self, store: Store) -> None:
        begun = await store.starter.begin(F, [5, 6, 7, 8, 9])
        assert verdicts(begun) == [SyncDecision.STARTED] * 3 + [SyncDecision.FULL] * 2
        idle = await store.queries.device(F, 9)
        assert not idle.is_pending
        assert begun[4].device == idle
        assert idle.attempt == 0
        assert await store.queries.pending() == 3

    async def test_still_lets_requests_join(self, store: Store) -> None:
        await start(store, 1, 2, 3)
        assert verdicts(await store.starter.begin(F, [4, 3, 2])) == [
            SyncDecision.FULL,
            SyncDecision.JOINED,
            SyncDecision.JOINED,
        ]

    async def test_has_room_again_when_one_has_finished(self, store: Store) -> None:
        await manual(store)
        await start(store, 1, 2)
        await advance(store, 5)
        await start(store, 3)
        await advance(store, 5)
        assert verdicts(await store.starter.begin(F, [4, 5, 6])) == [
            SyncDecision.STARTED,
            SyncDecision.STARTED,
            SyncDecision.FULL,
        ]

    async def test_counts_held_syncs_until_they_are_released(self, store: Store) -> None:
        for device_id in (1, 2, 3):
            await hold(store, device_id)
        assert verdicts(await store.starter.begin(F, [4])) == [SyncDecision.FULL]
        await store.finisher.release(F, 2, SUCCEEDED)
        assert verdicts(await store.starter.begin(F, [4])) == [SyncDecision.STARTED]

    async def test_uses_up_no_step_of_a_script(self, store: Store) -> None:
        await start(store, 1, 2, 3)
        await store.fleets.set_script(F, 4, None)
        assert verdicts(await store.starter.begin(F, [4])) == [SyncDecision.FULL]
        await store.finisher.settle(F)
        device = await hold(store, 4)
        assert device.attempt == 1

    async def test_holds_however_many_come_at_once(self, store: Store) -> None:
        answers = await asyncio.gather(*(store.starter.begin(F, [each]) for each in range(1, 21)))
        came = Counter(each.decision for (each,) in answers)
        assert came == {SyncDecision.STARTED: 3, SyncDecision.FULL: 17}
        assert await store.queries.pending() == 3

    async def test_may_have_no_room_at_all(self, make_store: MakeStore) -> None:
        store = await make_store(profile=replace(PROFILE, max_pending=0))
        assert verdicts(await store.starter.begin(F, [1])) == [SyncDecision.FULL]


class TestAnswers:
    async def test_name_devices_that_are_not_there(self, store: Store) -> None:
        unknown = SyncResult(SyncDecision.UNKNOWN, None)
        assert await store.starter.begin(F, [0, 21, MAX_DEVICE_ID]) == [unknown] * 3
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.joined, ledger.refused) == (0, 0, 0)

    async def test_come_in_the_order_of_the_ids(self, make_store: MakeStore) -> None:
        store = await make_store(profile=replace(PROFILE, max_pending=4))
        await start(store, 3, 12)
        begun = await store.starter.begin(F, iter([20, 3, 99, 1, 12, 5]))
        assert verdicts(begun) == [
            SyncDecision.STARTED,
            SyncDecision.JOINED,
            SyncDecision.UNKNOWN,
            SyncDecision.STARTED,
            SyncDecision.JOINED,
            SyncDecision.FULL,
        ]
        assert ids(begun) == [20, 3, 1, 12, 5]

    async def test_are_none_where_nothing_was_asked(self, store: Store) -> None:
        assert await store.starter.begin(F, []) == []

    async def test_name_a_fleet_that_is_not_there(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.starter.begin("other", [1])


class TestGeneration:
    async def test_that_is_the_fleets_begins(self, store: Store) -> None:
        generation = (await store.queries.fleet(F)).generation
        assert verdicts(await store.starter.begin(F, [1], generation=generation)) == [
            SyncDecision.STARTED
        ]

    async def test_stays_as_long_as_nothing_is_replaced(self, store: Store) -> None:
        generation = (await store.queries.fleet(F)).generation
        await store.fleets.change_profile(F, lambda profile: replace(profile, seed=8))
        await manual(store)
        await start(store, 1)
        await store.finisher.settle(F)
        await store.fleets.put("other", TWENTY, PROFILE)
        assert (await store.queries.fleet(F)).generation == generation

    @pytest.mark.parametrize("how", ["reset", "replaced", "made anew"])
    async def test_of_before_a_replacement_begins_nothing(self, store: Store, how: str) -> None:
        await store.fleets.put("other", TWENTY, PROFILE)
        generation = (await store.queries.fleet("other")).generation
        if how == "reset":
            await store.fleets.reset("other")
        else:
            if how == "made anew":
                await store.fleets.delete("other")
            await store.fleets.put("other", TWENTY, PROFILE)
        assert (await store.queries.fleet("other")).generation != generation
        with pytest.raises(FleetReplaced):
            await store.starter.begin("other", [1], generation=generation)
        assert await store.queries.pending() == 0
        assert (await store.queries.device("other", 1)).attempt == 0


class TestPlan:
    LIVELY = Profile(seed=11, delay=LognormalDelay(2, 0.5, 10))

    async def test_is_what_was_drawn_for_each_attempt_in_whatever_order_they_come(
        self, make_store: MakeStore
    ) -> None:
        store = await make_store(profile=self.LIVELY)
        await manual(store)
        five_each = [device_id for device_id in range(1, 21) for _ in range(5)]
        for device_id in shuffled(five_each, 3):
            (device,) = await start(store, device_id)
            outcome, delay = draw(self.LIVELY, device_id, device.attempt)
            assert device.pending == Pending(outcome, device.last_attempt_at + delay)
            await store.finisher.settle(F)
            device = await store.queries.device(F, device_id)
            assert (device.sync_status_code, device.error_message) == outcome
        assert {each.attempt for each in await devices(store)} == {5}

    async def test_is_the_same_for_one_client_and_for_many(self, make_store: MakeStore) -> None:
        store = await make_store(profile=self.LIVELY)
        await manual(store)

        async def history(clients: int) -> set[tuple[object, ...]]:
            seen: set[tuple[object, ...]] = set()
            for _ in range(3):
                order = shuffled(range(1, 21), clients)
                shares = [order[client::clients] for client in range(clients)]
                answers = await asyncio.gather(*(store.starter.begin(F, share) for share in shares))
                for device in (each.device for begun in answers for each in begun):
                    assert device is not None
                    assert device.pending is not None
                    assert device.pending.due_at is not None
                    delay = device.pending.due_at - device.last_attempt_at
                    seen.add((device.device_id, device.attempt, device.pending.outcome, delay))
                await store.finisher.settle(F)
            return seen

        by_one = await history(1)
        await store.fleets.reset(F)
        await manual(store)
        assert await history(20) == by_one
        assert len(by_one) == 60

    async def test_stays_though_the_profile_changes(self, store: Store, home: StoreHarness) -> None:
        (before,) = await start(store, 1)
        await store.fleets.change_profile(F, lambda _: FAILING)
        assert await store.queries.device(F, 1) == before
        (after,) = await start(store, 2)
        assert after.pending is not None
        assert after.pending.outcome == FAILING.outcomes[0].outcome
        await hurry(store, home)
        await finish_all_due(store)
        assert before.pending is not None
        outcome = before.pending.outcome
        assert outcome is not None
        assert (await store.queries.device(F, 1)).sync_status_code == outcome.sync_status_code
        assert [log.device_id for log in await error_logs(store) if log.device_id != 1] == [2]
