import asyncio
from dataclasses import replace

import pytest

from pisync.model.device import Device, ErrorFilter, ErrorLog, synced
from pisync.model.first_fleet import first_fleet
from pisync.model.fleet import DeviceSpec, FleetTimes, Generated, Listed
from pisync.model.outcome import SUCCEEDED
from pisync.model.plans.delay import ConstantDelay, UniformDelay
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.timestamp import EARLIEST, LATEST, SECOND, RelativeMoment
from pisync.stores.base import Store
from pisync.stores.errors import DefaultFleetProtected, FleetReplaced, NoSuchDevice, NoSuchFleet
from tests.stores.conftest import MakeStore
from tests.support.stores.harness import StoreHarness
from tests.support.stores.paused import Paused
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
    fleets,
    hold,
    hurry,
    listed,
    manual,
    now,
    start,
)

MINUTE = 60 * SECOND
NOW, HOUR_AGO = RelativeMoment(0), RelativeMoment(3600)


class TestFirstData:
    async def test_of_a_count_is_devices_synced_when_their_fleet_was_made(
        self, store: Store, home: StoreHarness
    ) -> None:
        found = await devices(store)
        made_at = found[0].last_attempt_at
        assert abs(made_at - await home.wall()) < MINUTE
        assert found == [synced(device_id, made_at) for device_id in range(1, 21)]
        assert await error_logs(store) == []

    async def test_of_the_first_fleet_is_the_ten_with_their_error_logs(
        self, make_store: MakeStore
    ) -> None:
        first = first_fleet()
        store = await make_store(first)
        assert await devices(store) == [each.made(FleetTimes(0, 0)) for each in first.devices]
        assert await error_logs(store) == list(first.error_logs)

    async def test_of_a_list_is_just_those_devices(self, make_store: MakeStore) -> None:
        specs = (
            DeviceSpec(3),
            DeviceSpec(7, EARLIEST, 404, "\u00e9\U0001f600" * 100, EARLIEST),
            DeviceSpec(2**53 - 1, None, *FULL, LATEST),
        )
        store = await make_store(Listed(specs))
        found = await devices(store)
        made_at = found[0].last_attempt_at
        assert found == [each.made(FleetTimes(made_at, made_at)) for each in specs]

    async def test_may_be_no_devices_at_all(self, make_store: MakeStore) -> None:
        for first in (Generated(0), listed()):
            store = await make_store(first)
            await store.fleets.put("none", first, PROFILE)
            assert await devices(store, "none") == []
            assert (await store.queries.stats("none")).devices == 0
            assert (await store.finisher.settle("none")).finished == 0

    async def test_numbers_new_error_logs_after_its_own(self, make_store: MakeStore) -> None:
        store = await make_store(first_fleet(), FAILING)
        await manual(store)
        await start(store, 1)
        await advance(store, 10)
        assert [log.error_id for log in await error_logs(store)] == [1, 2, 3, 4, 5, 6]


class TestPut:
    async def test_makes_a_fleet(self, store: Store, home: StoreHarness) -> None:
        view, is_new = await store.fleets.put("suite-1", Generated(5), FAILING)
        assert is_new
        assert (view.name, view.devices, view.profile) == ("suite-1", 5, FAILING)
        assert (view.clock.mode, view.clock.speed) == ("real", 1)
        assert abs(view.clock.now - await home.wall()) < MINUTE
        assert len(await devices(store, "suite-1")) == 5
        again = await store.queries.fleet("suite-1")
        assert again._replace(clock=view.clock) == view

    async def test_replaces_a_fleet_with_all_that_belonged_to_it(
        self, make_store: MakeStore
    ) -> None:
        store = await make_store(first_fleet(), FAILING)
        await manual(store)
        await advance(store, 86_400)
        await store.fleets.set_script(F, 2, Script((Step(FULL),), sticky=True))
        await hold(store, 1)
        await start(store, 3)
        await store.finisher.settle(F)
        ahead = await now(store)

        view, is_new = await store.fleets.put(F, Generated(3), SUCCEEDING)
        assert not is_new
        assert (view.devices, view.profile, view.clock.mode) == (3, SUCCEEDING, "real")
        assert view.clock.now < ahead
        assert [each.attempt for each in await devices(store)] == [0, 0, 0]
        assert await error_logs(store) == []
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.error_logs, ledger.pending, ledger.held) == (0, 0, 0, 0)
        await manual(store)
        await start(store, 2)
        await advance(store, 10)
        assert (await store.queries.device(F, 2)).sync_status_code == 200
        assert await store.queries.pending() == 0

    async def test_with_every_kind_of_profile_keeps_it(self, store: Store) -> None:
        profiles = (
            Profile(2**53 - 1, delay=ConstantDelay(0), refuse_pending=True, max_pending=0),
            Profile(0, (WeightedOutcome(TIMEOUT, 1e308), WeightedOutcome(SUCCEEDED, 5e-324))),
            Profile(1, delay=UniformDelay(0.1, 86_400), max_pending=2**53 - 1),
        )
        for profile in profiles:
            view, _ = await store.fleets.put("suite-1", TWENTY, profile)
            assert view.profile == profile
            assert (await store.queries.fleet("suite-1")).profile == profile

    async def test_of_one_name_at_once_makes_it_once(self, store: Store) -> None:
        made = await asyncio.gather(*(store.fleets.put("x", TWENTY, FAILING) for _ in range(10)))
        assert sum(is_new for _, is_new in made) == 1
        assert len({view.generation for view, _ in made}) == 10
        assert [view.name for view in await fleets(store)] == [F, "x"]

    async def test_that_stops_a_settling_says_so(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await store.fleets.put("big", Generated(2000), FAILING)
        await start(store, *range(1, 2001), fleet="big")
        half_way = Paused(store.finisher.settle("big"), until=lambda: "big" in heard.finishes)
        settling = asyncio.ensure_future(half_way)
        await half_way.is_reached.wait()
        await store.fleets.put("big", Generated(2000), FAILING)
        half_way.let_go()
        with pytest.raises(FleetReplaced):
            await settling
        assert len(heard.finishes["big"]) < 2000
        assert (await store.queries.ledger("big")).accepted == 0


class TestList:
    async def test_is_of_all_fleets_by_name(self, store: Store) -> None:
        for name in ("zebra", "a-1", "0", "m"):
            await store.fleets.put(name, Generated(1), PROFILE)
        views = await fleets(store)
        assert [view.name for view in views] == ["0", "a-1", F, "m", "zebra"]
        assert [view.devices for view in views] == [1, 1, 20, 1, 1]
        assert len({view.generation for view in views}) == 5

    async def test_is_a_page_of_them(self, store: Store) -> None:
        names = ["0", "a", "a-", "a-1", "a1", "aa", F]
        for name in names[:-1]:
            await store.fleets.put(name, Generated(1), PROFILE)
        for limit in (1, 3, 6, 7):
            for after in ("", "0", "a", "a-0", "aa", "z"):
                page = await store.queries.fleets(after=after, limit=limit)
                above = [name for name in names if name > after]
                assert [view.name for view in page.fleets] == above[:limit]
                assert (page.total, page.more) == (7, len(above) > limit)

    async def test_of_one_tells_the_same(self, store: Store) -> None:
        await manual(store)
        assert [await store.queries.fleet(F)] == list(await fleets(store))

    async def test_of_one_that_is_not_there(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.queries.fleet("other")


class TestDeviceCount:
    async def test_is_of_all_fleets_but_one(self, store: Store) -> None:
        await store.fleets.put("a", Generated(3), PROFILE)
        await store.fleets.put("b", listed(DeviceSpec(7), DeviceSpec(9)), PROFILE)
        await start(store, 1, 2, fleet="a")
        assert await store.queries.device_count(without="a") == 22
        assert await store.queries.device_count(without=F) == 5
        assert await store.queries.device_count(without="there is none") == 25
        await store.fleets.put("a", Generated(1), PROFILE)
        await store.fleets.reset(F)
        assert await store.queries.device_count(without="") == 23
        await store.fleets.delete("a")
        assert await store.queries.device_count(without="") == 22


class TestDelete:
    async def test_takes_all_that_belongs_to_the_fleet(self, store: Store) -> None:
        await store.fleets.put("gone", TWENTY, FAILING)
        await start(store, 1, 2, fleet="gone")
        await store.fleets.delete("gone")
        assert [view.name for view in await fleets(store)] == [F]
        assert await store.queries.pending() == 0
        assert await store.finisher.next_due() is None
        for call in (
            store.queries.fleet("gone"),
            store.queries.device("gone", 1),
            store.queries.devices("gone", after=0, limit=1, statuses=None),
            store.starter.begin("gone", [1]),
            store.queries.errors("gone", ErrorFilter(), 1),
            store.queries.stats("gone"),
            store.queries.ledger("gone"),
            store.fleets.change_profile("gone", lambda profile: profile),
            store.fleets.set_script("gone", 1, None),
            store.finisher.release("gone", 1, FULL),
            store.fleets.reset("gone"),
            store.fleets.delete("gone"),
        ):
            with pytest.raises(NoSuchFleet):
                await call

    async def test_leaves_nothing_for_the_next_of_that_name(
        self, store: Store, home: StoreHarness
    ) -> None:
        await store.fleets.put("again", TWENTY, FAILING)
        await start(store, 1, fleet="again")
        await store.finisher.settle("again")
        await start(store, 2, fleet="again")
        await store.fleets.delete("again")
        _, is_new = await store.fleets.put("again", TWENTY, FAILING)
        assert is_new
        await hurry(store, home, "again")
        assert await finish_all_due(store) == 0
        assert await error_logs(store, "again") == []
        assert (await store.queries.device("again", 1)).attempt == 0

    async def test_of_the_default_fleet_is_refused(self, store: Store) -> None:
        await start(store, 1)
        with pytest.raises(DefaultFleetProtected):
            await store.fleets.delete(F)
        assert (await store.queries.device(F, 1)).is_pending

    async def test_of_one_fleet_at_once_happens_once(self, store: Store) -> None:
        await store.fleets.put("gone", TWENTY, FAILING)
        answers = await asyncio.gather(
            *(store.fleets.delete("gone") for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(answer, NoSuchFleet) for answer in answers) == 4


class TestChangeProfile:
    async def test_applies_the_change_and_answers_with_the_fleet(self, store: Store) -> None:
        view = await store.fleets.change_profile(F, lambda profile: replace(profile, seed=99))
        assert view.profile == replace(PROFILE, seed=99)
        assert (await store.queries.fleet(F)).profile == view.profile

    async def test_at_once_with_others_loses_none(self, store: Store) -> None:
        await store.fleets.change_profile(F, lambda profile: replace(profile, seed=0))
        await asyncio.gather(
            *(
                store.fleets.change_profile(
                    F, lambda profile: replace(profile, seed=profile.seed + 1)
                )
                for _ in range(20)
            )
        )
        assert (await store.queries.fleet(F)).profile.seed == 20

    async def test_holds_for_attempts_from_now_on(self, store: Store) -> None:
        await manual(store)
        await store.fleets.change_profile(F, lambda _: FAILING)
        await start(store, 1)
        await store.fleets.change_profile(F, lambda _: SUCCEEDING)
        await start(store, 2)
        await advance(store, 10)
        assert [(await store.queries.device(F, each)).sync_status_code for each in (1, 2)] == [
            400,
            200,
        ]

    async def test_that_fails_changes_nothing(self, store: Store) -> None:
        def fail(_: Profile) -> Profile:
            raise LookupError

        with pytest.raises(LookupError):
            await store.fleets.change_profile(F, fail)
        assert (await store.queries.fleet(F)).profile == PROFILE


async def live(store: Store) -> None:
    """Let much happen in the fleet `default`; some syncs stay pending, one of them held."""
    await manual(store)
    await advance(store, 86_400)
    for _ in range(3):
        await start(store, *range(1, 9))
        await store.finisher.settle(F)
    await start(store, 1, 2)
    await store.starter.begin(F, [1, 2, 99])
    await hold(store, 3)
    await store.fleets.set_script(F, 4, Script((Step(TIMEOUT),), sticky=True))


class TestReset:
    async def test_goes_back_to_the_first_data(
        self, make_store: MakeStore, home: StoreHarness
    ) -> None:
        store = await make_store(first_fleet(), FAILING)
        before = await devices(store), await error_logs(store)
        await live(store)
        await home.pass_time(0.01)
        await store.fleets.reset(F)
        assert (await devices(store), await error_logs(store)) == before

    async def test_goes_back_to_when_generated_devices_were_made(
        self, store: Store, home: StoreHarness
    ) -> None:
        before = await devices(store)
        await live(store)
        await home.pass_time(0.01)
        for _ in range(2):
            await store.fleets.reset(F)
            assert await devices(store) == before

    async def test_of_data_with_open_times_gives_the_same_again(
        self, make_store: MakeStore, home: StoreHarness
    ) -> None:
        store = await make_store(listed(DeviceSpec(4), DeviceSpec(9, None, *FULL)))
        before = await devices(store)
        await home.pass_time(0.01)
        await store.fleets.reset(F)
        assert await devices(store) == before

    async def test_of_relative_times_takes_them_from_its_own_moment(
        self, make_store: MakeStore, home: StoreHarness
    ) -> None:
        first = listed(
            DeviceSpec(1, HOUR_AGO),
            DeviceSpec(2, HOUR_AGO, *FULL, NOW),
            DeviceSpec(3, None, *FULL, HOUR_AGO),
            DeviceSpec(4),
        )
        store = await make_store(first)
        made_at = (await devices(store))[3].last_attempt_at
        started_at = made_at
        for _ in range(3):
            times = FleetTimes(made_at, started_at)
            assert await devices(store) == [each.made(times) for each in first.devices]
            await start(store, 1, 2, 3, 4)
            await home.pass_time(0.05)
            await store.fleets.reset(F)
            view = await store.queries.fleet(F)
            assert started_at + 0.05 * SECOND <= view.started_at <= view.clock.now
            assert abs(view.started_at - await home.wall()) < MINUTE
            started_at = view.started_at

    async def test_takes_the_counts_back_to_nothing(self, store: Store) -> None:
        await live(store)
        await store.fleets.reset(F)
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.joined, ledger.refused, ledger.succeeded) == (0, 0, 0, 0)
        assert (ledger.failed, ledger.pending, ledger.held, ledger.error_logs) == ({}, 0, 0, 0)
        assert await store.queries.pending() == 0
        assert (await store.queries.stats(F)).attempts == 0

    async def test_numbers_attempts_and_error_logs_as_at_first(self, make_store: MakeStore) -> None:
        store = await make_store(first_fleet(), FAILING)
        for _ in range(2):
            await manual(store)
            (device,) = await start(store, 1)
            assert device.attempt == 1
            await advance(store, 10)
            assert [log.error_id for log in await error_logs(store)] == [1, 2, 3, 4, 5, 6]
            await store.fleets.reset(F)

    async def test_keeps_the_profile_as_it_is_now(self, store: Store) -> None:
        await store.fleets.change_profile(F, lambda _: SUCCEEDING)
        await store.fleets.reset(F)
        assert (await store.queries.fleet(F)).profile == SUCCEEDING

    async def test_brings_the_clock_back_to_the_wall_clock(
        self, store: Store, home: StoreHarness
    ) -> None:
        await live(store)
        await store.fleets.reset(F)
        clock = (await store.queries.fleet(F)).clock
        assert (clock.mode, clock.speed) == ("real", 1)
        assert abs(clock.now - await home.wall()) < MINUTE

    async def test_ends_scripts(self, store: Store) -> None:
        await store.fleets.change_profile(F, lambda _: SUCCEEDING)
        await live(store)
        await store.fleets.reset(F)
        await start(store, 3, 4)
        await store.finisher.settle(F)
        assert [(await store.queries.device(F, each)).sync_status_code for each in (3, 4)] == [
            200,
            200,
        ]

    async def test_lets_nothing_of_before_finish(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(profile=FAILING)
        await start(store, 1, 2, 3)
        await store.fleets.reset(F)
        await hurry(store, home)
        assert await store.finisher.next_due() is None
        assert await finish_all_due(store) == 0
        assert (await store.finisher.settle(F)).finished == 0
        await home.hear()
        assert heard.finishes == {}
        assert heard.changes(F) == []
        assert [each.attempt for each in await devices(store)] == [0] * 20

    async def test_lets_nothing_of_before_be_released(self, store: Store) -> None:
        await hold(store, 1)
        await store.fleets.reset(F)
        (device,) = await start(store, 1)
        assert device.attempt == 1
        assert device.pending is not None
        assert not device.pending.is_held

    async def test_tells_nothing_of_before_after_it_whatever_goes_on_at_once(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(Generated(1000), FAILING)
        first = await devices(store)
        for _ in range(5):
            await hold(store, 1)
            await start(store, *range(2, 1001))
            await hurry(store, home)
            await asyncio.gather(
                store.finisher.settle(F),
                finish_some(store),
                store.fleets.reset(F),
                store.finisher.settle(F),
                finish_some(store),
                store.finisher.release(F, 1, FULL),
                return_exceptions=True,
            )
            await home.hear()
            assert heard.changes(F) == []
            assert (await store.queries.ledger(F)).accepted == 0
            assert await devices(store) == first

    async def test_replays_the_same_history(self, make_store: MakeStore) -> None:
        store = await make_store(profile=Profile(seed=5))

        async def history() -> list[tuple[object, ...]]:
            present = await manual(store)
            for _ in range(5):
                await start(store, *range(1, 21))
                await store.finisher.settle(F)
            return [(*log[:5], log.occurred_at - present) for log in await error_logs(store)]

        first = await history()
        assert len(first) > 10
        await store.fleets.reset(F)
        assert await history() == first

    async def test_of_one_fleet_leaves_the_others(self, store: Store) -> None:
        await store.fleets.put("other", TWENTY, FAILING)
        await manual(store, "other")
        (pending,) = await start(store, 1, fleet="other")
        await store.fleets.reset(F)
        assert await store.queries.device("other", 1) == pending
        assert await advance(store, 10, "other") == 1

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.fleets.reset("other")


async def finish_some(store: Store) -> None:
    for _ in range(20):
        await store.finisher.finish_due(64)


class TestIsolation:
    async def test_of_fleets_with_the_same_ids_that_are_driven_at_once(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await store.fleets.put("failing", TWENTY, FAILING)
        await store.fleets.put("succeeding", TWENTY, SUCCEEDING)
        await store.fleets.put("idle", TWENTY, FAILING)
        idle = await devices(store, "idle")

        async def drive(fleet: str, times: int) -> None:
            for _ in range(times):
                await asyncio.gather(*(start(store, each, fleet=fleet) for each in range(1, 21)))
                await asyncio.gather(store.finisher.settle(fleet), finish_all_due(store))

        await asyncio.gather(drive("failing", 3), drive("succeeding", 5))
        failing, succeeding = [
            await store.queries.ledger(each) for each in ("failing", "succeeding")
        ]
        assert (failing.accepted, failing.error_logs, failing.succeeded) == (60, 60, 0)
        assert failing.failed == {400: {"Storage Full": 60}}
        assert (succeeding.accepted, succeeding.error_logs, succeeding.succeeded) == (100, 0, 100)
        assert succeeding.failed == {}
        assert {each.sync_status_code for each in await devices(store, "failing")} == {400}
        assert {each.sync_status_code for each in await devices(store, "succeeding")} == {200}
        assert [log.error_id for log in await error_logs(store, "failing")] == list(range(1, 61))
        assert await error_logs(store, "succeeding") == []
        assert await devices(store, "idle") == idle
        assert (await store.queries.ledger("idle")).accepted == 0
        await home.hear()
        assert "idle" not in heard.finishes
        assert {
            type(each) for each in heard.changes("succeeding") if not isinstance(each, Device)
        } == set()
        assert sum(isinstance(each, ErrorLog) for each in heard.changes("failing")) == 60

    async def test_of_scripts_clocks_and_profiles(self, store: Store) -> None:
        await store.fleets.put("other", TWENTY, SUCCEEDING)
        await store.fleets.set_script("other", 1, Script((Step(TIMEOUT, 0),), sticky=True))
        await manual(store, "other")
        await store.fleets.change_profile(F, lambda _: FAILING)
        await start(store, 1)
        await store.finisher.settle(F)
        assert (await store.queries.device(F, 1)).error_message == "Storage Full"
        await start(store, 1, 2, fleet="other")
        await store.finisher.settle("other")
        assert (await store.queries.device("other", 1)).error_message == "Connection Timeout"
        assert (await store.queries.device("other", 2)).sync_status_code == 200

    async def test_of_limits(self, store: Store) -> None:
        await store.fleets.put("other", TWENTY, replace(PROFILE, max_pending=1))
        await start(store, *range(1, 11))
        assert len(await start(store, 1, fleet="other")) == 1
        assert await store.queries.pending() == 11


class TestNames:
    @pytest.mark.parametrize("device_id", [0, 21, 2**53 - 1, -1])
    async def test_of_devices_that_are_not_there(self, store: Store, device_id: int) -> None:
        with pytest.raises(NoSuchDevice):
            await store.queries.device(F, device_id)
        with pytest.raises(NoSuchDevice):
            await store.fleets.set_script(F, device_id, None)
        with pytest.raises(NoSuchDevice):
            await store.finisher.release(F, device_id, FULL)

    async def test_of_fleets_may_be_as_long_as_they_can(self, store: Store) -> None:
        name = "a" * 63
        await store.fleets.put(name, TWENTY, PROFILE)
        assert (await store.queries.fleet(name)).name == name

    async def test_that_resemble_each_other_are_different(self, store: Store) -> None:
        await store.fleets.put("a-b", Generated(1), PROFILE)
        await store.fleets.put("ab", Generated(2), PROFILE)
        assert [view.devices for view in await fleets(store)] == [1, 2, 20]


async def test_a_store_is_ready_once_it_is_open(store: Store) -> None:
    await store.ping()
