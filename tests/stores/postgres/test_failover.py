"""Another server takes over: replicas find the one that takes writes, or say that none does."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from pisync.stores.base import Store
from pisync.stores.errors import CannotOpen, StoreUnavailable
from pisync.stores.postgres.store import PostgresStore
from tests.support.raw_connection import capture_logs
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask
from tests.support.stores.short import FAILING, TWENTY, F, start
from tools.postgres import Postgres

SOON = 20.0
DATABASE = "pisync"


@pytest.fixture(autouse=True)
def patient_store() -> None:
    """Let stores be as impatient as they are: it is what is tested."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="pisync-failover-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def primary(folder: Path) -> AsyncIterator[Postgres]:
    (folder / "primary").mkdir()
    server = Postgres(folder / "primary")
    await asyncio.to_thread(server.start)
    await server.ask(f"CREATE DATABASE {DATABASE}")
    yield server
    server.kill()


@pytest.fixture
async def standby(primary: Postgres, folder: Path) -> AsyncIterator[Postgres]:
    (folder / "standby").mkdir(mode=0o700)
    server = await asyncio.to_thread(primary.standby, folder / "standby")
    await asyncio.to_thread(server.start)
    yield server
    server.kill()


def url(*servers: Postgres) -> str:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://postgres@{hosts}/{DATABASE}"


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[str], Awaitable[PostgresStore]]]:
    stores: list[PostgresStore] = []

    async def open_store(at: str) -> PostgresStore:
        store = PostgresStore(at, TWENTY, FAILING)
        await store.open(RecordingObserver())
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        await store.close()


Open = Callable[[str], Awaitable[PostgresStore]]


async def until_ready(store: Store, *, ready: bool) -> None:
    async with asyncio.timeout(SOON):
        while True:
            try:
                await store.ping()
            except StoreUnavailable:
                if not ready:
                    return
            else:
                if ready:
                    return
            await asyncio.sleep(0.1)


async def test_of_several_hosts_the_one_that_takes_writes_is_used(
    primary: Postgres, standby: Postgres, opened: Open
) -> None:
    store = await opened(url(standby, primary))
    assert len(await start(store, 1, 2, 3)) == 3
    await store.ping()


async def test_a_standby_alone_is_refused(primary: Postgres, standby: Postgres) -> None:
    with pytest.raises(CannotOpen, match="takes no writes: it is a standby, or read-only"):
        await PostgresStore(url(standby), TWENTY, FAILING).open(RecordingObserver())


async def test_when_the_primary_dies_its_standby_takes_over(
    primary: Postgres, standby: Postgres, opened: Open
) -> None:
    store = await opened(url(primary, standby))
    await start(store, 1, 2, 3)
    async with asyncio.timeout(SOON):
        behind = "SELECT count(*) < 3 FROM devices WHERE attempt = 1"
        while await ask(url(standby), behind):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    primary.kill()
    await until_ready(store, ready=False)
    with pytest.raises(StoreUnavailable):
        await store.starter.begin(F, [4])
    await ask(url(standby), "SELECT pg_promote()")
    await until_ready(store, ready=True)
    await start(store, 4)
    await store.finisher.settle(F)
    ledger = await store.queries.ledger(F)
    assert ledger.accepted == 4
    assert ledger.balanced


async def test_a_host_that_does_not_answer_does_not_stand_in_the_way(
    primary: Postgres, opened: Open
) -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(ignore, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        store = await opened(url(primary).replace("127.0.0.1", f"127.0.0.1:{port},127.0.0.1", 1))
        await start(store, 1, 2, 3)


async def test_connections_to_a_server_that_takes_no_writes_any_more_are_dropped(
    primary: Postgres, standby: Postgres, opened: Open
) -> None:
    store = await opened(url(primary, standby))
    await start(store, 1, 2, 3)
    with capture_logs() as logged:
        await primary.ask("ALTER SYSTEM SET default_transaction_read_only = on")
        await primary.ask("SELECT pg_reload_conf()")
        await until_ready(store, ready=False)
        await ask(url(standby), "SELECT pg_promote()")
        # It answers, and so do connections that were opened before.
        await until_ready(store, ready=True)
        await start(store, 4)
        await asyncio.sleep(2)  # the one that listens, too, is another one by now
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
    assert await ask(url(primary), count, DATABASE) == 0
    assert await ask(url(standby), count, DATABASE) >= 2
    events = [each["event"] for each in logged]
    assert events.count("connection to hear other replicas is lost") <= 3
    assert events.count("other replicas are heard again") == 1
