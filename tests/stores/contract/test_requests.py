"""Faults and journals: what stores keep of requests, the same on all of them."""

import asyncio

import pytest

from pisync.model.fleet import Generated
from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.profile import Profile
from pisync.model.requests.fault import (
    CloseFault,
    DelayFault,
    FaultRule,
    ResetFault,
    StatusFault,
)
from pisync.model.requests.fault_draw import CallOfUser, MetFault, draw_fault
from pisync.model.requests.journal import JournalEntry, RequestFilter
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet
from tests.stores.conftest import Reopen
from tests.support.stores.harness import DURABLE
from tests.support.stores.short import PROFILE, F

ALICE = CallOfUser("sync", 7, "alice")
RESETS = FaultRule(("sync",), ResetFault(), share=0.5)
FIRST = FaultRule(("sync", "device"), StatusFault(429, 3), frozenset((7,)), first=2, is_after=True)


async def met(store: Store, call: CallOfUser = ALICE, times: int = 1) -> list[MetFault | None]:
    return [await store.requests.meet_fault(F, call) for _ in range(times)]


def drawn(
    rules: tuple[FaultRule, ...], call: CallOfUser, requests: int, profile: Profile = PROFILE
) -> list[MetFault | None]:
    return [draw_fault(profile.seed, rules, call, earlier) for earlier in range(requests)]


class TestFaults:
    async def test_without_rules_there_are_none(self, store: Store) -> None:
        assert not store.requests.is_watched("nowhere")
        assert await store.requests.faults(F) == []
        assert await met(store) == [None]

    async def test_are_drawn_for_each_user_device_and_call_by_itself(self, store: Store) -> None:
        await store.requests.set_faults(F, (RESETS,))
        assert store.requests.is_watched(F)
        bob, other = ALICE._replace(user="bob"), ALICE._replace(device_id=8)
        found: dict[CallOfUser, list[MetFault | None]] = {ALICE: [], bob: [], other: []}
        for _ in range(20):
            for call in found:
                found[call] += await met(store, call)
        assert found == {call: drawn((RESETS,), call, 20) for call in found}
        assert len({tuple(map(bool, faults)) for faults in found.values()}) == 3

    async def test_of_several_rules_the_first_that_hits_counts(self, store: Store) -> None:
        await store.requests.set_faults(F, (RESETS, FIRST))
        faults = await met(store, times=6)
        assert faults == drawn((RESETS, FIRST), ALICE, 6)
        hits = [sum(each is not None and each.rule == place for each in faults) for place in (0, 1)]
        assert await store.requests.faults(F) == [(RESETS, hits[0]), (FIRST, hits[1])]
        ledger = await store.queries.ledger(F)
        expected = {"before": {"reset": hits[0]}, "after": {"status": hits[1]}}
        assert {
            when: {k: n for k, n in kinds.items() if n} for when, kinds in expected.items()
        } == (ledger.faults)
        assert ledger.balanced

    async def test_requests_that_no_rule_is_about_are_not_counted(self, store: Store) -> None:
        await store.requests.set_faults(F, (FIRST,))
        assert await met(store, ALICE._replace(device_id=8)) == [None]
        assert await met(store, CallOfUser("stats", 0, "alice")) == [None]
        assert await store.requests.faults(F) == [(FIRST, 0)]

    async def test_new_rules_count_anew_and_the_ledger_goes_on(self, store: Store) -> None:
        for _ in range(2):
            await store.requests.set_faults(F, (FIRST,))
            assert [fault is not None for fault in await met(store, times=3)] == [True, True, False]
            assert await store.requests.faults(F) == [(FIRST, 2)]
        assert (await store.queries.ledger(F)).faults == {"before": {}, "after": {"status": 4}}
        await store.requests.set_faults(F, ())
        assert await met(store) == [None]
        assert (await store.queries.ledger(F)).faults == {"before": {}, "after": {"status": 4}}

    async def test_a_reset_takes_them_back_to_their_beginning(self, store: Store) -> None:
        await store.requests.set_faults(F, (RESETS, FIRST))
        first = await met(store, times=8)
        await store.fleets.reset(F)
        assert await store.requests.faults(F) == [(RESETS, 0), (FIRST, 0)]
        assert (await store.queries.ledger(F)).faults == {"before": {}, "after": {}}
        assert await met(store, times=8) == first

    async def test_a_replacement_has_none_and_a_deletion_takes_them(self, store: Store) -> None:
        await store.fleets.put("other", Generated(3), PROFILE)
        await store.requests.set_faults("other", (RESETS,))
        await store.fleets.put("other", Generated(3), PROFILE)
        assert await store.requests.faults("other") == []
        await store.requests.set_faults("other", (RESETS,))
        await store.fleets.delete("other")
        with pytest.raises(NoSuchFleet):
            await store.requests.faults("other")
        with pytest.raises(NoSuchFleet):
            await store.requests.set_faults("other", (RESETS,))
        await store.fleets.put("other", Generated(3), PROFILE)
        assert await store.requests.faults("other") == []

    async def test_follow_the_seed_as_it_is_now(self, store: Store) -> None:
        await store.requests.set_faults(F, (RESETS,))
        profile = Profile(seed=99)
        await store.fleets.change_profile(F, lambda _: profile)
        assert await met(store, times=10) == drawn((RESETS,), ALICE, 10, profile)

    async def test_requests_at_once_are_counted_one_by_one(self, store: Store) -> None:
        rule = FaultRule(("sync",), CloseFault(), first=5)
        await store.requests.set_faults(F, (rule,))
        faults = await asyncio.gather(*(store.requests.meet_fault(F, ALICE) for _ in range(12)))
        assert sum(fault is not None for fault in faults) == 5
        assert await store.requests.faults(F) == [(rule, 5)]

    @pytest.mark.parametrize("home", DURABLE, indirect=True)
    async def test_rules_and_counts_outlive_the_process(self, store: Store, reopen: Reopen) -> None:
        late = FaultRule(("sync",), DelayFault(ConstantDelay(1.5)), share=0.5, is_after=True)
        await store.requests.set_faults(F, (late, FIRST))
        faults = await met(store, times=3)
        store = await reopen()
        assert store.requests.is_watched(F)
        faults += await met(store, times=3)
        assert faults == drawn((late, FIRST), ALICE, 6)
        assert sum(hits for _, hits in await store.requests.faults(F)) == sum(map(bool, faults))

    async def test_beyond_a_bound_no_more_are_counted(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for place in ("embedded", "postgres"):
            path = f"pisync.stores.{place}.requests.store.MAX_REQUEST_COUNTERS"
            monkeypatch.setattr(path, 3)
        rule = FaultRule(("sync",), CloseFault(), first=2)
        await store.requests.set_faults(F, (rule,))
        calls = [ALICE._replace(device_id=device_id) for device_id in range(1, 6)]
        faults = [(await met(store, call))[0] for call in calls]
        assert sum(map(bool, faults)) in (2, 3)
        assert faults[0] is not None
        assert faults[-1] is None
        assert await met(store, calls[0], 2) == [*drawn((rule,), calls[0], 2)[1:], None]


def entry(number: int, **changes: object) -> JournalEntry:
    changes = {"request_id": f"r{number}", "received_at": number, **changes}
    return JournalEntry(
        "", 0, "sync", "POST", "/devices/7/sync", 7, "alice", None, 202, None, 1, 0.25
    )._replace(**changes)  # type: ignore[arg-type]


async def set_journal(store: Store, size: int, fleet: str = F) -> None:
    await store.fleets.change_profile(fleet, lambda same: same, journal=size)


async def page(store: Store, limit: int = 100, **which: object) -> list[int]:
    found = await store.requests.journal(F, RequestFilter(**which), limit)  # type: ignore[arg-type]
    return [request.number for request in found.requests]


class TestJournal:
    @pytest.fixture
    async def store(self, store: Store) -> Store:
        await set_journal(store, 5)
        return store

    async def record(self, store: Store, *entries: JournalEntry) -> None:
        for each in entries:
            await store.requests.record(F, each)

    async def test_keeps_the_newest_and_their_numbers(self, store: Store) -> None:
        await self.record(store, *map(entry, range(1, 8)))
        found = await store.requests.journal(F, RequestFilter(), 2)
        assert found.more
        assert [tuple(each) for each in found.requests] == [(7, entry(7)), (6, entry(6))]
        assert await page(store, before=6) == [5, 4, 3]
        assert (await store.queries.fleet(F)).journal == 5

    async def test_is_read_through_a_filter(self, store: Store) -> None:
        await self.record(
            store,
            entry(1, call="device", device_id=8, user="bob", status=304),
            entry(2, status=None, fault="reset", attempt=None, user_agent="curl"),
            entry(3, call="stats", device_id=None, status=200),
            entry(4, status=429, fault="status"),
        )
        assert await page(store, calls=frozenset(("device", "stats"))) == [3, 1]
        assert await page(store, device_id=7) == [4, 2]
        assert await page(store, user="bob") == [1]
        assert await page(store, statuses=frozenset((200, 429))) == [4, 3]
        assert await page(store, faults=frozenset(("reset",))) == [2]
        assert await page(store, since=3) == [4, 3]

    async def test_grows_and_shrinks(self, store: Store) -> None:
        await self.record(store, *map(entry, range(1, 6)))
        await set_journal(store, 2)
        assert await page(store) == [5, 4]
        await set_journal(store, 3)
        await self.record(store, entry(6))
        assert await page(store) == [6, 5, 4]
        await set_journal(store, 0)
        await self.record(store, entry(7))
        assert await page(store) == []
        assert store.requests.journal_in_memory(F) is None

    async def test_stays_as_it_is_where_the_profile_can_not_change(self, store: Store) -> None:
        def fail(_: Profile) -> Profile:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.fleets.change_profile(F, fail, journal=2)
        assert (await store.queries.fleet(F)).journal == 5

    async def test_is_cleared(self, store: Store) -> None:
        await self.record(store, entry(1), entry(2))
        await store.requests.clear_journal(F)
        assert await page(store) == []
        await self.record(store, entry(3))
        assert await page(store) == [3]

    async def test_a_reset_clears_it_and_keeps_its_size(self, store: Store) -> None:
        await self.record(store, entry(1))
        await store.fleets.reset(F)
        assert await page(store) == []
        assert (await store.queries.fleet(F)).journal == 5
        await self.record(store, entry(1))
        assert await page(store) == [1]

    async def test_is_set_with_the_fleet(self, store: Store) -> None:
        view, _ = await store.fleets.put("other", Generated(3), PROFILE, journal=7)
        assert view.journal == (await store.queries.fleet("other")).journal == 7

    async def test_of_no_fleet(self, store: Store) -> None:
        await store.requests.record("other", entry(1))
        with pytest.raises(NoSuchFleet):
            await store.requests.journal("other", RequestFilter(), 5)
        with pytest.raises(NoSuchFleet):
            await set_journal(store, 5, "other")
        with pytest.raises(NoSuchFleet):
            await store.requests.clear_journal("other")
