"""What all fleets in memory may hold together, on memory and on SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pisync.model.bounds import Budget
from pisync.model.device import ErrorFilter
from pisync.model.fleet import DeviceSpec, Generated, Listed
from pisync.model.outcome import Outcome
from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.requests.fault import CloseFault, FaultRule
from pisync.model.requests.fault_draw import CallOfUser
from pisync.model.requests.idempotency import KeyedRequest, KeyedStep, accepted_device
from pisync.model.requests.journal import JournalEntry, RequestFilter
from pisync.stores.base import Store
from pisync.stores.embedded.sqlite.group_commit import GroupCommitWriter
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.errors import BoundReached, NothingHeld
from tests.conftest import ManualTime
from tests.support.stores.recording_observer import RecordingObserver

FAILURE = Outcome(500, "Connection Timeout")
PROFILE = Profile(1, outcomes=(WeightedOutcome(FAILURE, 1),), delay=ConstantDelay(1.0))


def make_store(path: Path | None) -> EmbeddedStore:
    writer = None if path is None else GroupCommitWriter(path)
    return EmbeddedStore(Generated(3), PROFILE, ManualTime(), writer=writer)


@pytest.fixture(params=["memory", "sqlite"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path / "pisync.db"


@pytest.fixture
async def store(path: Path | None) -> AsyncIterator[EmbeddedStore]:
    store = make_store(path)
    await store.open(RecordingObserver())
    yield store
    await store.close()


def budget(store: EmbeddedStore, name: str) -> Budget:
    (found,) = (each for each in store.budgets if each.bound.name == name)
    return found


def leave_room(store: EmbeddedStore, name: str, room: int) -> Budget:
    """Let no more fit in than this."""
    chosen = budget(store, name)
    chosen.bound = chosen.bound._replace(size=chosen.used + room)
    return chosen


def script(*texts: str) -> Script:
    return Script(tuple(Step(Outcome(400, text)) for text in texts))


async def remember(store: Store, fleet: str, key: str) -> None:
    """Begin a sync with an idempotency key."""
    step = KeyedStep(KeyedRequest.of("alice", key, "/devices/1/sync"), 1, accepted_device)
    await store.starter.begin(fleet, [1], step=step)


async def fail(store: Store, fleet: str, devices: int) -> None:
    await store.starter.begin(fleet, range(1, devices + 1))
    await store.finisher.set_clock(fleet, 0.0)
    await store.finisher.settle(fleet)


async def test_a_deleted_or_reset_fleet_gives_everything_back(store: EmbeddedStore) -> None:
    before = [each.used for each in store.budgets]
    await store.fleets.put("other", Generated(3), PROFILE)
    await store.fleets.set_script("other", 1, script("one", "two"))
    await store.requests.set_faults("other", (FaultRule(("sync",), CloseFault()),))
    await store.requests.meet_fault("other", CallOfUser("sync", 1, "alice"))
    await store.requests.record("other", entry(1))
    await remember(store, "other", "k")
    await fail(store, "other", 3)
    await store.queries.errors("other", ErrorFilter(), 10)
    assert all(each.used > used for each, used in zip(store.budgets, before, strict=True)), [
        (each.bound.name, each.used) for each in store.budgets
    ]

    await store.fleets.reset("other")
    assert budget(store, "script_steps").used == budget(store, "error_logs").used == 0
    await store.fleets.delete("other")
    assert [each.used for each in store.budgets] == before


async def test_fleets(store: EmbeddedStore) -> None:
    leave_room(store, "fleets", 1)
    await store.fleets.put("one", Generated(1), PROFILE)
    with pytest.raises(BoundReached, match="at most 2 fleets"):
        await store.fleets.put("two", Generated(1), PROFILE)
    await store.fleets.put("one", Generated(2), PROFILE)
    await store.fleets.delete("one")
    await store.fleets.put("two", Generated(1), PROFILE)


async def test_steps_of_scripts_and_outcomes_of_profiles(store: EmbeddedStore) -> None:
    budget = leave_room(store, "script_steps", 3)
    await store.fleets.set_script("default", 1, script("one", "two"))
    with pytest.raises(BoundReached, match="at most 3 steps of scripts"):
        await store.fleets.set_script("default", 2, script("one", "two"))
    many = Profile(1, outcomes=tuple(WeightedOutcome(FAILURE, weight) for weight in range(1, 13)))
    with pytest.raises(BoundReached):
        await store.fleets.change_profile("default", lambda _: many)
    with pytest.raises(BoundReached):
        await store.fleets.put("other", Generated(1), many)
    # A script that is over has given its room back.
    await fail(store, "default", 1)
    await fail(store, "default", 1)
    assert budget.used == 0
    await store.fleets.change_profile("default", lambda _: many)
    assert budget.used == 2


async def test_an_attempt_with_polls_is_a_step_until_it_is_over(store: EmbeddedStore) -> None:
    steps = budget(store, "script_steps")
    await store.fleets.set_script("default", 1, Script((Step(FAILURE, polls=2),)))
    await store.starter.begin("default", [1])
    used = [steps.used]
    for _ in range(2):
        await store.acting_reads.device("default", 1)
        used.append(steps.used)
    assert used == [1, 1, 0]


async def test_texts_that_differ(store: EmbeddedStore) -> None:
    text = "a text of its own"
    await store.fleets.set_script("default", 1, script("one", text))
    budget = leave_room(store, "text_bytes", 0)
    # What is there already takes no more.
    await store.fleets.set_script("default", 2, script(text, "one", text))
    await store.fleets.set_script("default", 3, Script((Step(None),)))
    await store.starter.begin("default", [3])
    with pytest.raises(BoundReached, match="bytes of error messages"):
        await store.finisher.release("default", 3, Outcome(404, "another"))
    await store.finisher.release("default", 3, Outcome(404, "one"))
    with pytest.raises(BoundReached):
        await store.fleets.set_script("default", 2, script("another"))
    other = Profile(1, outcomes=(WeightedOutcome(Outcome(400, "another"), 1),))
    with pytest.raises(BoundReached):
        await store.fleets.change_profile("default", lambda _: other)
    with pytest.raises(BoundReached):
        await store.fleets.put("other", Listed([DeviceSpec(1, None, 400, "another")]), PROFILE)
    await store.fleets.reset("default")
    assert budget.has_room(100)
    await store.fleets.set_script("default", 2, script("another"))


async def test_a_release_that_does_nothing_holds_no_text(store: EmbeddedStore) -> None:
    held = budget(store, "text_bytes")
    before = held.used
    with pytest.raises(NothingHeld):
        await store.finisher.release("default", 3, Outcome(404, "another"))
    assert held.used == before


async def test_counters_for_faults_and_devices_of_rules(store: EmbeddedStore) -> None:
    rule = FaultRule(("sync",), CloseFault(), share=1.0)
    await store.fleets.put("other", Generated(3), PROFILE)
    leave_room(store, "fault_counters", 4)
    await store.requests.set_faults("other", (rule,))
    met = [await store.requests.meet_fault("other", CallOfUser("sync", 1, user)) for user in "abcd"]
    # Later users meet none, and those who have a counter go on.
    assert [each is not None for each in met] == [True, True, False, False]
    assert await store.requests.meet_fault("other", CallOfUser("sync", 1, "a")) is not None
    with pytest.raises(BoundReached, match="at most 4 devices in rules"):
        await store.requests.set_faults("default", (rule,))
    await store.requests.set_faults("other", ())
    of_devices = FaultRule(("sync",), CloseFault(), frozenset((1, 2, 3)))
    await store.requests.set_faults("default", (of_devices,))
    with pytest.raises(BoundReached):
        await store.requests.set_faults("default", (of_devices, rule))


def entry(received_at: int) -> JournalEntry:
    return JournalEntry("id", received_at, "sync", "POST", "/", 1, "alice", None, 202, None, 1, 0.0)


async def test_the_journals_that_were_quiet_longest_lose_their_oldest_requests(
    store: EmbeddedStore,
) -> None:
    await store.fleets.put("quiet", Generated(1), PROFILE)
    for moment in range(4):
        await store.requests.record("quiet", entry(moment))
    room = leave_room(store, "journal_entries", 2)
    for moment in range(10, 15):
        await store.requests.record("default", entry(moment))
        assert room.used <= room.bound.size
    quiet = await store.requests.journal("quiet", RequestFilter(), 10)
    loud = await store.requests.journal("default", RequestFilter(), 10)
    assert [each.entry.received_at for each in quiet.requests] == [3]
    assert [each.number for each in quiet.requests] == [4]
    assert len(loud.requests) == 5


async def test_the_fleet_with_most_error_logs_loses_its_oldest(store: EmbeddedStore) -> None:
    await store.fleets.put("large", Generated(6), PROFILE)
    await fail(store, "large", 6)
    room = leave_room(store, "error_logs", 1)
    await fail(store, "default", 3)
    assert room.used <= room.bound.size
    large = await store.queries.errors("large", ErrorFilter(), 10)
    small = await store.queries.errors("default", ErrorFilter(), 10)
    assert [log.error_id for log in large.error_logs] == [6, 5, 4, 3]
    assert len(small.error_logs) == 3
    stats, ledger = await store.queries.stats("large"), await store.queries.ledger("large")
    assert (stats.error_logs, ledger.failures) == (4, 6)


async def test_pages_of_error_logs_are_forgotten_together(store: EmbeddedStore) -> None:
    await fail(store, "default", 3)
    room = leave_room(store, "error_page_logs", 5)
    first = await store.queries.errors("default", ErrorFilter(), 10)
    assert await store.queries.errors("default", ErrorFilter(), 10) is first
    await store.queries.errors("default", ErrorFilter(), 11)
    assert room.used == 0
    assert await store.queries.errors("default", ErrorFilter(), 10) is not first


async def test_what_was_kept_counts_after_a_restart_and_each_text_is_there_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pisync.db"
    store = make_store(path)
    await store.open(RecordingObserver())
    await store.fleets.set_script("default", 1, script("one", "two"))
    await store.requests.set_faults("default", (FaultRule(("sync",), CloseFault()),))
    await fail(store, "default", 3)
    kept = [each.used for each in store.budgets]
    await store.close()
    reopened = make_store(path)
    await reopened.open(RecordingObserver())
    assert [each.used for each in reopened.budgets] == kept
    second = await reopened.queries.device("default", 2)
    third = await reopened.queries.device("default", 3)
    assert second.error_message == FAILURE.error_message
    assert second.error_message is third.error_message
    await reopened.close()


async def test_remembered_answers(store: EmbeddedStore) -> None:
    await store.fleets.put("small", Generated(3), PROFILE)
    await remember(store, "small", "k")
    await remember(store, "default", "k0")
    size = budget(store, "answer_bytes").used // 2
    room = leave_room(store, "answer_bytes", 3 * size)
    for n in range(1, 11):
        await remember(store, "default", f"k{n}")
        assert room.used <= room.bound.size
    # The oldest went, of the fleet that remembers most.
    known = [
        await store.starter.remembered("default", KeyedRequest.of("alice", f"k{n}", "")) is not None
        for n in range(11)
    ]
    # There is some room then, so that not each of those that come looks for it.
    assert known == [False] * 8 + [True] * 3
    assert await store.starter.remembered("small", KeyedRequest.of("alice", "k", "")) is not None
