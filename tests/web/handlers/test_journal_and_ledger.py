"""The journal under load, and where it can't be written: it agrees with the ledger, always."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError

from tests.conftest import Api, MakeApi, ShippedServer
from tests.support.stores.server import ask, server

pytestmark = pytest.mark.slow

CLIENTS = 200
DEVICES = 50
FLEET = "/admin/fleets/load"
RULES = [
    {"calls": ["sync"], "share": 0.1, "fault": {"kind": "reset"}, "when": "after"},
    {"calls": ["sync"], "share": 0.1, "fault": {"kind": "status", "status": 503}},
    {"calls": ["sync"], "share": 0.1, "fault": {"kind": "status", "status": 502}, "when": "after"},
]


@pytest.fixture
def server_type() -> type[ShippedServer]:
    """What serves: it takes either way, as calls come."""
    return ShippedServer


@pytest.fixture(params=["memory", "sqlite", "two replicas"])
async def replicas(
    request: pytest.FixtureRequest, make_api: MakeApi, tmp_path: Path
) -> Sequence[Api]:
    """Applications on one store."""
    stores = {"memory": "memory", "sqlite": f"sqlite:///{tmp_path}/pisync.db"}
    if request.param in stores:
        return [(await make_api(store=stores[request.param])).as_("devices", "admin")]
    url = await server().make_database()
    return [(await make_api(store=url)).as_("devices", "admin") for _ in range(2)]
    # The database is dropped with the server: the applications are still open here.


@pytest.fixture
def admin(replicas: Sequence[Api]) -> Api:
    return replicas[0]


class Load:
    """Clients that sync, each by a name of its own, and what they have seen."""

    def __init__(self, replicas: Sequence[Api]) -> None:
        self._replicas = replicas
        self.seen: Counter[int | None] = Counter()

    async def run(self, syncs: int) -> None:
        await asyncio.gather(*(self._client(number, syncs) for number in range(CLIENTS)))

    async def _client(self, number: int, syncs: int) -> None:
        replica = self._replicas[number % len(self._replicas)]
        api = replica.as_("devices", name=f"client-{number}").on("load")
        for n in range(syncs):
            status = None
            with suppress(ClientError):
                status = (await api.post(f"/devices/{(number + n) % DEVICES + 1}/sync")).status
            self.seen[status] += 1


async def read_journal(admin: Api) -> list[Any]:
    """Return all of a journal, oldest first."""
    requests: list[Any] = []
    while True:
        before = {"before": requests[-1]["number"]} if requests else {}
        answer = await admin.get(f"{FLEET}/requests", params={"limit": 1000, **before})
        requests += answer.json
        if "Link" not in answer.headers:
            return requests[::-1]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("rules", [[], RULES], ids=["plain", "faults"])
async def test_the_journal_of_200_clients_agrees_with_the_ledger(
    replicas: Sequence[Api], admin: Api, rules: Sequence[Any]
) -> None:
    body = {"devices": DEVICES, "journal": 5000, "profile": {"seed": 7}}
    assert (await admin.put(FLEET, body)).status == 201
    assert (await admin.put(f"{FLEET}/faults", rules)).status == 200
    load = Load(replicas)
    await load.run(syncs=4)

    requests = await read_journal(replicas[-1])
    assert [each["number"] for each in requests] == [*range(1, CLIENTS * 4 + 1)]
    assert Counter(each["user"] for each in requests) == {
        f"client-{number}": 4 for number in range(CLIENTS)
    }
    assert Counter(each["status"] for each in requests) == load.seen
    ledger = (await admin.get(f"{FLEET}/ledger")).json
    assert ledger["balanced"]
    # What has begun or joined an attempt says so, whatever became of its answer.
    took_effect = [each for each in requests if each["attempt"] is not None]
    assert len(took_effect) == ledger["accepted"] + ledger["joined"]
    begun = {(each["device_id"], each["attempt"]) for each in took_effect}
    assert len(begun) == ledger["accepted"]
    faults = Counter(each["fault"] for each in requests if each["fault"])
    by_ledger = Counter(ledger["faults"]["before"]) + Counter(ledger["faults"]["after"])
    assert faults == by_ledger
    hits = [rule["hits"] for rule in (await admin.get(f"{FLEET}/faults")).json]
    assert sum(hits) == faults.total()
    assert all(hits)
    verified = await admin.post(
        f"{FLEET}/verify",
        {"requests": [{"call": "sync", "at_least": len(requests), "at_most": len(requests)}]},
    )
    assert verified.json == {"verified": True}


FAIL = (
    "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'no room'; END $$",
    "CREATE TRIGGER fail BEFORE INSERT ON requests FOR EACH ROW EXECUTE FUNCTION fail()",
)


async def test_no_answer_is_given_that_the_journal_lacks(make_api: MakeApi) -> None:
    url = await server().make_database()
    admin = (await make_api(store=url)).as_("devices", "admin")
    await admin.put(FLEET, {"devices": 10, "journal": 100})
    lost = {"calls": ["device"], "fault": {"kind": "reset"}}
    client = admin.on("load")
    for statement in FAIL:
        await ask(url, statement)
    assert (await client.post("/devices/7/sync")).status == 503
    assert (await client.get("/devices")).status == 503
    assert (await client.get("/devices/99")).status == 503
    assert (await client.get("/events")).status == 503
    await admin.put(f"{FLEET}/faults", [lost])
    assert (await client.get("/devices/7")).status == 503  # not reset
    assert (await admin.get(f"{FLEET}/requests")).json == []

    await ask(url, "DROP TRIGGER fail ON requests")
    again = await client.post("/devices/7/sync")
    assert (again.status, again.headers["Pisync-Attempt"]) == (202, "1")
    (request,) = (await admin.get(f"{FLEET}/requests")).json
    assert (request["status"], request["attempt"]) == (202, 1)
    ledger = (await admin.get(f"{FLEET}/ledger")).json
    assert (ledger["accepted"], ledger["balanced"]) == (1, True)
