from collections import Counter
from dataclasses import replace

import pytest

from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import Generated
from pisync.model.outcome import SUCCEEDED
from pisync.model.sync import (
    Change,
    FinishedSync,
    SyncDecision,
    SyncResult,
)
from pisync.stores.base import Store
from tests.stores.conftest import MakeStore
from tests.support.stores.harness import StoreHarness
from tests.support.stores.recording_observer import (
    RecordingObserver,
    Replaced,
)
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
    shuffled,
    start,
)


class TestBegan:
    async def test_tells_what_came_of_every_request(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await store.fleets.change_profile(F, lambda profile: replace(profile, max_pending=1))
        begun = [*await store.starter.begin(F, [3, 4, 99]), *await store.starter.begin(F, [3])]
        assert heard.begun[F] == begun
        assert [each.decision for each in begun] == [
            SyncDecision.STARTED,
            SyncDecision.FULL,
            SyncDecision.UNKNOWN,
            SyncDecision.JOINED,
        ]
        assert begun[2] == SyncResult(SyncDecision.UNKNOWN, None)


class TestFinished:
    async def test_tells_the_device_and_what_a_failure_left(
        self, make_store: MakeStore, heard: RecordingObserver
    ) -> None:
        store = await make_store(profile=FAILING)
        await manual(store)
        await start(store, 7)
        await advance(store, 10)
        (log,) = await error_logs(store)
        assert heard.finishes[F] == [FinishedSync(await store.queries.device(F, 7), log, None)]

    async def test_tells_whose_attempts_they_were(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        generations = []
        for _ in range(2):
            await store.fleets.reset(F)
            generations.append((await store.queries.fleet(F)).generation)
            await hold(store, 7)
            await store.finisher.release(F, 7, SUCCEEDED)
            await manual(store)
            await start(store, 8)
            await store.finisher.settle(F)
        assert heard.generations[F] == [each for each in generations for _ in range(2)]
        assert len(set(generations)) == 2

    async def test_tells_nothing_left_of_a_success(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await hold(store, 7)
        device = await store.finisher.release(F, 7, SUCCEEDED)
        assert heard.finishes[F] == [FinishedSync(device, None, None)]

    async def test_tells_each_end_once(
        self, make_store: MakeStore, heard: RecordingObserver
    ) -> None:
        store = await make_store(Generated(600), FAILING)
        await start(store, *range(1, 601))
        await store.finisher.settle(F)
        assert Counter(heard.order_finished(F)) == Counter(range(1, 601))


class TestChanged:
    async def test_tells_each_device_as_it_begins_and_as_it_finishes(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(profile=SUCCEEDING)
        pending = await start(store, 2, 1)
        await store.finisher.settle(F)
        await home.hear()
        changes = heard.changes(F)
        assert changes[:2] == pending
        assert len(changes) == 4
        finished = [await store.queries.device(F, 1), await store.queries.device(F, 2)]
        assert sorted(changes[2:]) == sorted(finished)

    async def test_tells_an_error_log_right_after_its_device(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(profile=FAILING)
        await start(store, *shuffled(range(1, 21), 2))
        await store.finisher.settle(F)
        await home.hear()
        ends = heard.changes(F)[20:]
        logs = await error_logs(store)
        assert ends[1::2] == logs
        assert ends[0::2] == [await store.queries.device(F, log.device_id) for log in logs]

    async def test_tells_of_a_release(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        held = await hold(store, 7)
        released = await store.finisher.release(F, 7, FULL)
        await home.hear()
        assert heard.changes(F) == [held, released, *await error_logs(store)]

    async def test_tells_nothing_of_requests_that_began_nothing(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await start(store, 1)
        await store.starter.begin(F, [1, 99])
        await store.starter.begin(F, [])
        await home.hear()
        assert len(heard.changes(F)) == 1

    async def test_lets_one_who_only_listens_know_every_device(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(profile=replace(PROFILE, seed=17))
        known = {device.device_id: device for device in await devices(store)}
        logs: list[ErrorLog] = []
        for turn in range(4):
            await store.starter.begin(F, shuffled(range(1, 21), turn)[:10])
            if turn % 2:
                await hurry(store, home)
                await finish_all_due(store)
        await hold(store, 1)
        await home.hear()
        for change in heard.changes(F):
            if isinstance(change, Device):
                known[change.device_id] = change
            else:
                logs.append(change)
        assert list(known.values()) == await devices(store)
        assert logs == await error_logs(store)

    async def test_names_each_change(
        self, make_store: MakeStore, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        store = await make_store(profile=FAILING)
        await store.fleets.put("other", TWENTY, FAILING)
        for fleet in (F, "other"):
            await start(store, *range(1, 21), fleet=fleet)
            await store.finisher.settle(fleet)
        await home.hear()
        names = [
            each.event_id
            for events in heard.events.values()
            for each in events
            if isinstance(each, Change)
        ]
        assert len(names) == len(set(names)) == 120
        assert all(name.isascii() and name.replace("-", "a").isalnum() for name in names)

    async def test_tells_of_its_fleet_alone(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await store.fleets.put("other", TWENTY, FAILING)
        await start(store, 1)
        await home.hear()
        assert heard.changes("other") == []
        assert len(heard.changes(F)) == 1


class TestReplaced:
    @pytest.mark.parametrize("how", ["made", "replaced", "reset", "deleted"])
    async def test_tells_that_what_was_known_holds_no_more(
        self, store: Store, home: StoreHarness, heard: RecordingObserver, how: str
    ) -> None:
        if how != "made":
            await store.fleets.put("other", TWENTY, FAILING)
            await start(store, 1, fleet="other")
            await home.hear()
            heard.events.clear()
        match how:
            case "reset":
                await store.fleets.reset("other")
            case "deleted":
                await store.fleets.delete("other")
            case _:
                await store.fleets.put("other", TWENTY, FAILING)
        await home.hear()
        assert heard.events == {"other": [Replaced()]}

    async def test_comes_before_all_that_happens_after_it(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await start(store, 1)
        await store.fleets.reset(F)
        (device,) = await start(store, 2)
        await home.hear()
        changes = [each.what if isinstance(each, Change) else each for each in heard.events[F]]
        assert changes[1:] == [Replaced(), device]

    async def test_has_been_told_once_the_call_has_answered(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        for _ in range(20):
            for name, call in (
                (F, store.fleets.reset(F)),
                ("other", store.fleets.put("other", TWENTY, PROFILE)),
                ("other", store.fleets.delete("other")),
            ):
                heard.forget()
                await call
                assert heard.events == {name: [Replaced()]}


class TestDueIn:
    async def test_tells_when_there_will_be_something_to_do(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await start(store, 1)
        assert heard.due
        assert 5 < heard.due[-1] <= 10

    async def test_tells_it_anew_when_time_runs_faster(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await start(store, 1)
        heard.due.clear()
        await store.finisher.set_clock(F, 100)
        assert heard.due
        assert heard.due[-1] <= 0.1

    async def test_tells_it_when_a_manual_clock_runs_again(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await manual(store)
        heard.due.clear()
        await start(store, 1)
        assert heard.due == []
        await store.finisher.set_clock(F, 1)
        assert heard.due
        assert heard.due[-1] <= 10

    async def test_tells_nothing_where_time_hardly_runs(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await store.finisher.set_clock(F, 5e-324)
        await start(store, 7)
        await store.finisher.set_clock(F, 1e-320)
        await home.hear()
        assert heard.due == []
        assert await store.finisher.next_due() is None
        await hurry(store, home)
        assert await finish_all_due(store) == 1

    async def test_tells_nothing_of_what_is_held(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await hold(store, 1)
        assert heard.due == []


async def test_no_connection_was_lost(
    store: Store, home: StoreHarness, heard: RecordingObserver
) -> None:
    await start(store, 1)
    await store.finisher.settle(F)
    await home.hear()
    assert heard.misses == 0


async def test_a_store_tells_nobody_what_was_refused(
    store: Store, home: StoreHarness, heard: RecordingObserver
) -> None:
    generation = (await store.queries.fleet(F)).generation
    await store.fleets.reset(F)
    await home.hear()
    heard.events.clear()
    for call in (
        store.starter.begin(F, [1], generation=generation),
        store.finisher.release(F, 1, TIMEOUT),
        store.finisher.advance(F, 1),
        store.fleets.delete(F),
    ):
        with pytest.raises(Exception, match=r"\w"):
            await call
    await home.hear()
    assert heard.events == {}
    assert heard.begun == {}
    assert heard.finishes == {}
