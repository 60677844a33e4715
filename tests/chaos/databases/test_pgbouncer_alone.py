"""PgBouncer that gives each transaction another session, and nothing leads past it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.store import PostgresStore
from tests.chaos.conftest import MakeReplica, lack, verdict
from tests.chaos.databases.conftest import SECONDS, Serve
from tests.chaos.load import Load
from tests.chaos.replica import Replica, token
from tests.support.stores.pgbouncer import PgBouncer
from tests.support.stores.pooled_settings import pooled_settings
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import FAILING, TWENTY
from tools.postgres import Postgres

ALONE: Mapping[str, str] = MappingProxyType({"PISYNC_STORE_DIRECT": "none"})
LAB = "/admin/fleets/lab"
NDJSON = {"Content-Type": "application/x-ndjson"}
BACK = 60
"""Seconds in which replicas are back after the pooler is, on a machine that is busy."""


@pytest.fixture(autouse=True)
def patient_store() -> None:
    """Let stores be as impatient as they are: it is what is tested."""


@pytest.fixture
async def database(postgres: Postgres) -> str:
    """The name of an empty database, for whose role all is set that a pooler's sessions need."""
    if (what := PgBouncer.lacking()) is not None:
        lack(what)
    name = await postgres.make_database()
    for statement in pooled_settings(name):
        await postgres.ask(statement)
    return name


@pytest.fixture
def pooler(postgres: Postgres, folder: Path, database: str) -> Iterator[PgBouncer]:
    """So few sessions that every transaction may get another one."""
    assert database
    with PgBouncer(folder, postgres, "transaction", sessions=4) as pooler:
        yield pooler


@pytest.fixture
async def replicas(pooler: PgBouncer, database: str, make_replica: MakeReplica) -> list[Replica]:
    """Two, which have started at once on an empty database."""
    replicas = [make_replica(pooler.url(database), variables=ALONE) for _ in range(2)]
    await asyncio.gather(*(each.start() for each in replicas))
    return replicas


@pytest.fixture
async def clients(replicas: list[Replica]) -> AsyncIterator[list[ClientSession]]:
    """One for each replica, of one who may do everything."""
    headers = {"Authorization": f"Bearer {token()}"}
    clients = [ClientSession(each.url, headers=headers) for each in replicas]
    yield clients
    for client in clients:
        await client.close()


async def call(client: ClientSession, method: str, path: str, **options: Any) -> Any:
    """Make a call that succeeds; return what its JSON says, if anything."""
    async with client.request(method, path, **options) as answer:
        text = await answer.read()
        assert answer.status < 300, text
        return orjson.loads(text) if text.startswith((b"{", b"[")) else None


@pytest.mark.parametrize("sessions", [2, 20])
async def test_replicas_serve(
    postgres: Postgres, folder: Path, database: str, serve: Serve, sessions: int
) -> None:
    # With two, either one of those who start at once has both, or nobody would.
    with PgBouncer(folder, postgres, "transaction", sessions) as pooler:
        await serve(pooler.url(database), **ALONE)


async def test_a_single_session_is_refused_and_soon(
    postgres: Postgres, folder: Path, database: str
) -> None:
    refused = pytest.raises(CannotOpen, match=r"no second session .*default_pool_size")
    began = monotonic()
    with PgBouncer(folder, postgres, "transaction", sessions=1) as pooler, refused:
        store = PostgresStore(pooler.url(database), TWENTY, FAILING, direct="none")
        await store.open(RecordingObserver())
    assert monotonic() - began < 15


async def test_what_one_does_another_one_tells(clients: list[ClientSession]) -> None:
    one, other = clients
    account = {"username": "maria", "password": "a good password"}
    assert "token" in await call(one, "POST", "/register", json=account)
    assert "token" in await call(other, "POST", "/login", json=account)
    heard = []
    async with asyncio.timeout(30), other.get("/events") as stream:
        for device_id in range(1, 11):
            await call(one, "POST", f"/devices/{device_id}/sync")
        async for line in stream.content:
            if line.startswith(b"data: ") and b'"device":' in line:
                event = orjson.loads(line[6:])
                heard.append((event["device"]["device_id"], event["attempt"]))
            if len(heard) == 20:
                break
    # Each begins and finishes.
    assert sorted(heard) == sorted((device_id, 1) for device_id in range(1, 11) for _ in range(2))


async def test_what_is_set_on_one_is_known_to_all_when_it_is_answered(
    clients: list[ClientSession],
) -> None:
    await call(clients[0], "PUT", LAB, json={"devices": 5})
    in_lab = {"Pisync-Fleet": "lab"}
    for attempt in range(4):
        one, other = clients if attempt % 2 else reversed(clients)
        rule = {"calls": ["stats"], "fault": {"kind": "status", "status": 503}}
        await call(one, "PUT", f"{LAB}/faults", json=[rule])
        async with other.get("/stats", headers=in_lab) as answer:
            assert answer.headers.get("Pisync-Fault") == "status"
        await call(one, "DELETE", f"{LAB}/faults")
        await call(other, "GET", "/stats", headers=in_lab)
        await call(one, "PUT", f"{LAB}/clock", json={"mode": "auto"})
        await call(other, "POST", "/devices/1/sync", headers=in_lab)
        codes = [
            (await call(other, "GET", "/devices/1", headers=in_lab))["sync_status_code"]
            for _ in range(2)
        ]
        assert codes[0] == 202
        assert codes[1] != 202
        await call(one, "PUT", f"{LAB}/clock", json={"mode": "real"})


async def test_snapshots_are_taken_and_restored(clients: list[ClientSession]) -> None:
    one, other = clients
    await call(one, "PUT", LAB, json={"devices": 5_000})
    await call(one, "PUT", f"{LAB}/clock", json={"mode": "manual"})
    in_lab = {"Pisync-Fleet": "lab"}
    await call(one, "POST", "/devices/sync", json={"all": True}, headers=in_lab)

    async def take_and_restore(client: ClientSession, name: str) -> None:
        for _ in range(3):
            async with client.get(f"{LAB}/snapshot") as answer:
                assert answer.status == 200
                document = await answer.read()
            copied = f"/admin/fleets/{name}"
            await call(client, "PUT", f"{copied}/snapshot", data=BytesIO(document), headers=NDJSON)
            async with client.get(f"{copied}/snapshot") as answer:
                assert lines(await answer.read()) == lines(document)

    # More at once than there are sessions.
    names = [(client, f"copy-{each}") for each, client in enumerate([one, other] * 2)]
    await asyncio.gather(*(take_and_restore(*each) for each in names))


def lines(document: bytes) -> list[object]:
    """Return a snapshot's lines without the name of its fleet, and the sum of them."""
    first, *rest, _ = document.splitlines()
    return [{**orjson.loads(first), "fleet": None}, *rest]


async def test_it_may_be_restarted_under_load(pooler: PgBouncer, replicas: list[Replica]) -> None:
    urls = [each.url for each in replicas]
    async with Load(urls, sure_of_503=False) as load:
        for _ in range(2):
            await asyncio.sleep(SECONDS)
            pooler.__exit__()
            await asyncio.sleep(0.3)
            pooler.__enter__()
            async with asyncio.timeout(BACK):
                await asyncio.gather(*(each.ready() for each in replicas))
        await asyncio.sleep(SECONDS)
    assert await verdict(load, urls[0]) == []
    assert len(load.journal.accepted) > 20
