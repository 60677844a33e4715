"""One process on an SQLite file, killed while it makes a fleet of what another is."""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientError, ClientSession

from tests.chaos.conftest import MakeReplica, short_or_long
from tests.chaos.replica import Replica, token

pytestmark = pytest.mark.timeout(short_or_long(180, 3600))

SIZE = 10_000
LAB, DESK = "/admin/fleets/lab", "/admin/fleets/desk"
NDJSON = {"Content-Type": "application/x-ndjson"}
ORPHANS = "SELECT count(*) FROM devices WHERE fleet_id NOT IN (SELECT fleet_id FROM fleets)"
Content = list[Any] | None
"""What a fleet is, its name left out; None if it is not there."""
Make = Callable[["Client"], Coroutine[Any, Any, int]]


class Client:
    """Calls on one service, of one who may do everything."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        async with self._session.request(method, path, **options) as answer:
            return answer.status, await answer.read()

    async def content(self, fleet: str) -> Content:
        status, document = await self.call("GET", f"{fleet}/snapshot")
        if status == 404:
            return None
        first, *lines, _ = document.splitlines()
        return [{**orjson.loads(first), "fleet": None}, *lines]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pisync.db"


@pytest.fixture
async def replica(make_replica: MakeReplica, file: Path) -> Replica:
    replica = make_replica(f"sqlite:///{file}")
    await replica.start()
    return replica


@pytest.fixture
async def client(replica: Replica) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token()}"}
    async with ClientSession(replica.url, headers=headers) as session:
        yield Client(session)


async def restore(client: Client) -> int:
    _, document = await client.call("GET", f"{LAB}/snapshot")
    status, _ = await client.call("PUT", f"{DESK}/snapshot", data=BytesIO(document), headers=NDJSON)
    return status


async def copy(client: Client) -> int:
    status, _ = await client.call("POST", f"{LAB}/copy", json={"to": "desk"})
    return status


@pytest.mark.parametrize("make", [restore, copy])
async def test_the_whole_fleet_or_nothing_is_there_after_a_kill(
    make: Make,
    replica: Replica,
    client: Client,
    file: Path,
    dice: random.Random,
) -> None:
    await client.call("PUT", LAB, json={"devices": SIZE})
    await client.call("PUT", f"{LAB}/clock", json={"mode": "manual"})
    headers = {"Pisync-Fleet": "lab"}
    await client.call("POST", "/devices/sync", json={"all": True}, headers=headers)
    lab = await client.content(LAB)
    began = time.monotonic()
    assert await make(client) == 201
    took = time.monotonic() - began
    unanswered = 0
    for number in range(short_or_long(4, 60)):
        await client.call("DELETE", DESK)
        is_replaced = number % 2 == 1
        if is_replaced:
            await client.call("PUT", DESK, json={"devices": 3})
            await client.call("PUT", f"{DESK}/clock", json={"mode": "manual"})
        before = await client.content(DESK)
        making = asyncio.create_task(make(client))
        await asyncio.sleep(dice.uniform(0, took))
        await replica.kill()
        (status,) = await asyncio.gather(making, return_exceptions=True)
        await replica.start()

        assert await client.content(LAB) == lab
        after = await client.content(DESK)
        if isinstance(status, ClientError):
            unanswered += 1
            assert after in (before, lab)
        else:
            assert status == (200 if is_replaced else 201)
            assert after == lab
    assert unanswered > 0
    # Nor is anything left in the file of what came to nothing.
    async with asyncio.timeout(20):
        while orphans(file):  # noqa: ASYNC110 - only the file tells
            await asyncio.sleep(0.1)


def orphans(file: Path) -> int:
    """Return how many devices in the file are of no fleet."""
    with closing(sqlite3.connect(file, timeout=10)) as connection:
        ((found,),) = connection.execute(ORPHANS)
    return int(found)
