"""Pages of devices and error logs, against a model that looks at every one of them."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pisync.model.device import MAX_DEVICE_ID, Device, DevicePage, ErrorFilter, ErrorLog, ErrorPage
from pisync.model.fleet import DeviceSpec, Generated, Listed
from pisync.model.outcome import FAILURES, STATUS_CODES, SUCCESS
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet
from tests.stores.conftest import MakeStore
from tests.support.stores.short import (
    FAILING,
    FULL,
    PROFILE,
    TIMEOUT,
    TWENTY,
    F,
    advance,
    devices,
    error_logs,
    hold,
    manual,
    now,
    planned,
    start,
)

NOON = 1_763_640_000 * SECOND

# Each example fills a fleet of its own anew, so that all may share one store.
on_one_store = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def failed(device_id: int, code: int) -> DeviceSpec:
    return DeviceSpec(device_id, None, code, f"Failed with {code}", NOON)


def full(error_id: int, device_id: int, attempt: int, occurred_at: int) -> ErrorLog:
    return ErrorLog(error_id, device_id, attempt, 400, "Storage Full", occurred_at)


@st.composite
def listed_fleets(draw: st.DrawFn) -> Listed:
    """Fleets of few devices in any status, and many error logs of them."""
    device_ids = draw(
        st.lists(
            st.integers(1, 30) | st.integers(1, MAX_DEVICE_ID),
            min_size=1,
            max_size=12,
            unique=True,
        )
    )
    specs = []
    for device_id in sorted(device_ids):
        code = draw(st.sampled_from((SUCCESS, *FAILURES)))
        specs.append(DeviceSpec(device_id) if code == SUCCESS else failed(device_id, code))
    logs = draw(
        st.lists(
            st.tuples(
                st.sampled_from(device_ids), st.sampled_from(FAILURES), st.integers(NOON, NOON + 5)
            ),
            max_size=20,
        )
    )
    return Listed(
        specs,
        [
            ErrorLog(error_id, device_id, 0, code, f"Failed with {code}", occurred_at)
            for error_id, (device_id, code, occurred_at) in enumerate(logs, start=1)
        ],
    )


LIMITS = st.integers(1, 15)


class TestDevices:
    @on_one_store
    @given(
        first=listed_fleets(),
        pending=st.sets(st.integers(0, 11)),
        after=st.integers(0, 30) | st.integers(0, MAX_DEVICE_ID),
        limit=LIMITS,
        statuses=st.none() | st.frozensets(st.sampled_from(STATUS_CODES)),
    )
    async def test_are_a_page_of_what_the_filter_lets_through(
        self,
        store: Store,
        first: Listed,
        pending: set[int],
        after: int,
        limit: int,
        statuses: frozenset[int] | None,
    ) -> None:
        await store.fleets.put("pages", first, PROFILE)
        chosen = [spec.device_id for place, spec in enumerate(first.devices) if place in pending]
        await start(store, *chosen, fleet="pages")
        made = {device.device_id: device for device in await devices(store, "pages")}
        assert sorted(made) == [spec.device_id for spec in first.devices]
        assert [each for each, device in made.items() if device.is_pending] == chosen

        page = await store.queries.devices("pages", after=after, limit=limit, statuses=statuses)
        passing = [
            device
            for _, device in sorted(made.items())
            if statuses is None or device.sync_status_code in statuses
        ]
        following = [device for device in passing if device.device_id > after]
        assert page.devices == following[:limit]
        assert page.total == len(passing)
        assert page.more == (len(following) > limit)

    @pytest.mark.parametrize("limit", [1, 7, 50])
    @pytest.mark.parametrize("statuses", [None, frozenset({202}), frozenset({200, 202})])
    async def test_are_each_on_one_page_only(
        self, make_store: MakeStore, limit: int, statuses: frozenset[int] | None
    ) -> None:
        store = await make_store(Generated(50))
        await start(store, *range(1, 51, 3))
        found: list[Device] = []
        more = True
        while more:
            after = found[-1].device_id if found else 0
            page = await store.queries.devices(F, after=after, limit=limit, statuses=statuses)
            assert len(page.devices) <= limit
            found += page.devices
            more = page.more
        expected = [
            device
            for device in await devices(store)
            if statuses is None or device.sync_status_code in statuses
        ]
        assert found == expected

    async def test_are_found_by_the_status_that_they_have_now(self, make_store: MakeStore) -> None:
        store = await make_store(profile=FAILING)
        await manual(store)

        async def having(*statuses: int) -> Sequence[int]:
            page = await store.queries.devices(F, after=0, limit=100, statuses=frozenset(statuses))
            assert page.total == len(page.devices)
            return [device.device_id for device in page.devices]

        await start(store, 3, 5)
        await hold(store, 9)
        assert await having(202) == [3, 5, 9]
        await advance(store, 10)
        assert await having(202) == [9]
        assert await having(400) == [3, 5]
        assert await having(400, 202) == [3, 5, 9]
        await store.finisher.release(F, 9, TIMEOUT)
        assert await having(500) == [9]
        assert len(await having(200)) == 17
        await start(store, 3)
        assert await having(400) == [5]

    async def test_with_the_same_version_are_equal(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(300), FAILING)
        seen: dict[tuple[object, ...], DevicePage] = {}
        again = 0
        for turn in range(60):
            await change(store, turn)
            for after, limit, statuses in (
                (0, 1000, None),
                (0, 100, None),
                (100, 64, None),
                (250, 1, None),
                (299, 5, None),
                (0, 100, frozenset({200})),
            ):
                page = await store.queries.devices(F, after=after, limit=limit, statuses=statuses)
                if page.version is not None:
                    key = (after, limit, statuses, page.version)
                    again += key in seen
                    assert page == seen.setdefault(key, page)
        # A store that gives none breaks no promise.
        assert again > 0 or not seen

    async def test_that_are_known_already_may_come_without_the_devices(
        self, make_store: MakeStore
    ) -> None:
        store = await make_store(Generated(300))

        async def ask(known: Hashable = None) -> DevicePage:
            return await store.queries.devices(F, after=50, limit=100, statuses=None, known=known)

        page = await ask()
        assert len(page.devices) == 100
        same = await ask(page.version)
        assert same.version == page.version
        assert same in (page, page._replace(devices=[]))
        await start(store, 100)
        after = await ask(page.version)
        assert after.devices[49].is_pending
        assert len(after.devices) == 100
        await store.fleets.reset(F)
        assert (await ask(after.version)).devices == page.devices

    async def test_that_are_current_are_the_same_if_they_are_asked_for_again(
        self, make_store: MakeStore
    ) -> None:
        store = await make_store(Generated(300), FAILING)
        queries = store.queries
        questions: list[Callable[[], Awaitable[DevicePage | ErrorPage]]] = [
            *(partial(queries.devices, F, after=60, limit=n, statuses=None) for n in (3, 100)),
            partial(queries.errors, F, ErrorFilter(), 5),
            partial(queries.errors, F, ErrorFilter(device_id=38), 5),
        ]
        pages = {question: await question() for question in questions}
        current = changed = 0
        for turn in range(60):
            await change(store, turn)
            for question, page in pages.items():
                now = await question()
                if queries.is_current(F, page.version):
                    current += 1
                    assert now == page
                changed += now != page
                pages[question] = now
        assert changed > 40
        # A store that never knows without being asked breaks no promise.
        assert current > 40 or not any(queries.is_current(F, p.version) for p in pages.values())
        assert not any(queries.is_current("other", page.version) for page in pages.values())

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.queries.devices("other", after=0, limit=1, statuses=None)


FILTERS = st.builds(
    ErrorFilter,
    before=st.none() | st.integers(0, 25) | st.just(2**53),
    device_id=st.none() | st.integers(1, 30) | st.just(MAX_DEVICE_ID),
    statuses=st.none() | st.frozensets(st.sampled_from((*FAILURES, 200))),
    since=st.none() | st.integers(NOON - 1, NOON + 6),
)


async def change(store: Store, turn: int) -> None:
    """Change the fleet, one way or another."""
    match turn % 6:
        case 3:
            await store.finisher.settle(F)
        case 5 if turn == 29:
            await store.fleets.reset(F)
        case 5 if turn == 47:
            await store.fleets.put(F, Generated(290), FAILING)
        case _:
            await store.starter.begin(F, [turn * 37 % 310 + 1])


def passes(log: ErrorLog, which: ErrorFilter) -> bool:
    return (
        (which.before is None or log.error_id < which.before)
        and (which.device_id is None or log.device_id == which.device_id)
        and (which.statuses is None or log.sync_status_code in which.statuses)
        and (which.since is None or log.occurred_at >= which.since)
    )


class TestErrors:
    @on_one_store
    @given(first=listed_fleets(), which=FILTERS, limit=LIMITS, data=st.data())
    async def test_are_a_page_of_what_the_filter_lets_through_newest_first(
        self, store: Store, first: Listed, which: ErrorFilter, limit: int, data: st.DataObject
    ) -> None:
        await store.fleets.put("pages", first, FAILING)
        if data.draw(st.booleans(), "of a device that is there"):
            device_id = data.draw(st.sampled_from(first.devices), "device").device_id
            which = ErrorFilter(which.before, device_id, which.statuses, which.since)
        page = await store.queries.errors("pages", which, limit)
        passing = [log for log in reversed(first.error_logs) if passes(log, which)]
        assert page.error_logs == passing[:limit]
        assert page.more == (len(passing) > limit)

    async def test_are_those_of_first_data_and_those_since(self, make_store: MakeStore) -> None:
        logs = [full(1, 2, 0, NOON)]
        store = await make_store(Listed([failed(2, 400), failed(3, 500)], logs), FAILING)
        present = await manual(store)
        await planned(store, {2: 10, 3: 11}, FULL)
        await advance(store, 11)
        due = present + 10 * SECOND
        logs += [full(2, 2, 1, due), full(3, 3, 1, due + SECOND)]
        assert await error_logs(store) == logs
        of_two = await store.queries.errors(F, ErrorFilter(device_id=2), 10)
        assert of_two.error_logs == [logs[1], logs[0]]
        since = await store.queries.errors(F, ErrorFilter(since=due), 10)
        assert since.error_logs == [logs[2], logs[1]]

    async def test_are_paged_by_the_last_ones_id_though_new_ones_come(
        self, make_store: MakeStore
    ) -> None:
        store = await make_store(profile=FAILING)
        found: list[int] = []
        await start(store, *range(1, 21))
        await store.finisher.settle(F)
        more = True
        while more:
            before = found[-1] if found else None
            page = await store.queries.errors(F, ErrorFilter(before=before), 3)
            found += [log.error_id for log in page.error_logs]
            more = page.more
            await start(store, 1)
            await store.finisher.settle(F)
        assert found == list(range(20, 0, -1))

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.queries.errors("other", ErrorFilter(), 1)


class TestEviction:
    async def test_takes_the_oldest_first(self, make_store: MakeStore) -> None:
        store = await make_store(profile=FAILING, max_error_logs=25)
        for _ in range(3):
            await start(store, *range(1, 21))
            await store.finisher.settle(F)
        logs = await error_logs(store)
        assert [log.error_id for log in logs] == list(range(36, 61))
        assert (await store.queries.stats(F)).error_logs == 25
        # What was written stays in the ledger, so that it balances.
        ledger = await store.queries.ledger(F)
        assert ledger.error_logs == 60
        assert ledger.balanced

    async def test_takes_from_first_data_that_is_too_much(self, make_store: MakeStore) -> None:
        logs = [full(error_id, 2, 0, NOON) for error_id in range(1, 11)]
        store = await make_store(Listed([failed(2, 400)], logs), FAILING, max_error_logs=4)
        assert await error_logs(store) == logs[6:]
        await start(store, 2)
        await store.finisher.settle(F)
        assert [log.error_id for log in await error_logs(store)] == [8, 9, 10, 11]

    async def test_leaves_first_data_that_there_is_room_for(self, make_store: MakeStore) -> None:
        logs = [full(error_id, 2, 0, NOON) for error_id in range(1, 11)]
        store = await make_store(Listed([failed(2, 400)], logs), FAILING, max_error_logs=12)
        assert await error_logs(store) == logs
        assert (await store.queries.stats(F)).error_logs == 10

    async def test_is_each_fleets_own(self, make_store: MakeStore) -> None:
        store = await make_store(profile=FAILING, max_error_logs=10)
        await store.fleets.put("other", TWENTY, FAILING)
        await start(store, 1, fleet="other")
        await store.finisher.settle("other")
        await start(store, *range(1, 21))
        await store.finisher.settle(F)
        assert len(await error_logs(store)) == 10
        assert len(await error_logs(store, "other")) == 1

    async def test_starts_anew_after_a_reset(self, make_store: MakeStore) -> None:
        store = await make_store(profile=FAILING, max_error_logs=3)
        for _ in range(2):
            await start(store, *range(1, 6))
            await store.finisher.settle(F)
            assert [log.error_id for log in await error_logs(store)] == [3, 4, 5]
            await store.fleets.reset(F)
            assert await error_logs(store) == []

    @on_one_store
    @given(
        rounds=st.lists(st.sets(st.integers(1, 5), min_size=1), min_size=1, max_size=6),
        which=FILTERS,
        device_id=st.none() | st.integers(1, 6),
        limit=LIMITS,
    )
    async def test_leaves_pages_of_what_is_kept(
        self,
        few_logs: Store,
        rounds: list[set[int]],
        which: ErrorFilter,
        device_id: int | None,
        limit: int,
    ) -> None:
        await few_logs.fleets.put("pages", Generated(5), FAILING)
        await manual(few_logs, "pages")
        written: list[ErrorLog] = []
        attempts = dict.fromkeys(range(1, 6), 0)
        for device_ids in rounds:
            present = await now(few_logs, "pages")
            delays = {each: each for each in device_ids}
            await planned(few_logs, delays, FULL, fleet="pages")
            await few_logs.finisher.settle("pages")
            for each in sorted(device_ids):
                attempts[each] += 1
                occurred_at = present + each * SECOND
                written.append(full(len(written) + 1, each, attempts[each], occurred_at))
        which = ErrorFilter(which.before, device_id, which.statuses)
        page = await few_logs.queries.errors("pages", which, limit)
        kept = islice(reversed(written), 7)
        passing = [log for log in kept if passes(log, which)]
        assert page.error_logs == passing[:limit]
        assert page.more == (len(passing) > limit)

    @pytest.fixture
    async def few_logs(self, make_store: MakeStore) -> Store:
        """A store that keeps seven error logs of a fleet."""
        return await make_store(max_error_logs=7)
