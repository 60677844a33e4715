"""Every call of the contract against every other at once, on every store.

A failure prints the seed; `STORM_SEED=… make chaos` draws the same calls.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError

from tests.chaos.conftest import short_or_long
from tests.chaos.storm import (
    COPY,
    FAULTS,
    FAULTY,
    FLEET_BODY,
    FLEETS,
    JOURNAL,
    LIVING,
    LIVING_BODY,
    Storm,
    StreamReader,
)
from tests.conftest import Api, MakeApi, ShippedServer
from tests.support.slices import SliceWatch
from tests.support.stores.server import server

pytestmark = pytest.mark.slow

CLIENTS = 20
SECONDS = short_or_long(3, 120)


@pytest.fixture
def server_type() -> type[ShippedServer]:
    """What serves: it takes either way, as calls come."""
    return ShippedServer


@pytest.fixture(params=["memory", "sqlite", "postgres", "two replicas"])
async def replicas(
    request: pytest.FixtureRequest, make_api: MakeApi, tmp_path: Path
) -> AsyncIterator[list[Api]]:
    """Applications on one store, called by one who may do everything."""
    if request.param in {"memory", "sqlite"}:
        store = "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/pisync.db"
        yield [(await make_api(store=store)).as_("devices", "admin")]
        return
    url = await server().make_database()
    number = 2 if request.param == "two replicas" else 1
    yield [(await make_api(store=url)).as_("devices", "admin") for _ in range(number)]
    # The database is dropped with the server: the applications are still open here.


async def test_every_call_against_every_other(replicas: list[Api]) -> None:
    seed = int(os.environ.get("STORM_SEED") or secrets.randbelow(1_000_000))
    for fleet in FLEETS:
        body = LIVING_BODY if fleet == LIVING else FLEET_BODY
        assert (await replicas[0].put(f"/admin/fleets/{fleet}", body)).status in {200, 201}
    assert (await replicas[0].put(f"/admin/fleets/{FAULTY}/faults", FAULTS)).status == 200
    storm = Storm(seed)
    readers = [StreamReader(api.on(fleet)) for api in replicas for fleet in FLEETS]
    following = [asyncio.create_task(reader.follow()) for reader in readers]
    with SliceWatch() as watch:
        await storm.blow(replicas, CLIENTS, SECONDS, answers=100)

    flaws = storm.flaws
    flaws += [f"{seconds:.3f} s without a pause: {who}" for seconds, who in watch.too_long]
    for fleet in (*FLEETS, COPY):
        flaws += await flaws_afterwards(replicas[0], fleet)
        flaws += await flaws_in_journal(replicas[-1], fleet)
    await asyncio.sleep(1.0)
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    for reader in readers:
        flaws += reader.flaws
    assert not flaws, f"STORM_SEED={seed}: {len(flaws)} flaws, the first {flaws[:10]}"
    assert sum(reader.events for reader in readers) > 20
    assert storm.copies > 0


async def flaws_afterwards(api: Api, fleet: str) -> list[str]:
    """Settle a fleet that lives no longer, and say what does not add up."""
    path = f"/admin/fleets/{fleet}"
    if (await api.put(f"{path}/clock", {"mode": "real"})).status == 404:
        return []
    # What is asked from now on is to be answered.
    await api.delete(f"{path}/faults")
    await api.patch(path, {"profile": {"traffic": None}})
    ledger = (await api.get(f"{path}/ledger")).json
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while ledger["pending"] != ledger["held"]:
                await api.post(f"{path}/settle")
                ledger = (await api.get(f"{path}/ledger")).json
    stats = await stats_of(api.on(fleet))
    flaws = [] if ledger["balanced"] else [f"{fleet}: the ledger does not balance: {ledger}"]
    if ledger["pending"] != ledger["held"]:
        flaws.append(f"{fleet}: pending for ever: {ledger}")
    if sum(stats["by_status"].values()) != stats["devices"]:
        flaws.append(f"{fleet}: {stats}")
    return flaws


async def stats_of(api: Api) -> Any:
    """Return a fleet's counts, whatever befalls the first answers."""
    while True:
        with suppress(ClientError):
            answer = await api.get("/stats")
            if "Pisync-Fault" not in answer.headers:
                return answer.json


async def flaws_in_journal(api: Api, fleet: str) -> list[str]:
    """Say what is wrong with a fleet's journal, and with what its faults have done."""
    path = f"/admin/fleets/{fleet}"
    answer = await api.get(f"{path}/requests", params={"limit": 1000})
    if answer.status == 404:
        return []
    may_fail = fleet in {FAULTY, COPY}
    requests = [each for each in answer.json if each["call"] != "events"]
    numbers = [each["number"] for each in answer.json]
    flaws = []
    if len(numbers) > JOURNAL or any(new != old + 1 for new, old in pairwise(numbers)):
        flaws.append(f"{fleet}: the journal has the numbers {numbers}")
    flaws += [
        f"{fleet}: in the journal is {each}"
        for each in requests
        if (each["fault"] and not may_fail)
        or (each["status"] == 503 and each["fault"] != "status")
        or (
            each["call"] == "sync"
            and each["status"] == 202
            and not (each["attempt"] or each["fault"])
        )
    ]
    syncs = sum(each["call"] == "sync" for each in requests)
    expected = {"call": "sync", "at_least": syncs, "at_most": syncs}
    verified = (await api.post(f"{path}/verify", {"requests": [expected]})).json
    if verified != {"verified": True}:
        flaws.append(f"{fleet}: {syncs} syncs are in the journal, but {verified}")
    counts = (await api.get(f"{path}/ledger")).json["faults"]
    total = sum(n for kinds in counts.values() for n in kinds.values())
    hits = sum(rule["hits"] for rule in (await api.get(f"{path}/faults")).json)
    if hits > total or (total and not may_fail):
        flaws.append(f"{fleet}: rules have hit {hits} requests, but the ledger counts {counts}")
    return flaws
