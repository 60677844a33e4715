"""A store is driven with everything that can be done to it, and compared with its twin."""

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as HypothesisPhase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pisync.model.clock import AUTO
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import DeviceSpec, FirstData, Generated, Listed
from pisync.model.outcome import STATUS_CODES, SUCCEEDED, Outcome
from pisync.model.plans.delay import ConstantDelay, LognormalDelay, UniformDelay
from pisync.model.plans.phases import Phase
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.sync import (
    ClockAdvance,
    SyncDecision,
    SyncResult,
)
from pisync.model.timestamp import LATEST, SECOND
from pisync.stores.base import Store
from pisync.stores.errors import (
    ClockNotManual,
    FleetReplaced,
    NoSuchDevice,
    NoSuchFleet,
    NothingHeld,
    PastTheLastYear,
)
from tests.support.stores.broken import (
    Finish,
    break_finish,
    finishes_twice,
    forgets_the_sync,
    loses_error_logs,
)
from tests.support.stores.harness import (
    HARNESSES,
    StoreHarness,
)
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.reference_model import (
    ReferenceModel,
    due_at,
)
from tests.support.stores.short import (
    FULL,
    TIMEOUT,
    devices,
    error_logs,
    finish_all_due,
)

LONG_AGO = 1_700_000_000 * SECOND

FIRST_DATA: Sequence[FirstData] = (
    Generated(6),
    Listed(
        (
            DeviceSpec(1),
            DeviceSpec(2, None, *FULL, LONG_AGO),
            DeviceSpec(3, last_attempt_at=4_000_000_000 * SECOND),
            DeviceSpec(5, LONG_AGO, 404, "Server Not Reachable"),
            DeviceSpec(8),
        ),
        (ErrorLog(1, 2, 0, 400, "Storage Full", LONG_AGO),),
    ),
)
PROFILES = (
    Profile(seed=1, delay=LognormalDelay(5, 1, 60)),
    Profile(seed=2, delay=UniformDelay(0, 20), refuse_pending=True),
    Profile(seed=3, outcomes=(WeightedOutcome(FULL, 1),), delay=ConstantDelay(0)),
    Profile(seed=4, delay=ConstantDelay(10), max_pending=2),
    Profile(
        seed=5,
        delay=UniformDelay(0, 20),
        mean_length=4,
        phases=(
            Phase(5, 20, (WeightedOutcome(FULL, 1), WeightedOutcome(SUCCEEDED, 1))),
            Phase(30, 40.5, None, ConstantDelay(3)),
        ),
        repeat_every=50,
    ),
)

OUTCOMES = st.sampled_from((SUCCEEDED, FULL, TIMEOUT))
STEPS = (
    st.builds(Step, OUTCOMES, st.none() | st.integers(0, 20 * SECOND))
    | st.builds(Step, OUTCOMES, polls=st.integers(1, 3))
    | st.just(Step(None))
)
# Ids from 1 to 8: six or five of them are there.
DEVICE_IDS = st.integers(1, 8)
SEVERAL = st.lists(DEVICE_IDS, min_size=1, max_size=8, unique=True)
SECONDS = st.integers(0, 30) | st.floats(0, 5)
NAMES = st.sampled_from(("a", "b"))

_Result = TypeVar("_Result")


class World:
    """A store that many examples share, each with fleets of its own, and a loop to call it from."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.runner = asyncio.Runner()
        self.home: StoreHarness = HARNESSES[kind](directory)
        self.heard = RecordingObserver()
        self.examples = count()
        self.run(self.home.open())
        self.open()

    def open(self) -> None:
        self.store: Store = self.home.store(Generated(0), PROFILES[0], 1000)
        self.run(self.store.open(self.heard))

    def run(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        return self.runner.run(call)

    def close(self) -> None:
        self.run(self.store.close())
        self.run(self.home.close())
        self.runner.close()


class StoreMachine(RuleBasedStateMachine):
    """Two fleets with a manual clock; it runs only while a rule lets it."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.example = next(self.world.examples)
        self.twins: dict[str, ReferenceModel] = {}
        for fleet in ("a", "b"):
            self.put(self.name(fleet), FIRST_DATA[0], PROFILES[0])

    def name(self, fleet: str) -> str:
        return f"machine-{self.example}-{fleet}"

    @property
    def store(self) -> Store:
        return self.world.store

    def run(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        return self.world.run(call)

    def teardown(self) -> None:
        for name in self.twins:
            self.run(self.store.fleets.delete(name))

    def put(self, name: str, first: FirstData, profile: Profile) -> None:
        _, is_new = self.run(self.store.fleets.put(name, first, profile))
        assert is_new == (name not in self.twins)
        self.meet(name)

    def meet(self, name: str) -> None:
        """Take a fleet in its first state for what it is, and stop its clock."""
        view = self.run(self.store.queries.fleet(name))
        self.twins[name] = ReferenceModel(
            profile=view.profile,
            now=self.run(self.store.finisher.set_clock(name, 0)).now,
            generation=view.generation,
            first=self.run(devices(self.store, name)),
            started_at=view.started_at,
            first_errors=[log[1:] for log in self.run(error_logs(self.store, name))],
        )
        self.world.heard.finishes.pop(name, None)

    # What clients do

    @rule(fleet=NAMES, device_ids=SEVERAL)
    def begin(self, fleet: str, device_ids: list[int]) -> None:
        name = self.name(fleet)
        begun = self.run(self.store.starter.begin(name, device_ids))
        assert begun == self.twins[name].begin(device_ids)

    @rule(fleet=NAMES, requests=st.lists(SEVERAL, min_size=2, max_size=4))
    def begin_at_once(self, fleet: str, requests: list[list[int]]) -> None:
        name = self.name(fleet)
        twin = self.twins[name]

        async def ask() -> list[tuple[int, SyncResult]]:
            answers = await asyncio.gather(
                *(self.store.starter.begin(name, each) for each in requests)
            )
            return [
                pair
                for device_ids, begun in zip(requests, answers, strict=True)
                for pair in zip(device_ids, begun, strict=True)
            ]

        answers = self.run(ask())
        # Who came first is not said; but somebody did.
        for device_id, (verdict, device) in answers:
            if verdict is SyncDecision.STARTED:
                assert twin.devices[device_id].sync_status_code != 202, "started twice"
                assert twin.start(device_id) == device
        for device_id, (verdict, device) in answers:
            twins = twin.devices.get(device_id)
            if twins is None:
                assert (verdict, device) == (SyncDecision.UNKNOWN, None)
            elif verdict is SyncDecision.FULL:
                assert len(twin.pending) >= twin.profile.max_pending
                twin.refused += 1
            elif verdict is not SyncDecision.STARTED:
                assert (verdict, device) == (twin.join(), twins)

    @rule(fleet=NAMES, device_ids=SEVERAL, stale=st.booleans())
    def begin_in_a_generation(self, fleet: str, device_ids: list[int], *, stale: bool) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        if stale:
            with pytest.raises(FleetReplaced):
                self.run(self.store.starter.begin(name, device_ids, generation=twin.generation - 1))
        else:
            begun = self.run(self.store.starter.begin(name, device_ids, generation=twin.generation))
            assert begun == twin.begin(device_ids)

    @rule(fleet=NAMES, device_id=DEVICE_IDS)
    def read(self, fleet: str, device_id: int) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        call = self.store.acting_reads.device(name, device_id)
        if device_id in twin.devices:
            assert [self.run(call)] == twin.read([twin.devices[device_id]])
        else:
            with pytest.raises(NoSuchDevice):
                self.run(call)

    @rule(
        fleet=NAMES,
        after=st.integers(0, 8),
        limit=st.integers(1, 8),
        statuses=st.none() | st.frozensets(st.sampled_from(STATUS_CODES), min_size=1),
    )
    def read_page(
        self, fleet: str, after: int, limit: int, statuses: frozenset[int] | None
    ) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        found = [
            device
            for device in twin.devices.values()
            if statuses is None or device.sync_status_code in statuses
        ]
        rest = [device for device in found if device.device_id > after]
        page = self.run(
            self.store.acting_reads.devices(name, after=after, limit=limit, statuses=statuses)
        )
        assert list(page.devices) == twin.read(rest[:limit])
        assert (page.total, page.more) == (len(found), len(rest) > limit)

    @rule(fleet=NAMES, device_id=DEVICE_IDS, readers=st.integers(2, 6))
    def read_at_once(self, fleet: str, device_id: int, readers: int) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        if device_id not in twin.devices:
            return

        async def read() -> list[Device]:
            reads = (self.store.acting_reads.device(name, device_id) for _ in range(readers))
            return await asyncio.gather(*reads)

        shown = Counter(self.run(read()))
        assert shown == Counter(
            device for _ in range(readers) for device in twin.read([twin.devices[device_id]])
        )

    # What time does

    @rule(fleet=NAMES, seconds=SECONDS)
    def advance(self, fleet: str, seconds: float) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        target = twin.now + round(seconds * SECOND)
        order = twin.due_until(target)
        moved = self.run(self.store.finisher.advance(name, round(seconds * SECOND)))
        assert moved == ClockAdvance(target, twin.move(target))
        self.check_order(name, [due_at(each) for each in order])

    @rule(fleet=NAMES, steps=st.lists(st.integers(0, 10), min_size=2, max_size=4))
    def advance_at_once(self, fleet: str, steps: list[int]) -> None:
        name = self.name(fleet)
        twin = self.twins[name]

        async def advance() -> list[ClockAdvance]:
            return await asyncio.gather(
                *(self.store.finisher.advance(name, step * SECOND) for step in steps)
            )

        moved = self.run(advance())
        finished = twin.move(twin.now + sum(steps) * SECOND)
        assert max(each.now for each in moved) == twin.now
        assert sum(each.finished for each in moved) == finished

    @rule(fleet=NAMES)
    def advance_too_far(self, fleet: str) -> None:
        name = self.name(fleet)
        with pytest.raises(PastTheLastYear):
            self.run(self.store.finisher.advance(name, LATEST - self.twins[name].now + 1))

    @rule(fleet=NAMES, device_id=DEVICE_IDS)
    def read_while_that_moves_time(self, fleet: str, device_id: int) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        if device_id not in twin.devices:
            return
        self.run(self.store.finisher.set_clock(name, *AUTO))
        shown = self.run(self.store.acting_reads.device(name, device_id))
        self.run(self.store.finisher.set_clock(name, 0))
        assert [shown] == twin.read([twin.devices[device_id]])
        if shown.finishes_by_itself:
            twin.move(max(twin.now, min(map(due_at, twin.due_until(LATEST)))))

    @rule(fleet=NAMES)
    def settle(self, fleet: str) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        order = twin.due_until(LATEST)
        moved = self.run(self.store.finisher.settle(name))
        finished = twin.move(max([twin.now, *map(due_at, order)]))
        assert moved == ClockAdvance(twin.now, finished)
        self.check_order(name, [due_at(each) for each in order])

    @rule(fleet=NAMES)
    def settle_in_real_time(self, fleet: str) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        # So slow that time does not move at all.
        self.run(self.store.finisher.set_clock(name, 1e-9))
        with pytest.raises(ClockNotManual):
            self.run(self.store.finisher.advance(name, 1))
        moved = self.run(self.store.finisher.settle(name))
        stopped = self.run(self.store.finisher.set_clock(name, 0)).now
        assert moved == ClockAdvance(twin.now, twin.settle())
        assert stopped == twin.now

    @rule(fleet=NAMES, speed=st.sampled_from((1, 1_000, 10_000, 100_000)))
    def let_time_run(self, fleet: str, speed: float) -> None:
        name = self.name(fleet)
        twin = self.twins[name]

        async def live() -> tuple[int, int]:
            await self.store.finisher.set_clock(name, speed)
            await self.world.home.pass_time(0.0005)
            reached = (await self.store.queries.fleet(name)).clock.now
            await finish_all_due(self.store)
            return reached, (await self.store.finisher.set_clock(name, 0)).now

        reached, stopped = self.run(live())
        assert twin.now <= reached <= stopped
        twin.move(reached)
        # The clock ran on after it was last looked at: what fell due then may have finished or not.
        for device in twin.due_until(stopped):
            if not self.run(self.store.queries.device(name, device.device_id)).is_pending:
                twin.finish(device)
        twin.now = stopped

    # What testers do

    @rule(
        fleet=NAMES,
        device_id=DEVICE_IDS,
        steps=st.lists(STEPS, min_size=1, max_size=3),
        sticky=st.booleans(),
    )
    def set_script(self, fleet: str, device_id: int, steps: list[Step], *, sticky: bool) -> None:
        name = self.name(fleet)
        call = self.store.fleets.set_script(name, device_id, Script(tuple(steps), sticky=sticky))
        if device_id in self.twins[name].devices:
            self.run(call)
            self.twins[name].scripts[device_id] = [*steps], sticky
        else:
            with pytest.raises(NoSuchDevice):
                self.run(call)

    @rule(fleet=NAMES, data=st.data())
    @precondition(lambda self: any(twin.scripts for twin in self.twins.values()))
    def end_script(self, fleet: str, data: st.DataObject) -> None:
        twin = self.twins[self.name(fleet)]
        device_id = data.draw(st.sampled_from(sorted(twin.scripts) or [1]))
        self.run(self.store.fleets.set_script(self.name(fleet), device_id, None))
        twin.scripts.pop(device_id, None)

    @rule(fleet=NAMES, device_id=DEVICE_IDS, outcome=OUTCOMES)
    def release(self, fleet: str, device_id: int, outcome: Outcome) -> None:
        name = self.name(fleet)
        twin = self.twins[name]
        device = twin.devices.get(device_id)
        call = self.store.finisher.release(name, device_id, outcome)
        if device in twin.held:
            released = self.run(call)
            twin.finish(device, outcome)
            assert released == twin.devices[device_id]
        else:
            with pytest.raises(NoSuchDevice if device is None else NothingHeld):
                self.run(call)

    @rule(fleet=NAMES, outcome=OUTCOMES)
    @precondition(lambda self: any(twin.held for twin in self.twins.values()))
    def release_all(self, fleet: str, outcome: Outcome) -> None:
        for device in self.twins[self.name(fleet)].held:
            self.release(fleet, device.device_id, outcome)

    @rule(fleet=NAMES, profile=st.sampled_from(PROFILES))
    def change_profile(self, fleet: str, profile: Profile) -> None:
        name = self.name(fleet)
        self.run(self.store.fleets.change_profile(name, lambda _: profile))
        self.twins[name].profile = profile

    @rule(fleet=NAMES)
    def reset(self, fleet: str) -> None:
        name = self.name(fleet)
        before = self.twins[name]
        self.run(self.store.fleets.reset(name))
        self.meet(name)
        after = self.twins[name]
        assert (after.first, after.first_errors) == (before.first, before.first_errors)
        assert after.profile == before.profile
        assert after.generation != before.generation

    @rule(fleet=NAMES, first=st.sampled_from(FIRST_DATA), profile=st.sampled_from(PROFILES))
    def replace(self, fleet: str, first: FirstData, profile: Profile) -> None:
        self.put(self.name(fleet), first, profile)

    @rule(fleet=NAMES, first=st.sampled_from(FIRST_DATA), profile=st.sampled_from(PROFILES))
    def delete_and_make_anew(self, fleet: str, first: FirstData, profile: Profile) -> None:
        name = self.name(fleet)
        self.run(self.store.fleets.delete(name))
        del self.twins[name]
        with pytest.raises(NoSuchFleet):
            self.run(self.store.starter.begin(name, [1]))
        self.put(name, first, profile)

    @rule()
    @precondition(lambda self: self.world.home.outlives_the_process)
    def restart(self) -> None:
        self.run(self.store.close())
        self.world.open()

    # What must always be so

    @invariant()
    def is_the_twin(self) -> None:
        self.run(self.check())

    async def check(self) -> None:
        pending = 0
        for name, twin in self.twins.items():
            pending += len(twin.pending)
            await self.check_devices(name, twin)
            await self.check_errors(name, twin)
            await self.check_counts(name, twin)
        assert await self.store.queries.pending() == pending

    async def check_devices(self, name: str, twin: ReferenceModel) -> None:
        found = await devices(self.store, name)
        assert found == list(twin.devices.values())
        for device in found:
            assert device.last_sync_at is None or device.last_sync_at <= device.last_attempt_at
        view = await self.store.queries.fleet(name)
        assert (view.generation, view.clock.now) == (twin.generation, twin.now)
        # Exactly once each, and told exactly once.
        ends = self.world.heard.finishes.get(name, [])
        told = Counter((each.device.device_id, each.device.attempt) for each in ends)
        assert told == Counter(twin.finished)
        assert set(told.values()) <= {1}

    async def check_errors(self, name: str, twin: ReferenceModel) -> None:
        logs = await error_logs(self.store, name)
        assert [log.error_id for log in logs] == list(range(1, len(logs) + 1))
        # What falls due at one moment finishes in an order that nobody promises.
        assert Counter(log[1:] for log in logs) == Counter(twin.errors)
        by_attempt = Counter((log.device_id, log.attempt) for log in logs if log.attempt)
        assert set(by_attempt.values()) <= {1}

    async def check_counts(self, name: str, twin: ReferenceModel) -> None:
        ledger, stats = await self.store.queries.ledger(name), await self.store.queries.stats(name)
        assert ledger.balanced
        failed = sum(twin.failed.values())
        assert (ledger.accepted, ledger.joined, ledger.refused, ledger.succeeded) == (
            twin.accepted,
            twin.joined,
            twin.refused,
            twin.succeeded,
        )
        assert {
            Outcome(code, message): times
            for code, messages in ledger.failed.items()
            for message, times in messages.items()
        } == dict(twin.failed)
        assert (ledger.pending, ledger.held) == (len(twin.pending), len(twin.held))
        assert ledger.error_logs == failed
        assert (stats.devices, stats.pending) == (len(twin.devices), len(twin.pending))
        assert stats.attempts == stats.succeeded + stats.failed + stats.pending == twin.accepted
        assert (stats.failed, stats.error_logs) == (failed, len(twin.errors))
        codes = Counter(each.sync_status_code for each in twin.devices.values())
        assert stats.by_status == {code: codes[code] for code in STATUS_CODES}

    def check_order(self, name: str, dues: list[int]) -> None:
        """Assert that what has just finished did so in due order."""
        twin = self.twins[name]
        if not dues:
            return
        expected = dict(zip(twin.finished[-len(dues) :], dues, strict=True))
        ends = self.world.heard.finishes[name][-len(dues) :]
        order = [expected[each.device.device_id, each.device.attempt] for each in ends]
        assert order == dues


@pytest.fixture(params=HARNESSES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world = World(request.param, tmp_path)
    yield world
    world.close()


def drive(world: World, phases: Collection[HypothesisPhase] = tuple(HypothesisPhase)) -> None:
    run_state_machine_as_test(
        type("Machine", (StoreMachine,), {"world": world}),
        settings=settings(
            max_examples=world.home.examples,
            stateful_step_count=30,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.slow
def test_a_store_does_what_its_twin_does(world: World) -> None:
    drive(world)


@pytest.mark.parametrize("broken", [loses_error_logs, finishes_twice, forgets_the_sync])
def test_the_twin_sees_a_broken_transition(
    world: World, monkeypatch: pytest.MonkeyPatch, broken: Finish
) -> None:
    break_finish(monkeypatch, broken)
    with pytest.raises(AssertionError):
        drive(world, [HypothesisPhase.generate])
