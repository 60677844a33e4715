"""What stores on one database promise each other, beyond what every store does."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pisync.model.account import Account, LoginDecision
from pisync.model.clock import AUTO
from pisync.model.fleet import Generated
from pisync.model.plans.delay import ConstantDelay, LognormalDelay
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.sync import (
    Change,
    SyncDecision,
)
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet
from pisync.stores.postgres.store import PostgresStore
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask
from tests.support.stores.short import (
    FAILING,
    FULL,
    HOLD,
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
    start,
)

QUICK = Profile(seed=7, outcomes=FAILING.outcomes, delay=ConstantDelay(0.05))


async def heard_by(observer: RecordingObserver, changes: int) -> list[Change]:
    """Wait until an observer has heard of so many changes; return all of them."""
    async with asyncio.timeout(20):
        while len(told(observer)) < changes:  # noqa: ASYNC110 - an observer has no events to wait for
            await asyncio.sleep(0.005)
    return told(observer)


def told(observer: RecordingObserver) -> list[Change]:
    return [each for each in observer.events.get(F, []) if isinstance(each, Change)]


class TestDevices:
    async def test_show_on_all_what_one_has_accepted(self, replicas: Sequence[Store]) -> None:
        one, other, third = replicas
        (pending,) = await start(one, 7)
        assert await other.queries.device(F, 7) == await third.queries.device(F, 7) == pending
        await other.finisher.settle(F)
        assert await one.queries.device(F, 7) == await third.queries.device(F, 7)
        assert await error_logs(one) == await error_logs(third)
        assert await one.queries.ledger(F) == await other.queries.ledger(F)

    async def test_begin_one_attempt_however_many_ask(self, replicas: Sequence[Store]) -> None:
        for attempt in range(1, 6):
            answers = await asyncio.gather(
                *(store.starter.begin(F, range(1, 21)) for store in replicas for _ in range(3))
            )
            came = Counter(each.decision for begun in answers for each in begun)
            assert came == {SyncDecision.STARTED: 20, SyncDecision.JOINED: 160}
            assert {each.device.attempt for begun in answers for each in begun if each.device} == {
                attempt
            }
            await replicas[attempt % 3].finisher.settle(F)
        ledger = await replicas[0].queries.ledger(F)
        assert (ledger.accepted, ledger.joined, ledger.error_logs) == (100, 800, 100)
        assert ledger.balanced

    async def test_are_never_pending_beyond_the_limit(self, replicas: Sequence[Store]) -> None:
        await replicas[0].fleets.change_profile(F, lambda profile: replace(profile, max_pending=5))
        answers = await asyncio.gather(
            *(replicas[each % 3].starter.begin(F, [each]) for each in range(1, 21))
        )
        came = Counter(each.decision for (each,) in answers)
        assert came == {SyncDecision.STARTED: 5, SyncDecision.FULL: 15}
        assert await replicas[2].queries.pending() == 5

    async def test_follow_a_script_in_its_order(self, replicas: Sequence[Store]) -> None:
        await hold(replicas[0], 1)
        await replicas[1].finisher.release(F, 1, FULL)
        await replicas[2].fleets.set_script(F, 1, HOLD)
        (device,) = await start(replicas[0], 1)
        assert device.pending is not None
        assert device.pending.is_held


class TestPolls:
    async def test_are_counted_by_all_together(self, replicas: Sequence[Store]) -> None:
        await replicas[0].fleets.set_script(F, 7, Script((Step(FULL, polls=10),), sticky=True))
        assert all(store.acting_reads.acts(F) for store in replicas)
        for _ in range(3):
            await start(replicas[1], 7)
            shown = await asyncio.gather(
                *(replicas[each % 2].acting_reads.device(F, 7) for each in range(50))
            )
            came = Counter(device.sync_status_code for device in shown)
            assert came == {202: 10, 400: 40}
        ledger = await replicas[2].queries.ledger(F)
        assert (ledger.accepted, ledger.failures, ledger.held) == (3, 3, 0)
        assert ledger.balanced

    async def test_are_counted_by_pages_and_devices_together(
        self, replicas: Sequence[Store]
    ) -> None:
        await replicas[0].fleets.set_script(F, 7, Script((Step(FULL, polls=10),)))
        await start(replicas[1], 7)

        async def page(store: Store) -> int:
            chosen = frozenset((202,))
            found = await store.acting_reads.devices(F, after=0, limit=20, statuses=chosen)
            return len(found.devices)

        async def device(store: Store) -> int:
            return int((await store.acting_reads.device(F, 7)).is_pending)

        read = (page, device)
        shown = await asyncio.gather(*(read[each % 2](replicas[each % 3]) for each in range(30)))
        assert sum(shown) == 10

    async def test_go_with_a_reset_that_another_has_made(self, replicas: Sequence[Store]) -> None:
        await replicas[0].fleets.set_script(F, 7, Script((Step(FULL, polls=1),)))
        await start(replicas[0], 7)
        await replicas[1].fleets.reset(F)
        assert not (await replicas[0].acting_reads.device(F, 7)).is_pending
        assert not replicas[0].acting_reads.acts(F)


class TestAutoClock:
    async def test_is_moved_by_reads_of_all_one_after_the_other(
        self, replicas: Sequence[Store]
    ) -> None:
        before = (await replicas[0].finisher.set_clock(F, *AUTO)).now
        assert all(store.acting_reads.acts(F) for store in replicas)
        await planned(replicas[1], {number: float(number) for number in range(1, 13)})
        shown = await asyncio.gather(
            *(replicas[each % 3].acting_reads.device(F, 12) for each in range(15))
        )
        # Eleven of them saw it while another one was due, and the twelfth let it finish.
        assert sum(device.is_pending for device in shown) == 12
        assert (await replicas[2].queries.fleet(F)).clock.now == before + 12 * SECOND
        ledger = await replicas[2].queries.ledger(F)
        assert (ledger.succeeded, ledger.balanced) == (12, True)

    async def test_moves_no_longer_once_another_held_it(self, replicas: Sequence[Store]) -> None:
        await replicas[0].finisher.set_clock(F, *AUTO)
        await replicas[1].finisher.set_clock(F, 0)
        await start(replicas[2], 1)
        for store in (*replicas, *replicas):
            assert (await store.acting_reads.device(F, 1)).is_pending

    async def test_of_a_copy_is_known_to_all(self, replicas: Sequence[Store]) -> None:
        await replicas[0].finisher.set_clock(F, *AUTO)
        await start(replicas[0], 1)
        async with replicas[1].snapshots.take(F) as snapshot:
            await replicas[1].snapshots.restore("copy", snapshot)
        assert replicas[2].acting_reads.acts("copy")
        assert (await replicas[2].acting_reads.device("copy", 1)).is_pending
        assert not (await replicas[0].acting_reads.device("copy", 1)).is_pending


class TestFinishing:
    async def test_is_done_by_others_when_the_one_that_began_is_gone(
        self, replicas: Sequence[Store], observers: list[RecordingObserver]
    ) -> None:
        one, other, _ = replicas
        await one.fleets.change_profile(F, lambda _: QUICK)
        await start(one, *range(1, 21))
        await heard_by(observers[1], 20)
        # The others know when they have something to do.
        assert observers[1].due
        assert observers[1].due[-1] <= 0.05
        await asyncio.sleep(0.06)
        assert await finish_all_due(other) == 20
        assert await finish_all_due(one) == 0
        assert observers[0].finishes == {}

    async def test_happens_once_however_many_do_it(
        self, replicas: Sequence[Store], home: PostgresHarness, observers: list[RecordingObserver]
    ) -> None:
        profile = replace(FAILING, delay=LognormalDelay(2, 0.5, 10))
        await replicas[0].fleets.put(F, Generated(2000), profile)
        await start(replicas[0], *range(1, 2001))
        await hurry(replicas[1], home)
        finished = 0
        while await replicas[0].queries.pending():
            finished += sum(
                await asyncio.gather(*(store.finisher.finish_due(256) for store in replicas))
            )
        ends = Counter(
            each.device.device_id for observer in observers for each in observer.finishes.get(F, [])
        )
        assert finished == 2000
        assert ends == Counter(range(1, 2001))
        ledger = await replicas[2].queries.ledger(F)
        assert (ledger.error_logs, ledger.balanced) == (2000, True)

    async def test_is_left_for_a_while_to_the_one_that_began(self, home: PostgresHarness) -> None:
        observers = [RecordingObserver(), RecordingObserver()]
        one, other = (PostgresStore(home.url, TWENTY, QUICK, grace=2) for _ in observers)
        for store, observer in zip((one, other), observers, strict=True):
            await store.open(observer)
        await start(one, *range(1, 6))
        await start(other, *range(6, 11))
        await heard_by(observers[0], 10)
        # What others began falls due for them alone, for now.
        assert min(observers[0].due) <= 0.05
        assert max(observers[0].due) >= 2
        await asyncio.sleep(0.06)
        assert await finish_all_due(other) == 5
        assert {each.device.device_id for each in observers[1].finishes[F]} == {*range(6, 11)}
        wait = await other.finisher.next_due()
        assert wait is not None
        assert 0 < wait < 3.2
        await asyncio.sleep(wait)
        assert await finish_all_due(other) == 5
        assert await finish_all_due(one) == 0
        assert await one.queries.pending() == 0
        for store in (one, other):
            await store.close()

    async def test_what_a_snapshot_holds_is_for_the_one_that_restored_it(
        self, home: PostgresHarness
    ) -> None:
        store = PostgresStore(home.url, TWENTY, QUICK, grace=3600)
        await store.open(RecordingObserver())
        await store.fleets.put("first", TWENTY, QUICK)
        await store.finisher.set_clock("first", 0)
        await start(store, 1, 2, fleet="first")
        async with store.snapshots.take("first") as snapshot:
            await store.snapshots.restore("copy", snapshot)
        await store.finisher.set_clock("copy", 1)
        await asyncio.sleep(0.06)
        assert await finish_all_due(store) == 2
        await store.close()

    async def test_passes_over_what_another_one_has_finished(
        self, replicas: Sequence[Store]
    ) -> None:
        one, other, _ = replicas
        await one.fleets.change_profile(F, lambda _: QUICK)
        await start(one, 1)
        await other.finisher.settle(F)
        await one.fleets.change_profile(F, lambda _: FAILING)
        await start(one, 2)
        await asyncio.sleep(0.06)
        assert await finish_all_due(one) == 0
        wait = await one.finisher.next_due()
        assert wait is not None
        assert wait > 5

    async def test_goes_by_the_clock_of_the_database(
        self, replicas: Sequence[Store], home: PostgresHarness
    ) -> None:
        one, other, _ = replicas
        await one.fleets.change_profile(F, lambda _: QUICK)
        await home.step_wall_clock(-60)
        await start(one, 1)
        await asyncio.sleep(0.06)
        assert await finish_all_due(other) == 1


class TestEvents:
    async def test_are_the_same_in_the_same_order_on_all(
        self, replicas: Sequence[Store], observers: list[RecordingObserver]
    ) -> None:
        await manual(replicas[0])

        async def live(store: Store, turn: int) -> None:
            for step in range(10):
                await store.starter.begin(
                    F, [(turn + step * 3) % 20 + 1, (turn * 7 + step) % 20 + 1]
                )
                if step % 4 == turn:
                    await store.finisher.settle(F)

        await asyncio.gather(*(live(store, turn) for turn, store in enumerate(replicas)))
        ledger = await replicas[0].queries.ledger(F)
        changes = ledger.accepted + ledger.succeeded + 2 * ledger.failures
        first, *others = [await heard_by(observer, changes) for observer in observers]
        assert len(first) == changes > 40
        assert others == [first, first]

    async def test_of_a_replacement_reach_all(
        self, replicas: Sequence[Store], observers: list[RecordingObserver]
    ) -> None:
        await start(replicas[0], 1, 2)
        await replicas[1].fleets.reset(F)
        (device,) = await start(replicas[2], 3)
        for observer in observers:
            await heard_by(observer, 3)
            assert observer.changes(F) == [device]


class TestFleets:
    async def test_have_one_profile_clock_and_generation(self, replicas: Sequence[Store]) -> None:
        one, other, third = replicas
        view, _ = await one.fleets.put("new", Generated(3), QUICK)
        assert (await other.queries.fleet("new")).generation == view.generation
        await other.fleets.change_profile("new", lambda profile: replace(profile, seed=99))
        await third.finisher.set_clock("new", 0)
        seen = [await store.queries.fleet("new") for store in replicas]
        assert seen[0] == seen[1] == seen[2]
        assert (seen[0].profile.seed, seen[0].clock.mode) == (99, "manual")
        await one.fleets.delete("new")
        with pytest.raises(NoSuchFleet):
            await third.queries.fleet("new")

    async def test_of_one_profile_lose_no_change(self, replicas: Sequence[Store]) -> None:
        await replicas[0].fleets.change_profile(F, lambda profile: replace(profile, seed=0))
        await asyncio.gather(
            *(
                store.fleets.change_profile(
                    F, lambda profile: replace(profile, seed=profile.seed + 1)
                )
                for store in replicas
                for _ in range(5)
            )
        )
        assert (await replicas[0].queries.fleet(F)).profile.seed == 15

    async def test_move_as_far_as_all_together_ask(self, replicas: Sequence[Store]) -> None:
        present = await manual(replicas[0])
        await start(replicas[0], *range(1, 21))
        moved = await asyncio.gather(
            *(store.finisher.advance(F, 3 * SECOND) for store in replicas for _ in range(4))
        )
        assert sorted(each.now - present for each in moved) == [
            3 * SECOND * step for step in range(1, 13)
        ]
        assert sum(each.finished for each in moved) == 20
        assert await now(replicas[1]) == present + 36 * SECOND

    @pytest.mark.parametrize("speed", [None, 0, 1])
    async def test_keep_the_promise_of_a_replica_that_died_on_the_way(
        self, replicas: Sequence[Store], home: PostgresHarness, speed: float | None
    ) -> None:
        present = await manual(replicas[0])
        await start(replicas[0], 1)
        promised = present + 60 * SECOND
        await ask(home.url, "UPDATE turns SET promised_time = $1, version = version + 1", promised)
        if speed is None:
            assert await advance(replicas[1], 1) == 1
            assert await now(replicas[1]) == promised + SECOND
        else:
            await replicas[1].finisher.set_clock(F, speed)
            assert promised <= await now(replicas[1]) < promised + 60 * SECOND
            assert not (await replicas[1].queries.device(F, 1)).is_pending

    async def test_of_many_devices_hold_nobody_up(self, replicas: Sequence[Store]) -> None:
        one, other, _ = replicas
        making = asyncio.create_task(one.fleets.put("big", Generated(120_000), FAILING))
        longest = 0.0
        loop = asyncio.get_running_loop()
        while not making.done():
            before = loop.time()
            await start(other, 1)
            await other.finisher.settle(F)
            longest = max(longest, loop.time() - before)
        view, _ = await making
        assert view.devices == 120_000
        assert longest < 1
        (last,) = (
            await other.queries.devices("big", after=119_999, limit=5, statuses=None)
        ).devices
        (same,) = await start(other, 120_000, fleet="big")
        assert (last.device_id, same.attempt) == (120_000, 1)

    async def test_leave_nothing_behind(
        self, replicas: Sequence[Store], home: PostgresHarness
    ) -> None:
        await start(replicas[0], 1, 2, 3)
        await replicas[0].finisher.settle(F)
        await replicas[1].fleets.put("gone", Generated(100), FAILING)
        await replicas[1].fleets.reset(F)
        await replicas[2].fleets.delete("gone")
        async with asyncio.timeout(20):
            while await ask(home.url, "SELECT count(*) FROM leftovers"):  # noqa: ASYNC110 - nor here
                await asyncio.sleep(0.02)
        assert await ask(home.url, "SELECT count(*) FROM devices") == 20
        assert await ask(home.url, "SELECT count(*) FROM error_logs") == 0
        assert len(await devices(replicas[0])) == 20


class TestAccounts:
    async def test_are_known_to_all(self, replicas: Sequence[Store]) -> None:
        alice = Account("Alice", b"hash", ("devices",))
        added = await asyncio.gather(*(store.accounts.add(alice) for store in replicas))
        assert added.count(True) == 1
        assert await replicas[2].accounts.find("alice") == alice

    async def test_have_failures_counted_by_all_together(self, replicas: Sequence[Store]) -> None:
        async def guess(store: Store) -> LoginDecision:
            return (await store.login_attempts.acquire([b"k"], 5, 60)).decision

        guesses = await asyncio.gather(*(guess(store) for store in replicas for _ in range(5)))
        assert guesses.count(LoginDecision.ALLOWED) == 5
        assert guesses.count(LoginDecision.WAIT) == 10
        for place, allowed in enumerate(guesses):
            if allowed is LoginDecision.ALLOWED:
                await replicas[place // 5].login_attempts.record([b"k"], failed=True)
        assert [await guess(store) for store in replicas] == [LoginDecision.REFUSED] * 3

    async def test_are_not_locked_by_a_guess_that_nobody_can_end(
        self, replicas: Sequence[Store], home: PostgresHarness
    ) -> None:
        for _ in range(5):
            await replicas[0].login_attempts.acquire([b"k"], 5, 60)
        await ask(home.url, "UPDATE permits SET expires = expires - 60000000")
        assert (
            await replicas[1].login_attempts.acquire([b"k"], 5, 60)
        ).decision is LoginDecision.ALLOWED
