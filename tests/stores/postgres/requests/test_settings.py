"""Settings for requests, as several replicas know them."""

import asyncio
from collections.abc import Sequence

import pytest

from pisync.model.fleet import Generated
from pisync.model.parsing.faults import write_rules
from pisync.model.plans.profile import Profile
from pisync.model.requests.fault import CloseFault, FaultRule
from pisync.model.requests.fault_draw import CallOfUser
from pisync.model.requests.journal import JournalEntry, RequestFilter
from pisync.stores.base import Store
from pisync.stores.postgres.requests.settings import KnownSettings
from pisync.stores.postgres.requests.store import PostgresRequests
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.server import ask
from tests.support.stores.short import PROFILE, F
from tests.support.waiting import eventually

ALICE = CallOfUser("sync", 7, "alice")
FIRST = FaultRule(("sync",), CloseFault(), first=5)
ENTRY = JournalEntry("r", 0, "sync", "POST", "/devices/7/sync", 7, "alice", None, 202, None, 1, 0.1)


@pytest.fixture
def profile() -> Profile:
    return PROFILE


async def test_what_one_sets_all_go_by(replicas: Sequence[Store]) -> None:
    for store in replicas:
        assert await store.requests.meet_fault(F, ALICE) is None
        assert not store.requests.is_watched(F)
    await replicas[0].requests.set_faults(F, (FIRST,))
    assert all(store.requests.is_watched(F) for store in replicas)
    met = await asyncio.gather(
        *(store.requests.meet_fault(F, ALICE) for store in replicas for _ in range(4))
    )
    assert sum(fault is not None for fault in met) == 5
    for store in replicas:
        assert await store.requests.faults(F) == [(FIRST, 5)]
        assert (await store.queries.ledger(F)).faults["before"] == {"close": 5}
    await replicas[1].requests.set_faults(F, ())
    assert await replicas[2].requests.meet_fault(F, ALICE) is None


async def test_a_reset_and_a_replacement_are_known_to_all(replicas: Sequence[Store]) -> None:
    one, other, third = replicas
    await one.requests.set_faults(F, (FIRST,))
    for _ in range(6):
        await other.requests.meet_fault(F, ALICE)
    await third.fleets.reset(F)
    assert await other.requests.meet_fault(F, ALICE) is not None
    await one.fleets.put(F, Generated(5), PROFILE)
    assert await other.requests.meet_fault(F, ALICE) is None


async def test_a_journal_is_one_for_all(replicas: Sequence[Store]) -> None:
    await replicas[0].fleets.change_profile(F, lambda same: same, journal=10)
    await asyncio.gather(*(store.requests.record(F, ENTRY) for _ in range(4) for store in replicas))
    for store in replicas:
        page = await store.requests.journal(F, RequestFilter(), 100)
        assert [request.number for request in page.requests] == list(range(12, 2, -1))


def known_to(store: Store) -> KnownSettings:
    assert isinstance(store.requests, PostgresRequests)
    return store.requests._settings  # noqa: SLF001 - what it has observers is seen nowhere else


async def test_a_new_fleet_with_a_journal_is_there_once_all_have_heard(
    replicas: Sequence[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, _ = replicas
    settings, loop = known_to(other), asyncio.get_running_loop()
    hear = settings.changed
    monkeypatch.setattr(settings, "changed", lambda fleet: loop.call_later(0.02, hear, fleet))
    await one.fleets.put("new", Generated(3), PROFILE, journal=10)
    await other.requests.record("new", ENTRY)
    assert len((await one.requests.journal("new", RequestFilter(), 10)).requests) == 1


async def test_what_is_noted_before_a_reset_is_heard_of_is_not_lost(
    replicas: Sequence[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, _ = replicas
    await one.fleets.put("new", Generated(3), PROFILE, journal=10)
    await other.requests.record("new", ENTRY)
    with monkeypatch.context() as deaf:
        deaf.setattr(known_to(other), "changed", lambda _: None)
        await one.fleets.reset("new")
        await asyncio.sleep(0.1)  # until it would have observers
    await other.requests.record("new", ENTRY)
    assert len((await one.requests.journal("new", RequestFilter(), 10)).requests) == 1
    await one.fleets.delete("new")
    await other.requests.record("new", ENTRY)


async def test_what_changes_while_nothing_is_heard_is_known_all_the_same(
    home: PostgresHarness, replicas: Sequence[Store]
) -> None:
    other = replicas[1]
    await ask(
        home.url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    # As another replica does it, whose notice nobody hears.
    rules = write_rules((FIRST,))
    await ask(
        home.url,
        "INSERT INTO request_settings SELECT fleet_id, 0, $1, 1, 0, 0 FROM fleets",
        rules,
    )
    await eventually(lambda: other.requests.is_watched(F))
    assert await other.requests.meet_fault(F, ALICE) is not None


async def test_changes_of_a_fleet_and_its_settings_never_deadlock(
    replicas: Sequence[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Once is enough: a deadlock would be a failure, and not tried again.
    monkeypatch.setattr("pisync.stores.postgres.database._TRIES", 1)
    await replicas[0].fleets.change_profile(F, lambda same: same, journal=10)

    async def change(store: Store) -> None:
        for size in range(1, 15):
            await asyncio.gather(
                store.requests.set_faults(F, (FIRST,)),
                store.fleets.change_profile(F, lambda same: same, journal=size),
                store.fleets.reset(F),
                store.requests.record(F, ENTRY),
                *(store.requests.meet_fault(F, ALICE._replace(device_id=n)) for n in range(1, 4)),
            )

    await asyncio.gather(*map(change, replicas))
