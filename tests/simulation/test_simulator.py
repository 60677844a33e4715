"""The simulator on a real event loop, in real time."""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from pisync.clocks import SystemClocks
from pisync.concurrency.keyed_queue import (
    Busy,
    KeyedQueue,
)
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import DEFAULT_FLEET, FirstData, Generated
from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.delay import ConstantDelay, UniformDelay
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.requests.idempotency import KeyedStep
from pisync.model.sync import (
    Change,
    FinishedSync,
    SyncDecision,
    SyncResult,
)
from pisync.simulation.bulk import BulkResult
from pisync.simulation.events import (
    Broker,
    Resync,
    Subscription,
)
from pisync.simulation.lateness import LatenessView
from pisync.simulation.simulator import Simulator
from pisync.stores.base import BATCH
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.embedded.syncs import EmbeddedFinisher, EmbeddedStarter
from pisync.stores.errors import FleetReplaced, NoSuchDevice, NoSuchFleet, StoreUnavailable
from pisync.telemetry.metrics import Metrics
from tests.support.stalls import Stalls
from tests.support.waiting import eventually

F = DEFAULT_FLEET
FULL = Outcome(400, "Storage Full")
QUICK = Profile(seed=7, delay=ConstantDelay(0.02))
SLOW = Profile(seed=7, delay=ConstantDelay(600))
FAILING = Profile(seed=7, outcomes=(WeightedOutcome(FULL, 1),), delay=ConstantDelay(600))

ON_TIME = 1.0
"""How late, in seconds, a sync may finish on a machine that has much else to do."""


class TroubledFinisher(EmbeddedFinisher):
    """A finisher that a test can break."""

    trouble: Exception | None = None
    looks = 0
    """How often somebody asked for what is due."""

    async def finish_due(self, limit: int) -> int:
        self.looks += 1
        if self.trouble:
            raise self.trouble
        return await super().finish_due(limit)


class InterruptedStarter(EmbeddedStarter):
    """A starter in which a test can do something in between."""

    in_between: Callable[[int], Awaitable[object]] | None = None
    """Called after each call of `begin`, with how many there were."""
    begins = 0

    async def begin(
        self,
        fleet: str,
        device_ids: Iterable[int],
        *,
        generation: int | None = None,
        step: KeyedStep | None = None,
    ) -> Sequence[SyncResult]:
        begun = await super().begin(fleet, device_ids, generation=generation, step=step)
        self.begins += 1
        if self.in_between:
            await self.in_between(self.begins)
        return begun


class TroubledStore(EmbeddedStore):
    """A memory store with both of them."""

    starter: InterruptedStarter
    finisher: TroubledFinisher

    def __init__(self, first: FirstData, profile: Profile) -> None:
        super().__init__(first, profile, SystemClocks())
        self.starter = InterruptedStarter(self._registry, self._writer)
        self.finisher = TroubledFinisher(self._registry, self._writer)


class Live:
    """A simulator whose loop runs, with its store."""

    def __init__(self, first: FirstData, profile: Profile) -> None:
        self.store = TroubledStore(first, profile)
        self.metrics = Metrics()
        self.broker = Broker(10)
        self.simulator = Simulator(self.store, self.metrics, self.broker)

    async def all_finished(self) -> None:
        """Wait until nothing is pending."""
        await eventually(self.nothing_pending)

    async def nothing_pending(self) -> bool:
        return await self.store.queries.pending() == 0

    async def has_finished(self, device_id: int) -> bool:
        return not (await self.store.queries.device(F, device_id)).is_pending

    async def statuses(self) -> Counter[int]:
        return Counter({code: n for code, n in (await self.by_status()).items() if n})

    async def lateness(self) -> LatenessView:
        return self.simulator.lateness(F, (await self.store.queries.fleet(F)).generation)

    async def by_status(self) -> dict[int, int]:
        return dict((await self.store.queries.stats(F)).by_status)


@asynccontextmanager
async def running(first: FirstData, profile: Profile) -> AsyncIterator[Live]:
    live = Live(first, profile)
    await live.store.open(live.simulator.observer)
    resolver = asyncio.create_task(live.simulator.run())
    yield live
    resolver.cancel()
    with suppress(asyncio.CancelledError):
        await resolver
    await live.store.close()


@pytest.fixture
async def live() -> AsyncIterator[Live]:
    """Twenty devices whose syncs take 0.02 seconds."""
    async with running(Generated(20), QUICK) as live:
        yield live


@pytest.fixture
async def slow() -> AsyncIterator[Live]:
    """A thousand devices whose syncs take ten minutes."""
    async with running(Generated(1000), SLOW) as live:
        yield live


async def told(subscription: Subscription) -> list[Device | ErrorLog | None]:
    """Return what a subscription has been told so far."""
    events: list[Device | ErrorLog | None] = []
    while True:
        try:
            async with asyncio.timeout(0.05):
                batches = await subscription.next()
        except TimeoutError:
            return events
        for batch in batches or ():
            events += [None if isinstance(event, Resync) else event.what for event in batch.events]


async def two_thousand_syncs() -> None:
    profile = Profile(seed=3, delay=UniformDelay(0, 0.5))
    async with running(Generated(2000), profile) as live, Stalls() as stalls:
        with live.broker.subscribe(F) as subscription:
            await asyncio.gather(*(live.simulator.start(F, each) for each in range(1, 2001)))
            tasks = len(asyncio.all_tasks())
            await live.all_finished()
            events = await told(subscription)

        # Not a task for each of them: this test's two and the resolver's.
        assert tasks <= 4
        ends = Counter(
            each.device_id for each in events if isinstance(each, Device) and not each.is_pending
        )
        assert ends == Counter(range(1, 2001))
        assert await live.statuses() == Counter(
            draw(profile, each, 1).outcome.sync_status_code for each in range(1, 2001)
        )
        ledger = await live.store.queries.ledger(F)
        assert ledger.balanced
        assert (ledger.accepted, ledger.pending) == (2000, 0)
        assert sum(isinstance(each, ErrorLog) for each in events) == ledger.error_logs

        lateness = await live.lateness()
        assert 0 <= lateness.p50 <= lateness.p99 <= lateness.max
        assert lateness.p99 < ON_TIME + stalls.seconds
        # One look for many: it sleeps until something is due.
        assert live.store.finisher.looks < 1500


class TestLoop:
    @pytest.mark.parametrize(
        "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    def test_finishes_two_thousand_syncs_once_each_and_on_time(
        self, new_loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(two_thousand_syncs())

    async def test_finishes_nothing_before_its_time(self) -> None:
        profile = Profile(seed=3, delay=UniformDelay(0.01, 0.1))
        async with running(Generated(200), profile) as live:
            await live.simulator.start_all(F, None)
            early = []
            async with asyncio.timeout(60):
                while await live.store.queries.pending():
                    page = await live.store.queries.devices(F, after=0, limit=200, statuses=None)
                    now = (await live.store.queries.fleet(F)).clock.now
                    early += [
                        each
                        for each in page.devices
                        if not each.is_pending and each.last_attempt_at + 10_000 > now
                    ]
                    await asyncio.sleep(0.001)
            assert early == []

    async def test_sleeps_while_there_is_nothing_to_do(self, slow: Live) -> None:
        await slow.simulator.start_all(F, None)
        await asyncio.sleep(0.05)
        before = slow.store.finisher.looks
        await asyncio.sleep(0.3)
        assert slow.store.finisher.looks - before <= 2

    async def test_sleeps_while_all_is_held_or_the_clock_is_manual(self, live: Live) -> None:
        await live.store.fleets.set_script(F, 1, Script((Step(None),)))
        await live.simulator.start(F, 1)
        await live.store.fleets.put("manual", Generated(1), QUICK)
        await live.store.finisher.set_clock("manual", 0)
        await live.simulator.start("manual", 1)
        await asyncio.sleep(0.05)
        before = live.store.finisher.looks
        await asyncio.sleep(0.2)
        assert live.store.finisher.looks - before <= 2
        assert await live.store.queries.pending() == 2

    async def test_wakes_for_a_sync_that_is_due_before_those_it_waits_for(self, slow: Live) -> None:
        await slow.simulator.start(F, 1)
        await asyncio.sleep(0.02)
        await slow.store.fleets.set_script(F, 2, Script((Step(SUCCEEDED, 10_000),)))
        await slow.simulator.start(F, 2)
        await eventually(lambda: slow.has_finished(2))
        assert (await slow.store.queries.device(F, 1)).is_pending

    async def test_wakes_when_time_is_made_to_run_faster(self, slow: Live) -> None:
        await slow.simulator.start(F, 1)
        await asyncio.sleep(0.02)
        await slow.store.finisher.set_clock(F, 100_000)
        await slow.all_finished()

    async def test_serves_all_fleets(self, live: Live) -> None:
        for name in ("one", "other"):
            await live.store.fleets.put(name, Generated(100), QUICK)
            await live.simulator.start_all(name, None)
        await live.simulator.start_all(F, None)
        await live.all_finished()
        assert [
            (await live.store.queries.ledger(name)).accepted for name in (F, "one", "other")
        ] == [
            20,
            100,
            100,
        ]

    async def test_lets_others_run_between_batches(self) -> None:
        async with running(Generated(5000), replace(QUICK, delay=ConstantDelay(0))) as live:
            turns = 0

            async def others() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            busy = asyncio.create_task(others())
            await live.simulator.start_all(F, None)
            await live.all_finished()
            busy.cancel()
            assert turns >= 5000 / BATCH

    @pytest.mark.parametrize(
        "trouble", [StoreUnavailable(), ValueError("something quite unexpected")], ids=repr
    )
    async def test_goes_on_once_the_trouble_is_over(
        self, live: Live, trouble: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pisync.simulation.simulator.RETRY", 0.05)
        live.store.finisher.trouble = trouble
        await live.simulator.start_all(F, None)
        began = time.monotonic()
        while live.store.finisher.looks < 10:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)
        assert await live.store.queries.pending() == 20
        # It tried again, and did not hammer on the store.
        assert time.monotonic() - began >= 0.1

        live.store.finisher.trouble = None
        await live.all_finished()
        ledger = await live.store.queries.ledger(F)
        assert ledger.balanced
        assert ledger.succeeded + ledger.failures == 20

    async def test_survives_trouble_that_comes_and_goes(
        self, live: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pisync.simulation.simulator.RETRY", 0.005)

        async def come_and_go() -> None:
            while True:
                live.store.finisher.trouble = (
                    None if live.store.finisher.trouble else StoreUnavailable()
                )
                await asyncio.sleep(0.003)

        trouble = asyncio.create_task(come_and_go())
        for _ in range(10):
            await live.simulator.start_all(F, None)
            await asyncio.sleep(0.01)
        await live.all_finished()
        trouble.cancel()
        ledger = await live.store.queries.ledger(F)
        assert ledger.balanced
        assert ledger.accepted + ledger.joined == 200

    async def test_says_in_the_log_what_it_did_not_expect(
        self, live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("pisync.simulation.simulator.RETRY", 0.05)
        live.store.finisher.trouble = ValueError("something quite unexpected")
        await live.simulator.start(F, 1)
        while "something quite unexpected" not in caplog.text:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
        live.store.finisher.trouble = None


class TestStart:
    async def test_begins_or_joins(self, slow: Live) -> None:
        assert (await slow.simulator.start(F, 1)).decision is SyncDecision.STARTED
        assert (await slow.simulator.start(F, 1)).decision is SyncDecision.JOINED
        assert (await slow.simulator.start(F, 1001)).decision is SyncDecision.UNKNOWN

    async def test_of_no_fleet(self, slow: Live) -> None:
        with pytest.raises(NoSuchFleet):
            await slow.simulator.start("other", 1)


class TestStartListed:
    async def test_says_what_came_of_it(self, slow: Live) -> None:
        await slow.simulator.start(F, 3)
        came = await slow.simulator.start_listed(F, [7, 3, 9999, 8, 1001])
        assert came == BulkResult(started=2, joined=1, refused=0, not_found=[9999, 1001])
        assert await slow.store.queries.pending() == 3

    async def test_counts_a_repeated_id_once(self, slow: Live) -> None:
        came = await slow.simulator.start_listed(F, [7, 7, 9999, 7, 9999])
        assert came == BulkResult(1, 0, 0, [9999])

    async def test_of_many_batches_takes_turns_and_more_than_may_wait_is_busy(
        self, slow: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow.simulator.bulk.queue = KeyedQueue(concurrency=1, max_waiting=2)
        many, few = range(1, BATCH + 2), range(1, BATCH + 1)
        calls = [asyncio.create_task(slow.simulator.start_all(F, None)) for _ in range(2)]
        calls.append(asyncio.create_task(slow.simulator.start_listed(F, many)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for too_much in (slow.simulator.start_all(F, None), slow.simulator.start_listed(F, many)):
            with pytest.raises(Busy):
                await too_much
        # A single batch is no more than a turn of the loop: it need not wait.
        assert (await slow.simulator.start_listed(F, few)).joined > 0
        assert not calls[-1].done()
        came = await asyncio.gather(*calls)
        assert came[0].started == 1000
        assert [each.joined for each in came[1:]] == [1000, BATCH + 1]

    async def test_of_many_batches_keeps_no_other_fleet_waiting(
        self, slow: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow.simulator.bulk.queue = KeyedQueue(concurrency=1)
        await slow.store.fleets.put("other", Generated(10), SLOW)
        go_on = asyncio.Event()

        async def stay(begins: int) -> None:
            if begins == 1:
                await go_on.wait()

        slow.store.starter.in_between = stay
        many = asyncio.create_task(slow.simulator.start_all(F, None))
        await eventually(lambda: slow.store.starter.begins == 1, interval=0)
        assert (await slow.simulator.start_all("other", None)).started == 10
        go_on.set()
        assert (await many).started == 1000

    async def test_of_a_fleet_that_no_text_names_is_of_none(self, slow: Live) -> None:
        with pytest.raises(NoSuchFleet):
            await slow.simulator.start_all("\udcff", None)

    async def test_of_nothing_is_nothing(self, slow: Live) -> None:
        assert await slow.simulator.start_listed(F, []) == BulkResult(0, 0, 0, [])

    async def test_counts_as_refused_what_may_not_join_and_what_is_too_much(
        self, slow: Live
    ) -> None:
        refusing = replace(SLOW, refuse_pending=True, max_pending=5)
        await slow.store.fleets.change_profile(F, lambda _: refusing)
        await slow.simulator.start_listed(F, [1, 2, 3])
        came = await slow.simulator.start_listed(F, [1, 2, 4, 5, 6, 7])
        assert came == BulkResult(2, 0, 4, [])

    async def test_takes_many_in_batches(self, slow: Live) -> None:
        many = list(range(1300, 0, -1))
        came = await slow.simulator.start_listed(F, many)
        assert came == BulkResult(1000, 0, 0, list(range(1300, 1000, -1)))
        assert slow.store.starter.begins == -(-1300 // BATCH)

    async def test_counts_an_id_once_over_all_batches(self, slow: Live) -> None:
        ids = [*range(1, 1001), *range(1, 1001)]
        assert await slow.simulator.start_listed(F, ids) == BulkResult(1000, 0, 0, [])

    async def test_of_no_fleet(self, slow: Live) -> None:
        with pytest.raises(NoSuchFleet):
            await slow.simulator.start_listed("other", [1])


class TestStartAll:
    async def test_starts_every_device_and_joins_those_that_are_pending(self, slow: Live) -> None:
        await slow.simulator.start_listed(F, [1, 500, 1000])
        assert await slow.simulator.start_all(F, None) == BulkResult(997, 3, 0, [])

    async def test_starts_those_that_have_a_status(self) -> None:
        async with running(Generated(1000), FAILING) as live:
            await live.simulator.start_listed(F, list(range(1, 1001, 3)))
            await live.simulator.settle(F)
            failed = frozenset({400, 500})
            assert await live.simulator.start_all(F, failed) == BulkResult(334, 0, 0, [])
            assert await live.simulator.start_all(F, failed) == BulkResult(0, 0, 0, [])
            pending = frozenset({202})
            assert await live.simulator.start_all(F, pending) == BulkResult(0, 334, 0, [])
            assert await live.simulator.start_all(F, frozenset()) == BulkResult(0, 0, 0, [])

    async def test_of_no_devices_is_nothing(self, slow: Live) -> None:
        await slow.store.fleets.put("none", Generated(0), SLOW)
        assert await slow.simulator.start_all("none", None) == BulkResult(0, 0, 0, [])

    async def test_of_no_fleet(self, slow: Live) -> None:
        with pytest.raises(NoSuchFleet):
            await slow.simulator.start_all("other", None)


def start_all(simulator: Simulator) -> Awaitable[BulkResult]:
    return simulator.start_all(F, None)


def start_listed(simulator: Simulator) -> Awaitable[BulkResult]:
    return simulator.start_listed(F, range(1, 1001))


@pytest.mark.parametrize("call", [start_all, start_listed])
class TestBulk:
    async def test_lets_others_run_between_batches(
        self, slow: Live, call: Callable[[Simulator], Awaitable[BulkResult]]
    ) -> None:
        looks = []

        async def look() -> None:
            while True:
                looks.append(await slow.store.queries.pending())
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await call(slow.simulator)
        looking.cancel()
        assert len({*looks}) >= 1000 / BATCH

    async def test_is_stopped_by_a_reset_in_the_middle(
        self, slow: Live, call: Callable[[Simulator], Awaitable[BulkResult]]
    ) -> None:
        async def reset(begins: int) -> None:
            if begins == 2:
                await slow.store.fleets.reset(F)

        slow.store.starter.in_between = reset
        with pytest.raises(FleetReplaced):
            await call(slow.simulator)
        assert await slow.store.queries.pending() == 0
        assert (await slow.store.queries.ledger(F)).accepted == 0

    async def test_that_waits_for_its_turn_during_a_reset_starts_nothing_after_it(
        self,
        slow: Live,
        call: Callable[[Simulator], Awaitable[BulkResult]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        slow.simulator.bulk.queue = KeyedQueue(concurrency=1)

        async def reset(begins: int) -> None:
            if begins == 1:
                await slow.store.fleets.reset(F)

        slow.store.starter.in_between = reset
        calls = [asyncio.ensure_future(call(slow.simulator)) for _ in range(2)]
        for each in calls:
            with pytest.raises(FleetReplaced):
                await each
        assert (await slow.store.queries.ledger(F)).accepted == 0

    async def test_tells_of_a_store_that_fails_in_the_middle_and_keeps_what_was_begun(
        self, slow: Live, call: Callable[[Simulator], Awaitable[BulkResult]]
    ) -> None:
        async def fail(begins: int) -> None:
            if begins == 2:
                raise StoreUnavailable

        slow.store.starter.in_between = fail
        with pytest.raises(StoreUnavailable):
            await call(slow.simulator)
        assert await slow.store.queries.pending() == 2 * BATCH

    async def test_goes_on_to_the_end_when_its_caller_is_cancelled(
        self, slow: Live, call: Callable[[Simulator], Awaitable[BulkResult]]
    ) -> None:
        caller = asyncio.ensure_future(call(slow.simulator))
        await eventually(lambda: slow.store.starter.begins > 0, interval=0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert await slow.store.queries.pending() < 1000
        await slow.simulator.drain()
        assert await slow.store.queries.pending() == 1000

    async def test_is_cut_off_where_draining_may_take_no_longer(
        self, slow: Live, call: Callable[[Simulator], Awaitable[BulkResult]]
    ) -> None:
        caller = asyncio.ensure_future(call(slow.simulator))
        await eventually(lambda: slow.store.starter.begins > 0, interval=0)
        await slow.simulator.drain(0)
        with pytest.raises(asyncio.CancelledError):
            await caller
        begun = await slow.store.queries.pending()
        assert 0 < begun < 1000
        await slow.simulator.drain()
        ledger = await slow.store.queries.ledger(F)
        assert (ledger.accepted, ledger.pending) == (begun, begun)
        assert ledger.balanced

    async def test_begins_nothing_when_its_caller_is_cancelled_while_it_waits_for_its_turn(
        self,
        slow: Live,
        call: Callable[[Simulator], Awaitable[BulkResult]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        slow.simulator.bulk.queue = KeyedQueue(concurrency=1)
        first, second = (asyncio.ensure_future(call(slow.simulator)) for _ in range(2))
        await eventually(lambda: slow.store.starter.begins > 0, interval=0)
        second.cancel()
        await first
        await slow.simulator.drain()
        assert second.cancelled()
        ledger = await slow.store.queries.ledger(F)
        assert (ledger.accepted, ledger.joined) == (1000, 0)

    async def test_that_fails_after_its_caller_was_cancelled_troubles_nobody(
        self, slow: Live, call: Callable[[Simulator], Awaitable[BulkResult]]
    ) -> None:
        unheard: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unheard.append(context))

        async def fail(begins: int) -> None:
            if begins == 3:
                raise StoreUnavailable

        slow.store.starter.in_between = fail
        caller = asyncio.ensure_future(call(slow.simulator))
        await eventually(lambda: slow.store.starter.begins > 0, interval=0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await slow.simulator.drain()
        del caller
        gc.collect()
        assert unheard == []


class TestTime:
    async def test_advance_and_settle_finish_before_they_answer(self, slow: Live) -> None:
        await slow.store.finisher.set_clock(F, 0)
        await slow.simulator.start_all(F, None)
        moved = await slow.simulator.advance(F, 599_999_999)
        assert moved.finished == 0
        assert (await slow.simulator.advance(F, 1)).finished == 1000
        await slow.simulator.start(F, 1)
        settled = await slow.simulator.settle(F)
        assert settled == (moved.now + 600_000_001, 1)

    async def test_advance_goes_on_to_the_end_when_its_caller_is_cancelled(
        self, slow: Live
    ) -> None:
        present = (await slow.store.finisher.set_clock(F, 0)).now
        await slow.simulator.start_all(F, None)
        caller = asyncio.create_task(slow.simulator.advance(F, 3_600_000_000))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await slow.simulator.drain()
        assert await slow.store.queries.pending() == 0
        assert (await slow.store.queries.fleet(F)).clock.now == present + 3_600_000_000


class TestDrain:
    async def test_returns_at_once_when_nothing_is_under_way(self, slow: Live) -> None:
        await slow.simulator.start(F, 1)
        async with asyncio.timeout(ON_TIME):
            await slow.simulator.drain()

    async def test_waits_for_calls_that_begin_while_it_waits(self, slow: Live) -> None:
        async def another(begins: int) -> None:
            if begins == 1:
                asyncio.ensure_future(slow.simulator.start_listed("other", range(1, 501)))  # noqa: RUF006 - the simulator keeps it

        await slow.store.fleets.put("other", Generated(500), SLOW)
        slow.store.starter.in_between = another
        call = asyncio.ensure_future(slow.simulator.start_all(F, None))
        await eventually(lambda: slow.store.starter.begins > 0, interval=0)
        await slow.simulator.drain()
        assert await slow.store.queries.pending() == 1500
        await call


class TestForecast:
    async def test_is_what_then_happens(self, live: Live) -> None:
        await live.store.finisher.set_clock(F, 0)
        forecast = await live.simulator.forecast(F, 7, 5, None)
        assert [attempt for attempt, _ in forecast] == [1, 2, 3, 4, 5]
        for attempt, drawn in forecast:
            begun = await live.simulator.start(F, 7)
            assert begun.device is not None
            assert begun.device.attempt == attempt
            moved = await live.simulator.settle(F)
            assert moved.now - begun.device.last_attempt_at == drawn.delay
            device = await live.store.queries.device(F, 7)
            assert (device.sync_status_code, device.error_message) == drawn.outcome

    async def test_begins_with_the_next_attempt_unless_another_is_named(self, slow: Live) -> None:
        await slow.simulator.start(F, 7)
        assert await slow.simulator.forecast(F, 7, 2, None) == [
            (2, draw(SLOW, 7, 2)),
            (3, draw(SLOW, 7, 3)),
        ]
        assert await slow.simulator.forecast(F, 7, 1, 1) == [(1, draw(SLOW, 7, 1))]
        far = 2**53 - 1
        assert await slow.simulator.forecast(F, 7, 1, far) == [(far, draw(SLOW, 7, far))]

    async def test_changes_nothing(self, slow: Live) -> None:
        before = await slow.store.queries.device(F, 7)
        await slow.simulator.forecast(F, 7, 1000, None)
        assert await slow.store.queries.device(F, 7) == before

    async def test_of_what_is_not_there(self, slow: Live) -> None:
        with pytest.raises(NoSuchDevice):
            await slow.simulator.forecast(F, 1001, 1, None)
        with pytest.raises(NoSuchFleet):
            await slow.simulator.forecast("other", 1, 1, None)


class TestLateness:
    async def test_is_nothing_at_first(self, live: Live) -> None:
        assert await live.lateness() == (0, 0, 0)

    async def test_is_of_syncs_that_finished_by_themselves(self, live: Live) -> None:
        await live.simulator.start_all(F, None)
        await live.all_finished()
        lateness = await live.lateness()
        assert 0 < lateness.max < ON_TIME

    async def test_is_not_of_those_that_were_settled(self, slow: Live) -> None:
        await slow.simulator.start_all(F, None)
        await slow.simulator.settle(F)
        assert await slow.lateness() == (0, 0, 0)

    async def test_is_forgotten_with_what_was_before_a_reset(self, live: Live) -> None:
        await live.simulator.start_all(F, None)
        await live.all_finished()
        generation = (await live.store.queries.fleet(F)).generation
        await live.store.fleets.reset(F)
        assert await live.lateness() == (0, 0, 0)
        assert live.simulator.lateness(F, generation) == (0, 0, 0)

    async def test_is_not_of_what_finished_before_a_reset_and_is_told_after_it(
        self, live: Live
    ) -> None:
        generation = (await live.store.queries.fleet(F)).generation
        device = await live.store.queries.device(F, 1)
        await live.store.fleets.reset(F)
        live.simulator.observer.finished(F, generation, [FinishedSync(device, None, 5.0)])
        assert await live.lateness() == (0, 0, 0)


class TestTelling:
    async def test_metrics_count_what_came_of_requests_and_of_syncs(self, slow: Live) -> None:
        await slow.store.fleets.change_profile(F, lambda _: replace(FAILING, max_pending=2))
        await slow.simulator.start_listed(F, [1, 2, 3, 1001])
        await slow.simulator.start_listed(F, [1])
        await slow.simulator.settle(F)
        lines = slow.metrics.render().decode().splitlines()
        for line in (
            'pisync_syncs_total{result="started"} 2.0',
            'pisync_syncs_total{result="joined"} 1.0',
            'pisync_syncs_total{result="refused"} 1.0',
            'pisync_syncs_finished_total{status="400"} 2.0',
            'pisync_syncs_finished_total{status="200"} 0.0',
            "pisync_sync_lateness_seconds_count 0.0",
        ):
            assert line in lines

    async def test_metrics_show_how_late_syncs_finished(self, live: Live) -> None:
        await live.simulator.start_all(F, None)
        await live.all_finished()
        assert b"pisync_sync_lateness_seconds_count 20.0" in live.metrics.render()

    async def test_subscribers_hear_of_beginnings_ends_and_errors(self, slow: Live) -> None:
        await slow.store.fleets.change_profile(F, lambda _: FAILING)
        with slow.broker.subscribe(F) as subscription:
            begun = await slow.simulator.start(F, 1)
            await slow.simulator.settle(F)
            pending, device, log = await told(subscription)
        assert pending == begun.device
        assert device == await slow.store.queries.device(F, 1)
        assert isinstance(log, ErrorLog)
        assert log.device_id == 1

    async def test_subscribers_hear_that_a_reset_made_all_else_void(self, slow: Live) -> None:
        with slow.broker.subscribe(F) as subscription:
            await slow.simulator.start(F, 1)
            await slow.store.fleets.reset(F)
            assert await told(subscription) == [None]

    @pytest.mark.parametrize("how", ["replaced", "missed"])
    async def test_changes_of_the_same_turn_are_void_as_well(self, slow: Live, how: str) -> None:
        observer = slow.simulator.observer
        change = Change("lab-1", await slow.store.queries.device(F, 1))
        with slow.broker.subscribe(F) as subscription:
            observer.changed(F, [change])
            if how == "replaced":
                observer.replaced(F)
            else:
                observer.missed()
            observer.changed(F, [change])
            assert await told(subscription) == [None, change.what]

    async def test_subscribers_of_all_fleets_hear_that_something_may_have_been_missed(
        self, slow: Live
    ) -> None:
        await slow.store.fleets.put("other", Generated(1), SLOW)
        with slow.broker.subscribe(F) as one, slow.broker.subscribe("other") as other:
            slow.simulator.observer.missed()
            assert await told(one) == await told(other) == [None]
