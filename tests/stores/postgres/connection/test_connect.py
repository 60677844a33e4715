"""A session has what PiSync relies on, whatever defaults a database, a role or a server has."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pisync.stores.errors import CannotOpen, StoreUnavailable
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import CannotConnect, connect
from pisync.stores.postgres.store import PostgresStore
from tests.support.raw_connection import capture_logs
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask, server
from tests.support.stores.short import FAILING, TWENTY, F

DEFAULTS = {
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "1s",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "500ms",
    "synchronous_commit": "off",
    "enable_seqscan": "on",
}


@pytest.fixture(autouse=True)
def patient_store() -> None:
    """Let stores be as impatient as they are: it is what is tested."""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A database whose administrator has opinions."""
    url = await server().make_database()
    name = Address.parse(url).dsn.partition("?")[0].rpartition("/")[2]
    for setting, value in DEFAULTS.items():
        await ask(url, f"ALTER DATABASE {name} SET {setting} = '{value}'")
    yield url
    await server().drop_database(url)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("transaction_isolation", "read committed"),
        ("transaction_deferrable", "off"),
        ("statement_timeout", "2200ms"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "2400ms"),
        ("idle_session_timeout", "0"),
        ("synchronous_commit", "on"),
        ("enable_seqscan", "off"),
    ],
)
async def test_a_session_has_what_it_needs(url: str, setting: str, value: str) -> None:
    connection = await connect(Address.parse(url))
    assert await connection.fetchval(f"SHOW {setting}") == value
    await connection.close()


async def test_one_that_waits_for_more_than_the_disk_still_does(url: str) -> None:
    name = Address.parse(url).dsn.partition("?")[0].rpartition("/")[2]
    await ask(url, f"ALTER DATABASE {name} SET synchronous_commit = 'remote_apply'")
    connection = await connect(Address.parse(url))
    assert await connection.fetchval("SHOW synchronous_commit") == "remote_apply"
    await connection.close()


async def test_syncs_at_the_same_time_all_begin(url: str) -> None:
    stores = [PostgresStore(url, TWENTY, FAILING) for _ in range(3)]
    for store in stores:
        await store.open(RecordingObserver())

    async def sync(store: PostgresStore) -> None:
        for number in range(100):
            await store.starter.begin(F, [number % 20 + 1])

    await asyncio.gather(*(sync(store) for store in stores for _ in range(4)))
    await asyncio.sleep(0.6)  # idle
    await stores[0].ping()
    for store in stores:
        assert (await store.queries.ledger(F)).balanced
        await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://geheim:a@b:geheim%2Fd%25e@127.0.0.1:1/db",
        "postgresql://geheim:geheim@127.0.0.1:1,localhost:1/db",
        "postgresql://geheim:geheim@127.0.0.1:1/db?sslmode=geheim",
        "postgresql://geheim:geheim@127.0.0.1:1/db?sslcert=geheim",
        "postgresql://geheim:geheim@127.0.0.1:1/db?port=geheim",
        "postgresql://geheim:geheim@127.0.0.1:1/db?geheim",
        "postgresql://geheim:geheim@127.0.0.1:1/db?target_session_attrs=geheim",
        "postgresql://geheim:geheim@/db?host=/nowhere&password=geheim",
    ],
)
async def test_no_message_has_a_part_of_the_url(url: str) -> None:
    with pytest.raises(CannotConnect) as refused:
        await connect(Address.parse(url))
    assert "geheim" not in str(refused.value)
    with pytest.raises(CannotOpen) as caught:
        await PostgresStore(url, TWENTY, FAILING).open(RecordingObserver())
    assert "geheim" not in str(caught.value)
    assert str(caught.value).startswith("PostgreSQL: ")


async def test_nor_does_a_refused_login(url: str) -> None:
    with pytest.raises(CannotConnect, match="the role does not exist") as refused:
        await connect(Address.parse(url.replace("postgres:@", "geheim:geheim@")))
    assert "geheim" not in str(refused.value)


async def test_each_host_says_what_is_wrong_with_it() -> None:
    address = Address.parse("postgresql://me@127.0.0.1:1,localhost:2/db")
    with pytest.raises(CannotConnect, match=r"127\.0\.0\.1:1: .*; localhost:2: .*"):
        await connect(address)


async def test_what_fails_again_and_again_is_logged_when_it_changes(url: str) -> None:
    store = PostgresStore(url, TWENTY, FAILING)
    await store.open(RecordingObserver())
    await ask(url, "ALTER TABLE fleets RENAME TO elsewhere")
    with capture_logs() as logged:
        for _ in range(50):
            with pytest.raises(StoreUnavailable):
                await store.queries.fleet(F)
            await store.queries.pending()
    await store.close()
    events = [each["event"] for each in logged]
    assert events == ["database refused a statement"]
    assert "fleets" in logged[0]["reason"]
