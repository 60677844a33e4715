"""A bounded number of connections, lent for one job each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from pisync.stores.postgres.connection import pool as pools
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.connection.pool import Pool
from tests.support.stores.harness import PostgresHarness

MOST = 2


class Opened(list[Connection]):
    """Opens connections, and knows them all."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self) -> Connection:
        connection: Connection = await asyncpg.connect(self._url)
        self.append(connection)
        return connection


@pytest.fixture
def opened(home: PostgresHarness) -> Opened:
    """What a pool has opened."""
    return Opened(home.url)


@pytest.fixture
async def pool(opened: Opened) -> AsyncIterator[Pool]:
    """A pool of two connections at most."""
    pool = Pool(opened.open, MOST)
    yield pool
    pool.terminate()


async def test_no_more_are_lent_than_there_may_be(pool: Pool, opened: Opened) -> None:
    one, two = await pool.acquire(), await pool.acquire()
    third = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    assert not third.done()
    pool.release(two)
    assert await third is two
    pool.release(two)
    pool.release(one)
    # The last one back goes first: others may have gone quiet meanwhile.
    assert await pool.acquire() is one
    assert opened == [one, two]


async def test_who_gives_up_waiting_takes_none_away(pool: Pool) -> None:
    one, two = await pool.acquire(), await pool.acquire()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pool.acquire()
    pool.release(one)
    assert await pool.acquire() is one
    pool.release(two)


async def test_what_fails_to_open_leaves_room() -> None:
    async def fail() -> Connection:
        raise ConnectionRefusedError

    pool = Pool(fail, 1)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await pool.acquire()
    await pool.close()


async def end(connection: Connection) -> None:
    connection.terminate()


async def leave_a_transaction_open(connection: Connection) -> None:
    await connection.execute("BEGIN")


@pytest.mark.parametrize("spoil", [end, leave_a_transaction_open])
async def test_what_is_of_no_use_is_not_lent_again(
    pool: Pool, opened: Opened, spoil: Callable[[Connection], Awaitable[None]]
) -> None:
    connection = await pool.acquire()
    await spoil(connection)
    pool.release(connection)
    assert await pool.acquire() is not connection
    assert [each.is_closed() for each in opened] == [True, False]


async def test_one_that_has_ended_while_nobody_used_it_is_not_lent(pool: Pool) -> None:
    connection = await pool.acquire()
    pool.release(connection)
    connection.terminate()
    assert await pool.acquire() is not connection


async def test_expired_ones_are_not_lent_again(pool: Pool) -> None:
    lent, idle = await pool.acquire(), await pool.acquire()
    pool.release(idle)
    pool.expire()
    assert await lent.fetchval("SELECT 1") == 1
    pool.release(lent)
    assert await pool.acquire() not in (lent, idle)
    await ended(lent, idle)


async def test_those_that_nobody_uses_end_in_time(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await pool.acquire(), await pool.acquire()
    pool.release(one)
    monkeypatch.setattr(pools, "_MOST_IDLE_SECONDS", 0)
    pool.release(two)
    await ended(one)
    assert await pool.acquire() is two


async def test_who_closes_waits_for_what_is_lent(pool: Pool) -> None:
    lent, idle = await pool.acquire(), await pool.acquire()
    pool.release(idle)
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    assert await lent.fetchval("SELECT 1") == 1
    assert not closing.done()
    pool.release(lent)
    await closing
    assert lent.is_closed()
    assert idle.is_closed()
    with pytest.raises(asyncpg.InterfaceError):
        await pool.acquire()


async def test_all_may_end_at_once(pool: Pool) -> None:
    lent, idle = await pool.acquire(), await pool.acquire()
    pool.release(idle)
    pool.terminate()
    assert lent.is_closed()
    assert idle.is_closed()
    pool.release(lent)


async def ended(*connections: Connection) -> None:
    async with asyncio.timeout(5):
        while not all(each.is_closed() for each in connections):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
