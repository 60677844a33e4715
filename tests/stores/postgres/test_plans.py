"""Plans go by indexes while tables are small, too: connections keep them when those have grown."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from pisync.stores.errors import StoreError
from pisync.stores.postgres.connection import connect
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.store import PostgresStore
from tests.stores.postgres.test_away import calls
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask, server
from tests.support.stores.short import FAILING, TWENTY, start

GROWING = ("devices", "error_logs", "scripts", "tallies", "status_counts")
"""Tables with rows of many fleets, or many of one."""
READ_WHOLE = """
    SELECT relname, seq_scan FROM pg_stat_user_tables
    WHERE seq_scan > 0 AND relname = ANY($1) ORDER BY 1"""
PAGE = """
    EXPLAIN SELECT * FROM devices WHERE fleet_id = 1 AND sync_status_code = 400 AND device_id > 5
    ORDER BY device_id LIMIT 10"""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await server().make_database()
    yield url
    await server().drop_database(url)


async def read_whole(url: str) -> dict[str, int]:
    """Make every kind of call; return the growing tables that one has read from end to end."""
    store = PostgresStore(url, TWENTY, FAILING)
    await store.open(RecordingObserver())
    await ask(url, "ANALYZE")
    await start(store, 1, 2, 3)
    await ask(url, "SELECT pg_stat_reset()")
    for call in calls(store).values():
        try:
            await call()
        except StoreError:
            continue  # it is made all the same
    await store.close()  # sessions that end report what they did
    connection = await asyncpg.connect(url)
    counts = await connection.fetch(READ_WHOLE, GROWING)
    await connection.close()
    return dict(map(tuple, counts))


async def test_no_call_reads_a_table_from_end_to_end(url: str) -> None:
    found = await read_whole(url)
    # How many syncs are pending is asked of all fleets: a row of each.
    found.pop("status_counts", None)
    assert found == {}


async def test_without_the_switches_some_would(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*connect.PLANNER]:
        monkeypatch.delitem(connect.PLANNER, name)
    assert "devices" in await read_whole(url)


async def test_a_plan_goes_by_the_index_whatever_the_statistics_say(url: str) -> None:
    store = PostgresStore(url, TWENTY, FAILING)
    await store.open(RecordingObserver())
    await store.close()
    await ask(url, "ANALYZE")
    address = Address.parse(url)
    for patient, plan in ((False, "Index Scan using"), (True, "Seq Scan on devices")):
        connection = await connect.connect(address, patient=patient)
        lines = [row[0] for row in await connection.fetch(PAGE)]
        assert any(plan in line for line in lines), lines
        await connection.close()


async def test_a_plan_is_made_once_for_all_values(url: str) -> None:
    connection = await connect.connect(Address.parse(url))
    for count in range(1, 8):
        values = list(range(count))
        await connection.fetch("SELECT n FROM unnest($1::bigint[]) AS n", values)
    planned = await connection.fetchval("SELECT sum(custom_plans) FROM pg_prepared_statements")
    assert planned == 0
    await connection.close()
