"""A pooler that gives each transaction another session, and no way past it: all goes through it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres import connection
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.alone import alone
from pisync.stores.postgres.connection.migrate import migrate
from pisync.stores.postgres.store import PostgresStore
from tests.support.raw_connection import capture_logs
from tests.support.stores.pooled_settings import pooled_settings
from tests.support.stores.pooler import Pooler
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask, server
from tests.support.stores.short import FAILING, TWENTY, F, start
from tests.support.waiting import SOON, eventually

HOLDERS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
SNAPSHOTS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL"""
END_HOLDER = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted"""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A database without any table, for whose role all is set that a pooler's sessions need."""
    url = await server().make_database("template0")
    for statement in pooled_settings(url.partition("?")[0].rpartition("/")[2]):
        await ask(url, statement)
    yield url
    await server().drop_database(url)


@pytest.fixture
async def pooler(url: str) -> AsyncIterator[Pooler]:
    async with Pooler(url, shared=True) as pooler:
        yield pooler


def address(pooler: Pooler) -> Address:
    return Address.parse(pooler.url, shares_sessions=True)


def store(pooler: Pooler) -> PostgresStore:
    return PostgresStore(pooler.url, TWENTY, FAILING, direct="none")


async def test_replicas_that_start_at_once_share_an_empty_database(
    pooler: Pooler, url: str
) -> None:
    stores = [store(pooler) for _ in range(3)]
    async with AsyncExitStack() as opened:
        async with asyncio.TaskGroup() as starts:
            for each in stores:
                starts.create_task(each.open(RecordingObserver()))
                opened.push_async_callback(each.close)
        await eventually(lambda: is_over(url))
        assert len(await start(stores[0], 1, 2, 3)) == 3
        await stores[1].finisher.settle(F)
        assert (await stores[2].queries.ledger(F)).balanced
    assert pooler.refused == []


async def test_it_may_lead_to_sessions_or_past_a_pooler_as_well(url: str) -> None:
    store = PostgresStore(url, TWENTY, FAILING, direct="none")
    await store.open(RecordingObserver())
    await store.close()


async def test_without_the_settings_it_is_refused(pooler: Pooler, url: str) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    await ask(url, f"ALTER ROLE postgres IN DATABASE {name} RESET jit")
    with pytest.raises(CannotOpen, match=r"lack settings: jit = off$"):
        await store(pooler).open(RecordingObserver())


async def test_those_with_a_session_and_those_without_wait_for_each_other(
    pooler: Pooler, url: str
) -> None:
    ways = [Address.parse(url), address(pooler)]
    for first, second in (ways, reversed(ways)):
        with capture_logs() as logged:
            async with alone(first):
                other = asyncio.create_task(get_ready(second))
                await eventually(lambda: bool(logged))
                assert not other.done()
            await other
        holder = logged[0]["blocked_by"]
        assert logged[0]["event"] == "start waits"
        assert re.match(r"process \d+ \((pisync|unnamed)", holder[0])
        assert len(holder) == 1


async def test_it_is_not_waited_for_ever(
    pooler: Pooler, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection.alone, "LOCK_SECONDS", 0)
    async with alone(Address.parse(url)):
        with pytest.raises(CannotOpen, match="another replica has been getting the database ready"):
            await get_ready(address(pooler))


async def get_ready(way: Address) -> None:
    async with alone(way):
        pass


@pytest.mark.parametrize("is_pooled", [True, False])
async def test_a_start_that_keeps_nobody_waiting_any_more_ends(
    pooler: Pooler, url: str, *, is_pooled: bool
) -> None:
    way = address(pooler) if is_pooled else Address.parse(url)
    with pytest.raises(CannotOpen, match="keeps other replicas waiting was lost"):  # noqa: PT012 - it ends the body
        async with asyncio.timeout(SOON), alone(way):
            await ask(url, END_HOLDER)
            await asyncio.sleep(SOON)


async def test_a_start_may_last(pooler: Pooler, url: str) -> None:
    await migrate(Address.parse(url))
    other = await asyncpg.connect(url)
    await other.execute("SET idle_in_transaction_session_timeout = 0")
    async with alone(address(pooler)):
        async with other.transaction():
            await other.execute("LOCK TABLE alembic_version")
            migrating = asyncio.create_task(migrate(address(pooler)))
            # More than a statement may take, and a transaction be idle, in a pooler's session.
            await asyncio.sleep(2.6)
            assert not migrating.done()
        await migrating
        assert await ask(url, HOLDERS) == 1
        # It does not keep the database from cleaning up.
        assert await ask(url, SNAPSHOTS) == 0
    await other.close()
    await eventually(lambda: is_over(url))


async def is_over(url: str) -> bool:
    return bool(await ask(url, HOLDERS) == 0)
