"""What is due finishes in the commits in which others begin."""

import asyncio
import weakref
from collections.abc import AsyncIterator

import asyncpg
import pytest

from pisync.model.clock import Clock
from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.profile import Profile
from pisync.model.plans.traffic import Traffic
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.sync import SyncDecision
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.changes import Due
from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres.finishing import along as along_module
from pisync.stores.postgres.finishing.along import PATIENCE, DueAlong
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.snapshot import FleetSnapshot
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import FULL, TWENTY, F, start, verdicts

QUICK = Profile(seed=7, outcomes=(WeightedOutcome(FULL, 1),), delay=ConstantDelay(0.01))
POISON = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION USING ERRCODE = '22000'; END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON devices FOR EACH ROW
    WHEN (OLD.sync_status_code = 202) EXECUTE FUNCTION refuse()"""


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
async def store(
    home: PostgresHarness, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    # However slow the machine is.
    monkeypatch.setattr(along_module, "_LASTING", 60.0)
    store = home.store(TWENTY, QUICK, 1000)
    await store.open(observer)
    yield store
    await store.close()


async def due(store: Store, *device_ids: int) -> None:
    """Begin attempts, and wait until they are due; nobody finishes them here by themselves."""
    await start(store, *device_ids)
    await asyncio.sleep(0.02)


async def statuses(store: Store, *device_ids: int) -> list[int]:
    return [(await store.queries.device(F, each)).sync_status_code for each in device_ids]


async def test_is_told_of_as_what_finishes_by_itself(
    home: PostgresHarness, store: Store, observer: RecordingObserver
) -> None:
    await due(store, 2, 1)
    await start(store, 3)
    assert await statuses(store, 1, 2, 3) == [400, 400, 202]
    # In the order in which they fell due, and before what has begun with their end.
    assert observer.order_finished(F) == [1, 2]
    assert all(0 < (each.lateness or 0) < 1 for each in observer.finishes[F])
    assert [each.error_log and each.error_log.error_id for each in observer.finishes[F]] == [1, 2]
    await home.hear(1)
    assert [type(each).__name__ for each in observer.changes(F)][2:] == [
        *["Device", "ErrorLog"] * 2,
        "Device",
    ]
    ledger = await store.queries.ledger(F)
    assert (ledger.accepted, ledger.pending, ledger.balanced) == (3, 1, True)


async def test_may_be_asked_for_again(store: Store) -> None:
    await due(store, 1)
    (again,) = await start(store, 1)
    assert again.attempt == 2
    ledger = await store.queries.ledger(F)
    assert (ledger.accepted, ledger.joined, ledger.balanced) == (2, 0, True)


async def test_makes_a_page_another_where_as_many_begin_as_end(store: Store) -> None:
    async def version(statuses: frozenset[int] | None = None) -> object:
        page = await store.queries.devices(F, after=0, limit=20, statuses=statuses)
        return page.version

    await due(store, 1, 2)
    await start(store, 3, 4)
    # One ends with the status that the other begins with.
    before = await version(), await version(frozenset({400}))
    await asyncio.sleep(0.02)
    await start(store, 1, 2)
    after = await version(), await version(frozenset({400}))
    assert (await store.queries.stats(F)).by_status[202] == 2
    assert all(one != other for one, other in zip(before, after, strict=True))
    # Devices end, and begin again at once.
    await asyncio.sleep(0.02)
    await start(store, 1, 2)
    assert await version() != after[0]


async def test_finishes_by_itself_if_the_commit_fails(store: Store) -> None:
    await due(store, 1)
    with pytest.raises(StoreUnavailable):
        await store.starter.begin(F, [2**63])
    assert await statuses(store, 1) == [202]
    assert await store.finisher.finish_due(100) == 1


async def test_that_fails_does_not_fail_what_begins(home: PostgresHarness, store: Store) -> None:
    await due(store, 1)
    connection = await asyncpg.connect(home.url)
    await connection.execute(POISON)
    begun = await asyncio.gather(*(store.starter.begin(F, [each]) for each in (2, 3)))
    assert [verdicts(each) for each in begun] == [[SyncDecision.STARTED]] * 2
    await connection.execute("DROP TRIGGER refuse ON devices")
    await connection.close()
    await start(store, 4)
    assert await statuses(store, 1) == [400]


async def test_that_failed_leaves_nobody_waiting_for_more(
    home: PostgresHarness, store: Store
) -> None:
    connection = await asyncpg.connect(home.url)
    await due(store, 1)
    await connection.execute(POISON)
    await start(store, 2)
    # Or else it would look ten times a second from now on.
    await asyncio.sleep(PATIENCE * 1.5)
    with pytest.raises(StoreUnavailable):
        await store.finisher.finish_due(100)
    await connection.execute("DROP TRIGGER refuse ON devices")
    await connection.close()
    assert await store.finisher.finish_due(100) == 2
    assert await store.finisher.finish_due(100) == 0
    assert await store.finisher.next_due() is None


async def test_waits_if_time_stands_still_meanwhile(home: PostgresHarness, store: Store) -> None:
    other = home.store(TWENTY, QUICK, 1000)
    await other.open(RecordingObserver())
    await start(store, 1)
    await other.finisher.set_clock(F, 0)
    pending = await statuses(store, 1)
    await asyncio.sleep(0.02)
    await start(store, 2)
    assert await statuses(store, 1) == pending
    assert (await other.finisher.settle(F)).finished >= 1
    await other.close()


async def test_of_a_fleet_that_was_reset_ends_with_it(store: Store) -> None:
    await due(store, 1)
    await store.fleets.reset(F)
    await start(store, 2)
    assert await statuses(store, 1, 2) == [200, 202]
    assert await store.queries.pending() == 1


# How long it waits for that


class Machine:
    now = 0.0


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def own() -> OwnSyncs:
    return OwnSyncs(0)


@pytest.fixture
def along(own: OwnSyncs, machine: Machine) -> DueAlong:
    return DueAlong(own, lambda: machine.now)


def fleet(fleet_id: int = 1, *, speed: float = 1, profile: Profile = QUICK) -> FleetSnapshot:
    return FleetSnapshot(fleet_id, F, 0, profile, Clock(0, 0, speed, False), 0, 0, 0, 0)


def begin(along: DueAlong, known: FleetSnapshot) -> None:
    with along.lent(F):
        along.begins_in(known)


def test_waits_until_nothing_begins_any_more(along: DueAlong, machine: Machine) -> None:
    assert along.left_for(fleet(), -1) == -1
    with along.lent(F):
        along.begins_in(fleet())
        machine.now = 60
        assert along.is_expected()
        assert along.left_for(fleet(), 5) == 5 + PATIENCE
    assert along.left_for(fleet(), 0) == PATIENCE
    machine.now += PATIENCE / 4
    assert along.left_for(fleet(), 0) == pytest.approx(PATIENCE * 3 / 4)
    assert along.left_for(fleet(2), 0) == 0
    machine.now += PATIENCE
    assert not along.is_expected()
    assert along.left_for(fleet(), -1) < 0
    assert along.left_for(fleet(), 5) == 5


def test_keeps_no_devices(along: DueAlong) -> None:
    known = fleet()
    kept = weakref.ref(known.devices)
    begin(along, known)
    del known
    assert kept() is None


def test_waits_only_so_long(along: DueAlong) -> None:
    begin(along, fleet())
    assert along.left_for(fleet(), -PATIENCE) == 0


def test_is_lent_as_far_as_time_has_gone(along: DueAlong, own: OwnSyncs, machine: Machine) -> None:
    sooner, later = Due(SECOND // 100, 1), Due(SECOND // 20, 2)
    own.add(1, [later, sooner])
    with along.lent(F) as lent:
        assert lent.due == []
    begin(along, fleet())
    machine.now = 0.02
    with along.lent(F) as lent:
        assert lent.due == [sooner]
        # By the database's clock, it is not due yet.
        assert lent.of(fleet()) == []
    machine.now = 0.06
    with along.lent(F) as lent:
        assert lent.due == [sooner, later]
        lent.are_done([sooner])
    assert own.first(1) == later.moment
    machine.now = 1
    with along.lent(F) as lent:
        assert lent.due == []


@pytest.mark.parametrize(
    "read",
    [
        fleet(2),
        fleet(speed=0),
        fleet(profile=Profile(7, traffic=Traffic(ConstantDelay(1)))),
    ],
    ids=["another", "stands still", "lives"],
)
def test_is_not_for_every_fleet(
    along: DueAlong, own: OwnSyncs, machine: Machine, read: FleetSnapshot
) -> None:
    own.add(1, [Due(0, 1)])
    begin(along, fleet())
    with along.lent(F) as lent:
        assert lent.due == [Due(0, 1)]
        read.real_time = SECOND
        assert lent.of(read) == []
    assert own.first(1) == 0
