"""Snapshots: fleets are read as they are at one moment, and go on from there elsewhere."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from pisync.model.clock import AUTO
from pisync.model.fleet import DeviceSpec, FleetTimes, Generated, Listed
from pisync.model.outcome import SUCCEEDED
from pisync.model.plans.delay import UniformDelay
from pisync.model.plans.script import Script, Step
from pisync.model.plans.traffic import Traffic
from pisync.model.requests.fault import FaultRule, ResetFault
from pisync.model.requests.fault_draw import CallOfUser
from pisync.model.snapshot import Snapshot, SnapshotPart
from pisync.model.timestamp import SECOND, RelativeMoment
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet
from tests.stores.conftest import MakeStore, Reopen
from tests.support.stores.harness import DURABLE, StoreHarness
from tests.support.stores.recording_observer import RecordingObserver, Replaced
from tests.support.stores.short import (
    FULL,
    PROFILE,
    TIMEOUT,
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

COPY = "copy"
RULE = FaultRule(("sync",), ResetFault(), None, 0.5, None, is_after=False)


async def copy(store: Store, name: str = COPY, source: str = F) -> bool:
    """Make a fleet of a snapshot; return whether it is new."""
    async with store.snapshots.take(source) as snapshot:
        view, is_new = await store.snapshots.restore(name, snapshot)
    assert view.name == name
    return is_new


async def fill(store: Store, fleet: str = F) -> None:
    """Bring a fleet into all states that there are, on a manual clock."""
    await manual(store, fleet)
    await planned(store, {1: 1, 2: 2}, fleet=fleet)
    await planned(store, {3: 3}, FULL, fleet=fleet)
    await advance(store, 5, fleet)
    await planned(store, {3: 1}, TIMEOUT, fleet=fleet)
    await advance(store, 5, fleet)
    await hold(store, 4, fleet=fleet)
    await store.fleets.set_script(fleet, 8, Script((Step(FULL, polls=3),)))
    await start(store, 8, fleet=fleet)
    await store.acting_reads.device(fleet, 8)
    await planned(store, {5: 30}, TIMEOUT, fleet=fleet)
    script = Script((Step(FULL, SECOND), Step(TIMEOUT, SECOND), Step(SUCCEEDED)), sticky=True)
    await store.fleets.set_script(fleet, 6, script)
    await start(store, 6, 7, 20, fleet=fleet)
    await store.starter.begin(fleet, [7])
    await store.requests.set_faults(fleet, (RULE,))
    await store.fleets.change_profile(fleet, lambda same: same, journal=50)
    for user in ("ada", "bob", "ada"):
        await store.requests.meet_fault(fleet, CallOfUser("sync", 7, user))


async def state(store: Store, fleet: str) -> dict[str, Any]:
    """Return all that can be seen of a fleet, its name aside."""
    view = await store.queries.fleet(fleet)
    return {
        "view": view._replace(name="", generation=0),
        "devices": await devices(store, fleet),
        "error_logs": await error_logs(store, fleet),
        "stats": await store.queries.stats(fleet),
        "ledger": await store.queries.ledger(fleet),
        "faults": await store.requests.faults(fleet),
    }


async def go_on(store: Store, fleet: str) -> list[Any]:
    """Do more to a fleet; return what came of it."""
    met = [
        await store.requests.meet_fault(fleet, CallOfUser("sync", 7, user))
        for user in ("ada", "bob", "eve") * 5
    ]
    read = [await store.acting_reads.device(fleet, 8) for _ in range(3)]
    assert [device.sync_status_code for device in read] == [202, 202, 400]
    released = await store.finisher.release(fleet, 4, SUCCEEDED)
    moved = [await advance(store, seconds, fleet) for seconds in (1, 5, 60)]
    for _ in range(3):
        await store.starter.begin(fleet, range(1, 21))
        await store.finisher.settle(fleet)
    return [met, released, moved, read]


class TestCopies:
    async def test_are_what_the_fleet_is(self, store: Store) -> None:
        await fill(store)
        assert await copy(store)
        assert await state(store, COPY) == await state(store, F)
        assert (await store.queries.ledger(COPY)).balanced

    async def test_go_on_as_the_fleet_does(self, store: Store) -> None:
        await fill(store)
        await copy(store)
        assert await go_on(store, COPY) == await go_on(store, F)
        assert await state(store, COPY) == await state(store, F)
        assert (await store.queries.stats(COPY)).pending == 0

    async def test_are_fleets_of_their_own(self, store: Store) -> None:
        await fill(store)
        await copy(store)
        before = await state(store, COPY)
        await go_on(store, F)
        assert await state(store, COPY) == before

    async def test_take_the_place_of_a_fleet(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await store.fleets.put(COPY, Generated(3), replace(PROFILE, seed=1), ttl=60)
        await start(store, 1, fleet=COPY)
        await home.hear()
        heard.forget()
        await fill(store)
        assert not await copy(store)
        assert await state(store, COPY) == await state(store, F)
        await home.hear()
        assert heard.events[COPY] == [Replaced()]

    async def test_begin_anew_with_a_reset(self, store: Store) -> None:
        await fill(store)
        await copy(store)
        await store.fleets.reset(COPY)
        assert {device.attempt for device in await devices(store, COPY)} == {0}
        stats = await store.queries.stats(COPY)
        assert (stats.attempts, stats.pending, stats.error_logs) == (0, 0, 0)

    async def test_keep_relative_times_relative(
        self, make_store: MakeStore, home: StoreHarness
    ) -> None:
        hour_ago = RelativeMoment(3600)
        first = Listed([DeviceSpec(1, hour_ago), DeviceSpec(2, hour_ago, *FULL, RelativeMoment(0))])
        store = await make_store(first)
        await home.pass_time(0.01)
        # What `made_at` says is then another moment than that of the reset.
        await store.fleets.reset(F)
        await start(store, 1)
        await home.pass_time(0.01)
        await manual(store)
        await copy(store)
        assert await state(store, COPY) == await state(store, F)
        await home.pass_time(0.01)
        await store.fleets.reset(COPY)
        started_at = (await store.queries.fleet(COPY)).started_at
        assert started_at > (await store.queries.fleet(F)).started_at
        assert await devices(store, COPY) == [
            each.made(FleetTimes(0, started_at)) for each in first.devices
        ]

    async def test_of_a_fleet_that_nothing_happened_to(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(3000))
        await copy(store)
        assert await devices(store, COPY) == await devices(store, F)
        assert (await store.queries.stats(COPY)).devices == 3000

    async def test_of_many_devices_of_which_some_differ(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(9000))
        await manual(store)
        await start(store, 1, 2, 3500, 3600, 9000)
        await copy(store)
        for first in range(0, 9000, 1000):
            pages = [
                await store.queries.devices(fleet, after=first, limit=1000, statuses=None)
                for fleet in (F, COPY)
            ]
            assert pages[0].devices == pages[1].devices
            assert len(pages[0].devices) == 1000
        assert (await store.queries.stats(COPY)).pending == 5

    async def test_keep_as_many_error_logs_as_there_are(self, make_store: MakeStore) -> None:
        store = await make_store(max_error_logs=3)
        await manual(store)
        await planned(store, dict.fromkeys(range(1, 8), 1), FULL)
        await store.finisher.settle(F)
        await copy(store)
        assert [log.error_id for log in await error_logs(store, COPY)] == [5, 6, 7]
        await planned(store, {9: 1}, FULL, fleet=COPY)
        await store.finisher.settle(COPY)
        assert [log.error_id for log in await error_logs(store, COPY)] == [6, 7, 8]

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await copy(store, source="nowhere")
        with pytest.raises(NoSuchFleet):
            await store.queries.fleet(COPY)


class TestTime:
    async def test_pending_syncs_have_the_time_left_that_they_had(
        self, store: Store, home: StoreHarness
    ) -> None:
        await store.fleets.put("real", TWENTY, PROFILE)
        await planned(store, {1: 0.5, 2: 3600}, fleet="real")
        await copy(store, source="real")
        await store.fleets.delete("real")
        assert (await store.queries.stats(COPY)).pending == 2
        await home.pass_time(0.7)
        assert await finish_all_due(store) == 1
        assert [device.is_pending for device in await devices(store, COPY)][:2] == [False, True]
        assert (await store.queries.ledger(COPY)).balanced

    async def test_the_loop_is_told_when_something_falls_due(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await manual(store)
        await start(store, 1)
        await store.finisher.set_clock(F, 1)
        await home.hear()
        heard.forget()
        await copy(store)
        await home.hear()
        assert [seconds for seconds in heard.due if seconds <= 10]
        assert (await store.finisher.next_due() or 99) <= 10

    async def test_goes_on_at_its_speed(self, store: Store, home: StoreHarness) -> None:
        await store.finisher.set_clock(F, 1000)
        await home.pass_time(0.1)
        await copy(store)
        view = await store.queries.fleet(COPY)
        assert view.clock.speed == 1000
        await home.pass_time(0.1)
        assert await now(store, COPY) - view.clock.now >= 100 * SECOND

    async def test_a_clock_that_moves_itself_is_one_in_the_copy(self, store: Store) -> None:
        present = (await store.finisher.set_clock(F, *AUTO)).now
        await copy(store)
        clock = (await store.queries.fleet(COPY)).clock
        assert (clock.mode, clock.now) == ("auto", present)

    async def test_a_ttl_counts_from_now_and_default_has_none(self, store: Store) -> None:
        await store.fleets.put("short", TWENTY, PROFILE, ttl=60)
        await copy(store, source="short")
        assert (await store.queries.fleet(COPY)).ttl == 60
        await copy(store, F, source="short")
        assert (await store.queries.fleet(F)).ttl is None


class TestMoments:
    async def test_what_happens_meanwhile_is_not_in_it(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(5000))
        await fill(store)
        before = await state(store, F)
        async with store.snapshots.take(F) as snapshot:
            await go_on(store, F)
            await store.starter.begin(F, range(4000, 5001))
            await store.fleets.set_script(F, 9, Script((Step(FULL),)))
            await store.snapshots.restore(COPY, snapshot)
        assert await state(store, COPY) == before

    async def test_two_at_a_time(self, store: Store) -> None:
        await fill(store)
        before = await state(store, F)
        async with store.snapshots.take(F) as first:
            await start(store, 9)
            async with store.snapshots.take(F) as second:
                await start(store, 10)
                await store.snapshots.restore("second", second)
            await store.snapshots.restore("first", first)
        assert await state(store, "first") == before
        assert (await store.queries.device("second", 9)).is_pending
        assert not (await store.queries.device("second", 10)).is_pending

    async def test_the_fleet_may_be_deleted_meanwhile(self, store: Store) -> None:
        await store.fleets.put("short", TWENTY, PROFILE)
        await fill(store, "short")
        before = await state(store, "short")
        async with store.snapshots.take("short") as snapshot:
            await store.fleets.delete("short")
            await store.snapshots.restore(COPY, snapshot)
        assert await state(store, COPY) == before


class TestFailures:
    async def test_change_nothing(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await fill(store)
        await copy(store)
        await start(store, 9, fleet=COPY)
        before = await state(store, COPY)
        await home.hear()
        heard.forget()
        async with store.snapshots.take(F) as snapshot:
            for name in (COPY, "other"):
                with pytest.raises(ZeroDivisionError):
                    await store.snapshots.restore(name, Snapshot(snapshot.head, _failing()))
        await home.hear()
        assert heard.events == {}
        assert await state(store, COPY) == before
        with pytest.raises(NoSuchFleet):
            await store.queries.fleet("other")


async def _failing() -> AsyncIterator[SnapshotPart]:
    yield SnapshotPart()
    raise ZeroDivisionError


@pytest.mark.parametrize("home", DURABLE, indirect=True)
class TestDurability:
    async def test_survives_the_process(self, store: Store, reopen: Reopen) -> None:
        await fill(store)
        await copy(store)
        before = await state(store, COPY)
        store = await reopen()
        assert await state(store, COPY) == before
        assert await go_on(store, COPY) == await go_on(store, F)
        assert await state(store, COPY) == await state(store, F)

    async def test_what_came_to_nothing_leaves_nothing(self, store: Store, reopen: Reopen) -> None:
        await fill(store)
        async with store.snapshots.take(F) as snapshot:
            with pytest.raises(ZeroDivisionError):
                await store.snapshots.restore(COPY, Snapshot(snapshot.head, _failing()))
        store = await reopen()
        assert [fleet.name for fleet in (await store.queries.fleets(after="", limit=9)).fleets] == [
            F
        ]


class TestLivingFleets:
    async def test_go_on_as_the_first_would_have(self, store: Store) -> None:
        living = replace(PROFILE, traffic=Traffic(UniformDelay(60, 120), 0.8))
        await store.fleets.put("live", TWENTY, living)
        await manual(store, "live")
        await advance(store, 150, "live")
        await start(store, *sorted(set(range(1, 21)) - await pending(store)), fleet="live")
        before = await state(store, "live")
        await copy(store, source="live")
        assert await state(store, COPY) == before
        for _ in range(3):
            for fleet in ("live", COPY):
                await advance(store, 170, fleet)
            assert await state(store, COPY) == await state(store, "live")
        assert (await store.queries.stats(COPY)).attempts > 80

    async def test_before_anything_has_begun(self, store: Store) -> None:
        living = replace(PROFILE, traffic=Traffic(UniformDelay(60, 120)))
        await store.fleets.put("live", TWENTY, living)
        await manual(store, "live")
        await copy(store, source="live")
        for fleet in ("live", COPY):
            await advance(store, 300, fleet)
        assert await state(store, COPY) == await state(store, "live")


async def pending(store: Store) -> set[int]:
    return {each.device_id for each in await devices(store, "live") if each.is_pending}
