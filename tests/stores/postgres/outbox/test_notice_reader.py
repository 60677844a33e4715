"""Replicas that can't listen hear the same as those that do, in the same order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from unittest.mock import patch

import asyncpg
import pytest

from pisync.model.plans.script import Script, Step
from pisync.model.requests.fault import CloseFault, FaultRule
from pisync.model.requests.fault_draw import CallOfUser
from pisync.model.sync import Change
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import StoreError
from pisync.stores.postgres.connection import connect
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.reading import reading_store
from tests.support.stores.recording_observer import RecordingObserver, Replaced
from tests.support.stores.server import ask
from tests.support.stores.short import FAILING, FULL, TWENTY, F, manual, start
from tests.support.waiting import SOON, eventually

FLEETS = (F, "second", "third")
ALICE = CallOfUser("sync", 7, "alice")
FAULTS = (FaultRule(("sync",), CloseFault(), first=5),)
COPIES = "SELECT count(*) FROM sent_notices"
SIGNED_ON = "SELECT count(*) FROM notice_readers"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
async def listener(home: PostgresHarness, heard: RecordingObserver) -> AsyncIterator[Store]:
    """A replica that listens."""
    store = home.store(TWENTY, FAILING, 1000)
    await store.open(heard)
    yield store
    await store.close()


@pytest.fixture
def read() -> RecordingObserver:
    """What the replica that reads has told."""
    return RecordingObserver()


@pytest.fixture
async def reader(
    listener: Store, home: PostgresHarness, read: RecordingObserver, heard: RecordingObserver
) -> AsyncIterator[Store]:
    """Another one that reads."""
    store = reading_store(home)
    await store.open(read)
    await home.hear(2)
    heard.forget()
    read.forget()
    yield store
    await store.close()


def changes(observer: RecordingObserver) -> list[Change]:
    return [event for event in observer.events.get(F, []) if isinstance(event, Change)]


async def test_it_hears_all_that_others_hear_once_and_in_their_order(
    home: PostgresHarness,
    listener: Store,
    reader: Store,
    heard: RecordingObserver,
    read: RecordingObserver,
) -> None:
    for fleet in FLEETS[1:]:
        await listener.fleets.put(fleet, TWENTY, FAILING)
    for fleet in FLEETS:
        await manual(listener, fleet=fleet)

    async def live(store: Store, fleet: str, turn: int) -> None:
        for step in range(10):
            # What another one resets meanwhile may refuse.
            with suppress(StoreError):
                await store.starter.begin(fleet, [(turn + step * 3) % 19 + 1, 20])
                match (step + turn) % 5:
                    case 0:
                        await store.finisher.settle(fleet)
                    case 1:
                        await store.requests.set_faults(fleet, FAULTS)
                    case 2:
                        await store.fleets.change_profile(fleet, lambda now: now, journal=10 + step)
                    case 3 if step > 5:
                        await store.fleets.reset(fleet)

    with patch.dict(connect.SENDING, clear=True):
        # 0.1.0 sends with its commits.
        old = home.store(TWENTY, FAILING, 1000)
        await old.open(RecordingObserver())
        stores = (listener, reader, old)
        await asyncio.gather(
            *(live(each, fleet, turn) for turn, each in enumerate(stores) for fleet in FLEETS)
        )
    await listener.fleets.delete("third")
    await home.hear(3)
    for fleet in FLEETS:
        told = heard.events[fleet]
        assert Replaced() in told
        assert len(told) > 40
        assert read.events[fleet] == told
    assert read.misses == heard.misses == 0
    await old.close()
    assert await ask(home.url, DEADLOCKS) == 0


@pytest.mark.usefixtures("reader")
async def test_what_is_told_first_and_committed_last_is_not_passed_over(
    home: PostgresHarness, read: RecordingObserver
) -> None:
    slow = await asyncpg.connect(home.url)
    async with slow.transaction():
        await slow.execute("SELECT tell_replicas($1)", '[0,"due",7001]')
        # Nobody waits for it meanwhile, either.
        async with asyncio.timeout(SOON):
            await ask(home.url, "SELECT tell_replicas($1)", '[0,"due",7002]')
        await eventually(lambda: 7002 in read.due)
        assert 7001 not in read.due
    await eventually(lambda: 7001 in read.due)
    await slow.close()


async def test_it_signs_on_after_whoever_has_not_seen_it(
    home: PostgresHarness, listener: Store
) -> None:
    for statement in ("SELECT tell_replicas('[0,\"due\",1]')", "SELECT send_notices(1)"):
        slow = await asyncpg.connect(home.url)
        store = reading_store(home)
        async with slow.transaction():
            await slow.execute(statement)
            opening = asyncio.create_task(store.open(RecordingObserver()))
            await eventually(lambda: _is(home, WAITING, 1))
            assert await ask(home.url, SIGNED_ON) == 0
        await opening
        await start(listener, 1)
        await listener.fleets.reset(F)
        await store.close()
        await slow.close()


async def _is(home: PostgresHarness, question: str, answer: int) -> bool:
    return bool(await ask(home.url, question) == answer)


async def test_what_one_sets_the_other_knows_when_that_is_answered(
    home: PostgresHarness, listener: Store, reader: Store
) -> None:
    polled = Script((Step(FULL, polls=10),))
    for one, other in ((listener, reader), (reader, listener)):
        for store in (one, other):
            assert await store.requests.meet_fault(F, ALICE) is None
            assert not store.requests.is_watched(F)
        await one.requests.set_faults(F, FAULTS)
        assert await other.requests.meet_fault(F, ALICE) is not None
        assert not other.acting_reads.acts(F)
        await one.fleets.set_script(F, 7, polled)
        assert other.acting_reads.acts(F)
        await one.fleets.put(F, TWENTY, FAILING)
        await home.hear(2)


async def test_it_has_heard_of_what_it_did_itself(reader: Store, read: RecordingObserver) -> None:
    await start(reader, 1, 2)
    await reader.fleets.reset(F)
    assert len(changes(read)) == 2
    assert read.events[F][2:] == [Replaced()]


@pytest.mark.parametrize(
    "statement", ["DELETE FROM notice_readers", "TRUNCATE notice_readers, sent_notices"]
)
async def test_one_that_was_forgotten_tells_that_it_has_missed_something(
    home: PostgresHarness, listener: Store, reader: Store, read: RecordingObserver, statement: str
) -> None:
    page = await reader.queries.devices(F, after=0, limit=10, statuses=None)
    await ask(home.url, statement)
    await eventually(lambda: read.misses == 1)
    assert 0 in read.due
    # It may be another server by now, on which the same numbers of transactions mean others.
    again = await reader.queries.devices(F, after=0, limit=10, statuses=None, known=page.version)
    assert again.devices
    await start(listener, 1)
    await eventually(lambda: len(changes(read)) == 1)
    assert read.misses == 1
    assert reader.requests.is_watched(F)  # until it has asked
    assert await reader.requests.meet_fault(F, ALICE) is None
    assert not reader.requests.is_watched(F)


async def test_a_notice_that_it_can_not_read_is_missed_and_no_more(
    home: PostgresHarness, listener: Store, reader: Store, read: RecordingObserver
) -> None:
    for notice in ("no JSON", '[0,"changed",null,"default",1,[1]]'):
        await ask(home.url, "SELECT tell_replicas($1)", notice)
    await start(listener, 1)
    await reader.fleets.reset(F)
    assert read.misses == 2
    assert [type(event) for event in read.events[F]] == [Change, Replaced]


async def test_a_lost_connection_loses_nothing(
    home: PostgresHarness, listener: Store, reader: Store, read: RecordingObserver
) -> None:
    await start(listener, 1)
    end = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE query LIKE '%notice_readers LEFT JOIN%' AND pid <> pg_backend_pid()"""
    assert await ask(home.url, end) == 1
    await start(listener, 2)
    await eventually(lambda: reader.requests.is_watched(F))  # nobody knows what it would have heard
    await eventually(lambda: len(changes(read)) == 2)
    assert read.misses == 0


async def test_sweeps_forget_who_is_away_and_what_all_have_read(home: PostgresHarness) -> None:
    present = await ask(home.url, "SELECT steady_now()")
    for reader, seconds in ((1, 61), (2, 30)):
        seen_at = present - seconds * SECOND
        await ask(home.url, "INSERT INTO notice_readers VALUES ($1, $2)", reader, seen_at)
    for position, seconds in ((1, 122), (2, 121), (3, 90)):
        sent_at = present - seconds * SECOND
        await ask(home.url, "INSERT INTO sent_notices VALUES ($1, '', $2)", position, sent_at)
    # There may be more than it deletes at once.
    assert await ask(home.url, "SELECT sweep(1)") is True
    assert await ask(home.url, "SELECT array_agg(reader_id) FROM notice_readers") == [2]
    assert await ask(home.url, "SELECT min(position) FROM sent_notices") == 2
    assert await ask(home.url, "SELECT sweep(2)") is False
    assert await ask(home.url, "SELECT array_agg(position) FROM sent_notices") == [3]


async def test_where_nobody_reads_nothing_is_kept(home: PostgresHarness, listener: Store) -> None:
    store = reading_store(home)
    await store.open(RecordingObserver())
    await start(listener, 1)
    await home.hear(2)
    assert await ask(home.url, COPIES) > 0
    await store.close()
    assert await ask(home.url, COPIES) == await ask(home.url, SIGNED_ON) == 0
    await start(listener, 2)
    await listener.requests.set_faults(F, FAULTS)
    await listener.fleets.reset(F)
    assert await ask(home.url, COPIES) == 0
    assert await ask(home.url, "SELECT count(*) FROM outbox") == 0
