"""Clients that retry with idempotency keys: what they mean once begins once, whatever is killed."""

import asyncio
import random
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.chaos.conftest import MakeReplica, short_or_long
from tests.chaos.replica import Replica, token
from tools.postgres import Postgres

pytestmark = pytest.mark.timeout(short_or_long(180, 3600))

CLIENTS = 40
PAUSE = 0.02
"""Seconds until a client that got no answer, or not a good one, tries again."""
LOST = {"calls": ["sync", "bulk"], "share": 0.3, "fault": {"kind": "reset"}, "when": "after"}


class Clients:
    """Clients of one replica, on one fleet."""

    def __init__(self, replica: Replica, fleet: str) -> None:
        self._session = ClientSession(
            replica.url,
            headers={"Authorization": f"Bearer {token()}", "Pisync-Fleet": fleet},
            timeout=ClientTimeout(total=30),
        )
        self._admin = f"/admin/fleets/{fleet}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, **options: Any) -> tuple[Any, Any]:
        """Call until there is a good answer; return its JSON and its headers."""
        while True:
            try:
                async with self._session.request(method, path, **options) as answer:
                    if answer.status < 300:
                        content = await answer.json() if answer.status != 204 else None
                        return content, answer.headers
                    assert answer.status in (409, 503), await answer.text()
            except (ClientError, TimeoutError):
                pass
            await asyncio.sleep(PAUSE)

    async def admin(self, method: str, path: str, body: object = None) -> Any:
        """Make a call of an admin until there is a good answer; return its JSON."""
        return (await self.call(method, self._admin + path, json=body))[0]

    async def sync(self, device_id: int, attempts: int) -> None:
        """Sync a device so often, with a key each time, and wait for the end in between."""
        path = f"/devices/{device_id}"
        for attempt in range(1, attempts + 1):
            headers = {"Idempotency-Key": f"{device_id}-{attempt}"}
            _, answered = await self.call("POST", f"{path}/sync", headers=headers)
            assert answered["Pisync-Attempt"] == str(attempt)
            while (await self.call("GET", path))[0]["sync_status_code"] == 202:  # noqa: ASYNC110 - what happens is in the replica
                await asyncio.sleep(PAUSE)


async def kill_while(
    replica: Replica, work: asyncio.Task[Any], dice: random.Random, longest: float
) -> int:
    """Kill a replica again and again until some work is done; return how often."""
    kills = 0
    while not work.done():
        await asyncio.wait([work], timeout=dice.uniform(0.01, longest))
        if not work.done():
            await replica.kill()
            await replica.start()
            kills += 1
    await work
    return kills


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_each_sync_begins_once(
    make_replica: MakeReplica,
    tmp_path: Path,
    dice: random.Random,
    kind: str,
    request: pytest.FixtureRequest,
) -> None:
    store = f"sqlite:///{tmp_path}/pisync.db"
    if kind == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        store = server.url(await server.make_database())
    replica = make_replica(store)
    await replica.start()
    attempts = short_or_long(3, 100)
    async with Clients(replica, "default") as clients:
        await clients.admin("PUT", "/faults", [LOST])
        syncs = [clients.sync(each, attempts) for each in range(1, CLIENTS + 1)]
        assert await kill_while(replica, asyncio.ensure_future(asyncio.gather(*syncs)), dice, 0.8)
        ledger = await clients.admin("GET", "/ledger")
    assert (ledger["accepted"], ledger["joined"]) == (CLIENTS * attempts, 0)
    assert ledger["balanced"]


async def test_a_bulk_sync_begins_each_device_once(
    make_replica: MakeReplica, tmp_path: Path, dice: random.Random
) -> None:
    replica = make_replica(f"sqlite:///{tmp_path}/pisync.db")
    await replica.start()
    devices, calls, kills = 20_000, short_or_long(2, 50), 0
    async with Clients(replica, "large") as clients:
        await clients.admin("PUT", "", {"devices": devices, "profile": {"seed": 7}})
        await clients.admin("PUT", "/clock", {"mode": "manual"})
        for number in count(1):
            call = clients.call(
                "POST",
                "/devices/sync",
                json={"all": True},
                headers={"Idempotency-Key": f"all-{number}"},
            )
            work = asyncio.ensure_future(call)
            kills += await kill_while(replica, work, dice, 0.3)
            result, _ = work.result()
            assert result == {"started": devices, "joined": 0, "refused": 0, "not_found": []}
            ledger = await clients.admin("GET", "/ledger")
            assert (ledger["accepted"], ledger["joined"]) == (devices * number, 0)
            await clients.admin("POST", "/settle")
            # A fast machine may be done with a call before it is killed.
            if number >= calls and kills:
                break
