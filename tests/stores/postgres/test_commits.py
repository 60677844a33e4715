"""Commits of work: all of it becomes true, or nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import pytest

from pisync.stores.base import Store
from pisync.stores.changes import FleetChanges
from pisync.stores.postgres.commit import Commits, SnapshotChanges
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.outbox.relay import Relay
from pisync.stores.postgres.snapshot import load_fleet
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask
from tests.support.stores.short import PROFILE, TWENTY, F, start

EVERYTHING = """
    SELECT jsonb_build_array(
        (SELECT jsonb_agg(devices ORDER BY device_id) FROM devices),
        (SELECT jsonb_agg(turns) FROM turns),
        (SELECT jsonb_agg(status_counts ORDER BY sync_status_code) FROM status_counts),
        (SELECT jsonb_agg(tallies ORDER BY what) FROM tallies)
    )::text"""
MANY_MORE = """
    INSERT INTO devices SELECT fleet_id, more, last_sync_at, 200, NULL, last_attempt_at, 0
    FROM devices CROSS JOIN generate_series(21, 3000) AS more WHERE device_id = 1"""
FETCHED = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'devices'"


class Writer:
    """Begins attempts as a replica does, and lets others be faster in between."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.own = OwnSyncs(1)
        self._commits = Commits(self.own, Relay(database), 1000)

    async def begin(self, connection: Connection, *device_ids: int) -> SnapshotChanges:
        """Compute from what is so now that these devices' attempts begin."""
        fleet = await load_fleet(self._database, connection, F, device_ids)
        changes = FleetChanges(fleet)
        changes.begin(device_ids, fleet.now)
        return changes

    async def apply(
        self,
        connection: Connection,
        changes: SnapshotChanges,
        more: Callable[[Connection], Awaitable[bool]] | None = None,
    ) -> bool:
        """Say whether that is true now."""
        return await self._commits.apply(connection, changes, more=more) is not None


@pytest.fixture
async def store(home: PostgresHarness) -> AsyncIterator[Store]:
    """What others use: its fleet `default` has twenty devices, of which four may be pending."""
    store = home.store(TWENTY, replace(PROFILE, max_pending=4), 1000)
    await store.open(RecordingObserver())
    yield store
    await store.close()


@pytest.fixture
async def database(store: Store, home: PostgresHarness) -> AsyncIterator[Database]:
    """The database of that store, for others."""
    database = Database(Address.parse(home.url))
    await database.open()
    yield database
    await database.close()


async def another_begins_one(store: Store, _url: str) -> None:
    await start(store, 2)


async def others_take_the_room(store: Store, _url: str) -> None:
    await start(store, 5, 6, 7)


async def plans_change(_store: Store, url: str) -> None:
    await ask(url, "UPDATE turns SET version = version + 1")


@pytest.mark.parametrize(
    ("is_late", "device_ids", "in_transaction"),
    [
        (another_begins_one, (2,), False),
        (another_begins_one, (1, 2, 3), False),
        (another_begins_one, (1, 2, 3), True),
        (others_take_the_room, (2,), False),
        (others_take_the_room, (1, 2, 3), False),
        (plans_change, (1, 2, 3), False),
    ],
)
async def test_what_holds_no_more_leaves_nothing(
    store: Store,
    home: PostgresHarness,
    database: Database,
    device_ids: Sequence[int],
    is_late: Callable[[Store, str], Awaitable[None]],
    in_transaction: bool,
) -> None:
    writer = Writer(database)
    async with database.connection() as connection:
        changes = await writer.begin(connection, *device_ids)
        await is_late(store, home.url)
        before = await ask(home.url, EVERYTHING)
        transaction = connection.transaction() if in_transaction else nullcontext()
        async with transaction:
            has_room = is_late is others_take_the_room and len(device_ids) == 1
            assert await writer.apply(connection, changes) == has_room
        assert (await ask(home.url, EVERYTHING) == before) != has_room
        # What is computed anew holds.
        assert await writer.apply(connection, await writer.begin(connection, 9))


async def test_in_a_fleet_that_lives_to_be_late_is_no_error(
    store: Store, home: PostgresHarness, database: Database
) -> None:
    await ask(home.url, "INSERT INTO traffic SELECT fleet_id, 0, NULL FROM fleets")
    writer = Writer(database)
    async with database.connection() as connection, connection.transaction():
        changes = await writer.begin(connection, 1, 2, 3)
        await start(store, 2)
        assert not await writer.apply(connection, changes)
        # The transaction did not fail.
        assert await writer.apply(connection, await writer.begin(connection, 1, 3))


async def test_a_plan_made_for_few_devices_looks_up_no_others_later(
    home: PostgresHarness, database: Database
) -> None:
    writer = Writer(database)
    async with database.connection() as connection:
        assert await writer.apply(connection, await writer.begin(connection, 1))
        await ask(home.url, MANY_MORE)
        async with connection.transaction():
            changes = await writer.begin(connection, 11, 12)
            before = await connection.fetchval(FETCHED)
            assert await writer.apply(connection, changes)
            assert await connection.fetchval(FETCHED) - before < 10


@pytest.mark.parametrize("is_good", [False, True])
async def test_what_comes_with_it_decides(
    store: Store, home: PostgresHarness, database: Database, is_good: bool
) -> None:
    writer = Writer(database)

    async def finisher_looks(_: Connection) -> bool:
        # What it took now it would find not begun yet, pass over, and so leave to other replicas.
        assert writer.own.first(changes.fleet.fleet_id) is None
        return is_good

    async with database.connection() as connection:
        changes = await writer.begin(connection, 1)
        before = await ask(home.url, EVERYTHING)
        assert await writer.apply(connection, changes, finisher_looks) is is_good
    assert (await ask(home.url, EVERYTHING) != before) is is_good
    assert (writer.own.first(changes.fleet.fleet_id) is not None) is is_good
