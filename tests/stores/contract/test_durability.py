"""What stores promise that outlive the process: everything is there for the next one."""

from dataclasses import replace
from itertools import pairwise

import pytest

from pisync.model.account import Account, LoginDecision
from pisync.model.clock import AUTO, MAX_SPEED
from pisync.model.first_fleet import first_fleet
from pisync.model.fleet import DeviceSpec, FleetTimes, Generated, Listed
from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.delay import LognormalDelay, UniformDelay
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.timestamp import SECOND, RelativeMoment
from pisync.stores.base import Store
from pisync.stores.errors import FleetReplaced, NoSuchFleet
from tests.stores.conftest import MakeStore, Reopen
from tests.support.stores.harness import (
    DURABLE,
    StoreHarness,
)
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import (
    FAILING,
    FULL,
    PROFILE,
    SUCCEEDING,
    TIMEOUT,
    F,
    advance,
    devices,
    error_logs,
    finish_all_due,
    fleets,
    hold,
    hurry,
    listed,
    manual,
    now,
    planned,
    start,
)

pytestmark = pytest.mark.parametrize("home", DURABLE, indirect=True)

MINUTE = 60 * SECOND


class TestDevices:
    async def test_are_as_they_were(self, make_store: MakeStore, reopen: Reopen) -> None:
        store = await make_store(first_fleet(), Profile(seed=5))
        for turn in range(3):
            await start(store, *range(1 + turn, 9))
            await store.finisher.settle(F)
        await start(store, 4, 5)
        await hold(store, 6)
        before = await devices(store)
        store = await reopen()
        assert await devices(store) == before
        assert await store.queries.pending() == 3

    async def test_that_were_never_synced_are_as_they_were_made(
        self, make_store: MakeStore, home: StoreHarness, reopen: Reopen
    ) -> None:
        odd = DeviceSpec(2**53 - 1, None, 500, "\u00e9\U0001f600'\"\\%" * 10)
        store = await make_store(listed(DeviceSpec(3), odd))
        before = await devices(store)
        await home.pass_time(0.01)
        store = await reopen()
        assert await devices(store) == before
        await home.pass_time(0.01)
        await store.fleets.reset(F)
        assert await devices(store) == before

    async def test_of_all_fleets_are_there_and_no_others(
        self, store: Store, reopen: Reopen
    ) -> None:
        for name in ("one", "two", "gone"):
            await store.fleets.put(name, Generated(3), PROFILE)
        await start(store, 2, fleet="two")
        await start(store, 3, fleet="gone")
        await store.fleets.delete("gone")
        store = await reopen()
        assert [view.name for view in await fleets(store)] == [F, "one", "two"]
        assert [each.is_pending for each in await devices(store, "two")] == [False, True, False]
        assert await store.queries.pending() == 1
        with pytest.raises(NoSuchFleet):
            await store.queries.fleet("gone")


class TestPending:
    async def test_finish_when_they_are_due_as_was_planned(
        self, make_store: MakeStore, home: StoreHarness, reopen: Reopen, heard: RecordingObserver
    ) -> None:
        profile = Profile(seed=8, delay=LognormalDelay(600, 0.5, 3600))
        store = await make_store(profile=profile)
        pending = await start(store, *range(1, 21))
        store = await reopen()
        assert await finish_all_due(store) == 0
        assert await store.finisher.next_due() is not None
        await hurry(store, home)
        assert await finish_all_due(store) == 20
        assert len(heard.finishes[F]) == 20
        for before in pending:
            after = await store.queries.device(F, before.device_id)
            assert before.pending is not None
            assert (after.sync_status_code, after.error_message) == before.pending.outcome
        logs = await error_logs(store)
        assert (await store.queries.ledger(F)).error_logs == len(logs)
        dues = {each.device_id: each.pending and each.pending.due_at for each in pending}
        assert [log.occurred_at for log in logs] == [dues[log.device_id] for log in logs]

    async def test_finish_at_once_if_they_fell_due_meanwhile(
        self, make_store: MakeStore, home: StoreHarness, reopen: Reopen
    ) -> None:
        store = await make_store()
        await planned(store, {1: 0.05, 2: 3600})
        await home.pass_time(0.06)
        store = await reopen()
        assert await finish_all_due(store) == 1
        assert not (await store.queries.device(F, 1)).is_pending

    async def test_finish_once_over_many_restarts(
        self, make_store: MakeStore, reopen: Reopen, heard: RecordingObserver
    ) -> None:
        store = await make_store(profile=FAILING)
        await manual(store)
        finished = 0
        await planned(store, {device_id: device_id for device_id in range(1, 21)}, FULL)
        for _ in range(5):
            finished += await advance(store, 4)
            store = await reopen()
        assert finished == 20
        assert [log.error_id for log in await error_logs(store)] == list(range(1, 21))
        assert (await store.queries.ledger(F)).balanced

    async def test_that_are_held_stay_held_until_released(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        held = await hold(store, 7)
        store = await reopen()
        await hurry(store, home)
        assert await finish_all_due(store) == 0
        assert await store.queries.device(F, 7) == held
        assert (await store.queries.ledger(F)).held == 1
        assert (await store.finisher.release(F, 7, TIMEOUT)).error_message == "Connection Timeout"
        store = await reopen()
        assert (await store.queries.device(F, 7)).error_message == "Connection Timeout"

    async def test_of_before_a_reset_do_not_come_back(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        await start(store, *range(1, 21))
        await store.fleets.reset(F)
        store = await reopen()
        await hurry(store, home)
        assert await finish_all_due(store) == 0
        assert {each.attempt for each in await devices(store)} == {0}


class TestSettings:
    @pytest.mark.parametrize(
        "profile",
        [
            Profile(2**53 - 1, refuse_pending=True, max_pending=0),
            Profile(
                0,
                (
                    WeightedOutcome(Outcome(404, "\u00e9\U0001f600 '\""), 5e-324),
                    WeightedOutcome(SUCCEEDED, 1e308),
                ),
                UniformDelay(0.1, 86_400),
            ),
            Profile(1, delay=LognormalDelay(0.1, 0.30000000000000004, 86_400)),
        ],
        ids=["largest", "odd", "exact"],
    )
    async def test_are_as_they_were(
        self, make_store: MakeStore, reopen: Reopen, profile: Profile
    ) -> None:
        store = await make_store(profile=profile)
        await store.fleets.put("other", Generated(1), PROFILE)
        await store.fleets.change_profile("other", lambda _: profile)
        store = await reopen()
        assert (await store.queries.fleet(F)).profile == profile
        assert (await store.queries.fleet("other")).profile == profile

    async def test_that_were_changed_stay_changed_after_a_reset_too(
        self, store: Store, reopen: Reopen
    ) -> None:
        await store.fleets.change_profile(F, lambda _: FAILING)
        await store.fleets.reset(F)
        store = await reopen()
        assert (await store.queries.fleet(F)).profile == FAILING

    async def test_of_scripts_go_on_where_they_were(self, store: Store, reopen: Reopen) -> None:
        await store.fleets.set_script(F, 1, Script((Step(FULL), Step(TIMEOUT, 5), Step(None))))
        await store.fleets.set_script(F, 2, Script((Step(FULL),), sticky=True))
        await store.fleets.set_script(F, 3, Script((Step(FULL),)))
        await store.fleets.set_script(F, 4, Script((Step(FULL),)))
        await store.fleets.set_script(F, 4, None)
        came: dict[int, list[str | None]] = {device_id: [] for device_id in (1, 2, 3, 4)}
        for _ in range(2):
            await start(store, 1, 2, 3, 4)
            await store.finisher.settle(F)
            for device_id, messages in came.items():
                messages.append((await store.queries.device(F, device_id)).error_message)
            store = await reopen()
        drawn = {
            (device_id, attempt): draw(PROFILE, device_id, attempt).outcome.error_message
            for device_id in (3, 4)
            for attempt in (1, 2)
        }
        assert came == {
            1: ["Storage Full", "Connection Timeout"],
            2: ["Storage Full", "Storage Full"],
            3: ["Storage Full", drawn[3, 2]],
            4: [drawn[4, 1], drawn[4, 2]],
        }
        (held,) = await start(store, 1)
        assert held.pending is not None
        assert held.pending.is_held

    async def test_of_relative_times_stay_as_they_are_until_a_reset(
        self, make_store: MakeStore, reopen: Reopen, home: StoreHarness
    ) -> None:
        hour_ago = RelativeMoment(3600)
        first = listed(DeviceSpec(1, hour_ago), DeviceSpec(2, hour_ago, *FULL, RelativeMoment(60)))
        store = await make_store(first)
        for _ in range(2):
            before = await devices(store)
            await home.pass_time(0.01)
            store = await reopen()
            assert await devices(store) == before
            await home.pass_time(0.01)
            await store.fleets.reset(F)
            view = await store.queries.fleet(F)
            times = FleetTimes(0, view.started_at)
            assert await devices(store) == [each.made(times) for each in first.devices]
            assert before[0].last_sync_at < times.started_at - 3600 * SECOND  # type: ignore[operator]  # it has one

    async def test_of_first_data_give_the_same_after_a_reset(
        self, make_store: MakeStore, reopen: Reopen, home: StoreHarness
    ) -> None:
        store = await make_store(first_fleet(), FAILING)
        before = await devices(store), await error_logs(store)
        await start(store, *range(1, 11))
        await store.finisher.settle(F)
        await home.pass_time(0.01)
        store = await reopen()
        await store.fleets.reset(F)
        assert (await devices(store), await error_logs(store)) == before
        store = await reopen()
        assert (await devices(store), await error_logs(store)) == before


class TestClock:
    async def test_that_is_manual_has_not_moved(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        await manual(store)
        present = (await store.finisher.advance(F, 86_400 * SECOND)).now
        await home.pass_time(0.05)
        store = await reopen()
        clock = (await store.queries.fleet(F)).clock
        assert (clock.mode, clock.now) == ("manual", present)
        assert (await store.finisher.advance(F, 5)).now == present + 5

    async def test_that_moves_itself_still_does(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        present = (await store.finisher.set_clock(F, *AUTO)).now
        await home.pass_time(0.05)
        store = await reopen()
        clock = (await store.queries.fleet(F)).clock
        assert (clock.mode, clock.now) == ("auto", present)

    async def test_that_is_real_has_gone_on(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        present = (await store.finisher.set_clock(F, 1000)).now
        await home.pass_time(0.05)
        store = await reopen()
        clock = (await store.queries.fleet(F)).clock
        assert clock.speed == 1000
        assert clock.now - present >= 50 * SECOND

    async def test_goes_on_ahead_of_the_wall_clock(self, store: Store, reopen: Reopen) -> None:
        await manual(store)
        await advance(store, 86_400)
        ahead = (await store.finisher.set_clock(F, 1)).now
        store = await reopen()
        assert ahead <= await now(store) < ahead + MINUTE

    async def test_never_runs_backwards(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        times = []
        for speed in (1, MAX_SPEED, 0, 0.1, 1):
            await store.finisher.set_clock(F, speed)
            await home.pass_time(0.01)
            await store.starter.begin(F, [1])
            times.append(await now(store))
            store = await reopen()
            times.append(await now(store))
        assert all(one <= other for one, other in pairwise(times))

    async def test_is_not_carried_off_by_an_attempt_in_the_future(
        self, make_store: MakeStore, reopen: Reopen
    ) -> None:
        future = 4_000_000_000 * SECOND
        store = await make_store(listed(DeviceSpec(1, last_attempt_at=future), DeviceSpec(2)))
        (device,) = await start(store, 1)
        assert device.last_attempt_at == future
        before = await now(store)
        store = await reopen()
        assert before <= await now(store) < before + MINUTE
        assert await finish_all_due(store) == 0

    async def test_that_stepped_back_meanwhile_takes_no_attempt_back(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        await home.pass_time(0.05)
        (device,) = await start(store, 1)
        await home.step_wall_clock(-3600)
        store = await reopen()
        assert await now(store) >= device.last_attempt_at


class TestCounts:
    async def test_are_as_they_were(self, make_store: MakeStore, reopen: Reopen) -> None:
        store = await make_store(profile=replace(PROFILE, seed=31, max_pending=15))
        await store.starter.begin(F, [*range(1, 21), 99])
        await store.starter.begin(F, [1, 2, 3])
        await store.finisher.settle(F)
        await start(store, 4)
        await hold(store, 5)
        before = await store.queries.ledger(F), await store.queries.stats(F)
        assert before[0].joined
        assert before[0].refused
        assert before[0].failed
        store = await reopen()
        assert (await store.queries.ledger(F), await store.queries.stats(F)) == before
        assert before[0].balanced
        store = await reopen()
        assert await store.queries.ledger(F) == before[0]

    async def test_go_on_from_there(self, make_store: MakeStore, reopen: Reopen) -> None:
        store = await make_store(profile=FAILING)
        for attempt in (1, 2, 3):
            (device,) = await start(store, 7)
            assert device.attempt == attempt
            await store.finisher.settle(F)
            store = await reopen()
        assert [(log.error_id, log.attempt) for log in await error_logs(store)] == [
            (1, 1),
            (2, 2),
            (3, 3),
        ]
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.failed) == (3, {400: {"Storage Full": 3}})

    async def test_of_before_a_reset_do_not_come_back(self, store: Store, reopen: Reopen) -> None:
        await start(store, *range(1, 21))
        await store.finisher.settle(F)
        await store.fleets.reset(F)
        store = await reopen()
        assert (await store.queries.ledger(F)).accepted == 0
        assert await error_logs(store) == []

    async def test_of_error_logs_that_are_gone_stay(
        self, make_store: MakeStore, reopen: Reopen
    ) -> None:
        store = await make_store(profile=FAILING, max_error_logs=5)
        await start(store, *range(1, 21))
        await store.finisher.settle(F)
        before = await error_logs(store)
        store = await make_store(max_error_logs=5)
        assert await error_logs(store) == before
        assert [log.error_id for log in before] == [16, 17, 18, 19, 20]
        assert (await store.queries.ledger(F)).error_logs == 20
        await start(store, 1)
        await store.finisher.settle(F)
        assert [log.error_id for log in await error_logs(store)] == [17, 18, 19, 20, 21]

    @pytest.mark.parametrize("most", [0, 3, 5, 20])
    async def test_of_error_logs_go_on_where_the_first_datas_have_gone(
        self, make_store: MakeStore, most: int
    ) -> None:
        store = await make_store(first_fleet(), FAILING, max_error_logs=most)
        for _ in range(3):
            await start(store, *range(1, 11))
            await store.finisher.settle(F)
        before = (
            await error_logs(store),
            await store.queries.stats(F),
            await store.queries.ledger(F),
        )
        newest = len(first_fleet().error_logs) + 30
        assert [log.error_id for log in before[0]] == [*range(newest - most + 1, newest + 1)]
        store = await make_store(first_fleet(), FAILING, max_error_logs=most)
        assert (
            await error_logs(store),
            await store.queries.stats(F),
            await store.queries.ledger(F),
        ) == before
        # A larger bound brings nothing back.
        store = await make_store(first_fleet(), FAILING, max_error_logs=most + 1)
        await start(store, 1)
        await store.finisher.settle(F)
        assert [log.error_id for log in await error_logs(store)] == [
            *range(newest - most + 1, newest + 2)
        ]

    async def test_of_error_logs_follow_a_smaller_bound(self, make_store: MakeStore) -> None:
        store = await make_store(profile=FAILING, max_error_logs=20)
        await start(store, *range(1, 21))
        await store.finisher.settle(F)
        store = await make_store(max_error_logs=5)
        await start(store, 1)
        await store.finisher.settle(F)
        assert [log.error_id for log in await error_logs(store)] == [17, 18, 19, 20, 21]


class TestGeneration:
    async def test_stays(self, store: Store, reopen: Reopen) -> None:
        generation = (await store.queries.fleet(F)).generation
        store = await reopen()
        assert (await store.queries.fleet(F)).generation == generation
        await store.starter.begin(F, [1], generation=generation)

    async def test_never_comes_again(self, store: Store, reopen: Reopen) -> None:
        seen = []
        for _ in range(3):
            view, _ = await store.fleets.put("other", Generated(1), PROFILE)
            seen.append(view.generation)
            await store.fleets.reset("other")
            seen.append((await store.queries.fleet("other")).generation)
            store = await reopen()
        assert len(set(seen)) == 6
        with pytest.raises(FleetReplaced):
            await store.starter.begin("other", [1], generation=seen[0])


class TestAccounts:
    async def test_are_there(self, store: Store, reopen: Reopen) -> None:
        alice = Account("Alice", b"$2b$12$\x00\xff", ("devices",))
        root = Account("admin", b"x", ("devices", "admin"))
        await store.accounts.add(alice)
        await store.accounts.add(root)
        store = await reopen()
        assert await store.accounts.find("alice") == alice
        assert await store.accounts.find("admin") == root
        assert not await store.accounts.add(Account("ALICE", b"", ()))

    async def test_that_were_guessed_at_stay_locked_as_long_as_their_window(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        for _ in range(3):
            assert (
                await store.login_attempts.acquire([b"k"], 3, 1)
            ).decision is LoginDecision.ALLOWED
            await store.login_attempts.record([b"k"], failed=True)
        store = await reopen()
        assert (await store.login_attempts.acquire([b"k"], 3, 1)).decision is LoginDecision.REFUSED
        await home.pass_time(1.01)
        store = await reopen()
        assert (await store.login_attempts.acquire([b"k"], 3, 1)).decision is LoginDecision.ALLOWED


async def test_first_data_and_profile_fill_a_store_only_once(
    make_store: MakeStore, reopen: Reopen
) -> None:
    await make_store(Generated(3), SUCCEEDING)
    store = await make_store(Listed(()), FAILING)
    view = await store.queries.fleet(F)
    assert (view.devices, view.profile) == (3, SUCCEEDING)
