import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from pisync.model.first_fleet import first_fleet
from pisync.model.fleet import Generated, Stats
from pisync.model.outcome import STATUS_CODES, Outcome
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.sync import SyncDecision
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet
from tests.stores.conftest import MakeStore
from tests.support.stores.broken import (
    break_finish,
    finishes_twice,
    loses_error_logs,
)
from tests.support.stores.short import (
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
    start,
)


class TestStats:
    async def test_of_first_data(self, make_store: MakeStore) -> None:
        store = await make_store(first_fleet())
        assert await store.queries.stats(F) == Stats(
            devices=10,
            by_status={200: 5, 202: 0, 400: 2, 404: 1, 500: 2},
            pending=0,
            attempts=0,
            succeeded=0,
            failed=0,
            error_logs=5,
        )

    async def test_of_no_devices(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(0))
        stats = await store.queries.stats(F)
        assert stats.by_status == dict.fromkeys(STATUS_CODES, 0)
        assert (stats.devices, stats.attempts, stats.error_logs) == (0, 0, 0)

    async def test_count_pending_attempts_among_the_accepted(self, store: Store) -> None:
        await manual(store)
        await start(store, 1, 2, 3)
        await hold(store, 4)
        await store.starter.begin(F, [1, 2, 99])
        stats = await store.queries.stats(F)
        assert (stats.pending, stats.attempts, stats.succeeded, stats.failed) == (4, 4, 0, 0)
        assert stats.by_status == {200: 16, 202: 4, 400: 0, 404: 0, 500: 0}

    async def test_are_what_the_devices_and_their_draws_come_to(
        self, make_store: MakeStore
    ) -> None:
        profile = Profile(seed=21)
        store = await make_store(Generated(100), profile)
        for _ in range(3):
            await start(store, *range(1, 101))
            await store.finisher.settle(F)
        await start(store, *range(1, 11))
        stats = await store.queries.stats(F)
        came = Counter(
            draw(profile, device_id, attempt).outcome.sync_status_code
            for device_id in range(1, 101)
            for attempt in (1, 2, 3)
        )
        assert (stats.devices, stats.pending, stats.attempts) == (100, 10, 310)
        assert (stats.succeeded, stats.failed) == (came[200], 300 - came[200])
        assert stats.error_logs == stats.failed
        now = Counter(each.sync_status_code for each in await devices(store))
        assert stats.by_status == {code: now[code] for code in STATUS_CODES}

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.queries.stats("other")


class TestLedger:
    async def test_starts_with_nothing_whatever_the_first_data(self, make_store: MakeStore) -> None:
        store = await make_store(first_fleet())
        ledger = await store.queries.ledger(F)
        assert ledger.balanced
        assert ledger == (0, 0, 0, 0, {}, 0, 0, 0, {"before": {}, "after": {}})

    async def test_counts_what_became_of_every_request(self, make_store: MakeStore) -> None:
        store = await make_store(profile=replace(PROFILE, max_pending=4))
        await manual(store)
        await store.fleets.set_script(F, 1, None)
        await hold(store, 1)
        await hold(store, 2)
        await start(store, 3, 4)
        # Two join, two are too many, one is not there.
        await store.starter.begin(F, [1, 3, 5, 6, 99])
        await store.fleets.change_profile(F, lambda profile: replace(profile, refuse_pending=True))
        # Three are refused where none may join.
        await store.starter.begin(F, [1, 2, 3])
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.joined, ledger.refused) == (4, 2, 5)
        assert (ledger.pending, ledger.held, ledger.error_logs) == (4, 2, 0)
        assert ledger.balanced

        await store.finisher.release(F, 1, FULL)
        await store.finisher.release(F, 2, TIMEOUT)
        await advance(store, 10)
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.pending, ledger.held) == (4, 0, 0)
        assert ledger.balanced
        assert ledger.error_logs == len(await error_logs(store))

    async def test_counts_failures_by_code_and_message(self, store: Store) -> None:
        for outcome, times in ((FULL, 3), (TIMEOUT, 2), (FULL._replace(error_message="é"), 1)):
            for _ in range(times):
                await hold(store, 7)
                await store.finisher.release(F, 7, outcome)
        ledger = await store.queries.ledger(F)
        assert ledger.failed == {400: {"Storage Full": 3, "é": 1}, 500: {"Connection Timeout": 2}}
        assert ledger.error_logs == 6

    async def test_equals_what_five_hundred_clients_counted(self, make_store: MakeStore) -> None:
        store = await make_store(Generated(50), replace(PROFILE, max_pending=30))

        async def client(number: int) -> Counter[SyncDecision]:
            counted: Counter[SyncDecision] = Counter()
            for turn in range(3):
                (begun,) = await store.starter.begin(F, [(number * 7 + turn * 13) % 55 + 1])
                counted[begun.decision] += 1
                if number % 50 == 0:
                    await store.finisher.settle(F)
            return counted

        counted: Counter[SyncDecision] = Counter()
        for each in await asyncio.gather(*map(client, range(500))):
            counted.update(each)
        ledger = await store.queries.ledger(F)
        assert counted.total() == 1500
        assert ledger.accepted == counted[SyncDecision.STARTED] > 30
        assert ledger.joined == counted[SyncDecision.JOINED] > 30
        assert ledger.refused == counted[SyncDecision.FULL] > 30
        assert counted[SyncDecision.UNKNOWN] > 30
        assert ledger.balanced
        await store.finisher.settle(F)
        ledger = await store.queries.ledger(F)
        assert ledger.pending == 0
        assert ledger.balanced

    async def test_of_no_fleet(self, store: Store) -> None:
        with pytest.raises(NoSuchFleet):
            await store.queries.ledger("other")


class TestPending:
    async def test_counts_all_fleets_together(self, store: Store) -> None:
        await store.fleets.put("other", TWENTY, PROFILE)
        assert await store.queries.pending() == 0
        await start(store, 1, 2)
        await start(store, 1, fleet="other")
        await hold(store, 2, fleet="other")
        assert await store.queries.pending() == 4
        await store.finisher.settle("other")
        assert await store.queries.pending() == 3
        await store.fleets.delete("other")
        assert await store.queries.pending() == 2


class TestBrokenTransition:
    """The ledger proves something: were a transition to break, it would show."""

    async def run(self, store: Store) -> None:
        await manual(store)
        await store.fleets.change_profile(F, lambda _: Profile(seed=21))
        for _ in range(3):
            await store.starter.begin(F, range(1, 21))
            await store.finisher.settle(F)

    async def test_balances_when_nothing_is_broken(self, store: Store) -> None:
        await self.run(store)
        assert (await store.queries.ledger(F)).balanced

    async def test_that_loses_error_logs(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        break_finish(monkeypatch, loses_error_logs)
        await self.run(store)
        ledger = await store.queries.ledger(F)
        assert ledger.failures > ledger.error_logs
        assert not ledger.balanced

    async def test_that_lets_an_attempt_finish_twice(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        break_finish(monkeypatch, finishes_twice)
        await self.run(store)
        assert not (await store.queries.ledger(F)).balanced


class TestMessages:
    """Distinct messages are counted up to a bound: an id in a message is enough to make many."""

    async def test_that_come_later_than_a_thousand_count_together(
        self, make_store: MakeStore
    ) -> None:
        outcomes = [WeightedOutcome(Outcome(400, f"Too large: {n}"), 1) for n in range(1500)]
        store = await make_store(
            Generated(4000), Profile(3, (*outcomes, WeightedOutcome(TIMEOUT, 100)))
        )
        await manual(store)
        seen: dict[str, int] = {}
        for _ in range(2):
            await start(store, *range(1, 4001))
            await store.finisher.settle(F)
            ledger = await store.queries.ledger(F)
            messages = ledger.failed[400]
            assert len(messages) == 1001
            assert "(other)" in messages
            assert all(messages[message] >= number for message, number in seen.items())
            seen = dict(messages)
            assert ledger.balanced
            assert set(ledger.failed[500]) == {TIMEOUT.error_message}
        assert ledger.failures == 8000
