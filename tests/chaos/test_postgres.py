"""Three replicas on one PostgreSQL: killed, stopped, cut off, with a wrong clock; and it, too."""

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Self

import pytest
from aiohttp import ClientSession

from tests.chaos.conftest import MakeReplica, lack, short_or_long, verdict
from tests.chaos.island import IsolatedNetwork
from tests.chaos.load import Load
from tests.chaos.oracle import Attempt, Journal
from tests.chaos.replica import LONGEST_DELAY, Replica, token
from tools.postgres import CARELESS, Postgres

pytestmark = pytest.mark.timeout(short_or_long(180, 3600))

OVERDUE = short_or_long(3, 15)
"""Seconds after its due time in which a sync has to finish, whatever becomes of who began it."""
BACK = 60
"""Seconds in which replicas are back after their database is, on a machine that is busy."""


class Cluster:
    """Three replicas on one empty database, which they start on all at once."""

    def __init__(self, postgres: Postgres, database: str, make_replica: MakeReplica) -> None:
        self.postgres = postgres
        self.database = database
        self._make_replica = make_replica
        self.replicas: list[Replica] = []

    async def start(self, sabotage: str | None = None, *odd_ones: Replica) -> None:
        """Start the replicas; odd ones take the place of some."""
        url = self.postgres.url(self.database)
        usual = [self._make_replica(url, sabotage=sabotage) for _ in range(3 - len(odd_ones))]
        self.replicas = [*odd_ones, *usual]
        await asyncio.gather(*(each.start() for each in self.replicas))

    @property
    def urls(self) -> list[str]:
        return [each.url for each in self.replicas]

    def load(self) -> Load:
        """Return load on all of them."""
        return Load(self.urls, sure_of_503=False)

    async def ready(self) -> None:
        """Wait until all are back."""
        async with asyncio.timeout(BACK):
            await asyncio.gather(*(each.ready() for each in self.replicas))


@pytest.fixture
async def cluster(postgres: Postgres, make_replica: MakeReplica) -> Cluster:
    return Cluster(postgres, await postgres.make_database(), make_replica)


class Overdue:
    """Watches a fleet through one of its replicas, for syncs that should have finished.

    `seconds` is how far past its due time the worst of them was seen pending.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.seconds = 0.0

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        headers = {"Authorization": f"Bearer {token()}"}
        async with ClientSession(self._url, headers=headers) as client:
            while True:
                latest = time.time() - LONGEST_DELAY
                pending = await read(client, "/devices?status=202&limit=1000")
                overdue = (latest - moment(each["last_attempt_at"]) for each in pending)
                self.seconds = max(self.seconds, *overdue, 0)
                await asyncio.sleep(0.2)


# Replicas are killed


async def kill_replicas(cluster: Cluster, times: int, dice: random.Random) -> Load:
    async with cluster.load() as load:
        for _ in range(times):
            await asyncio.sleep(dice.uniform(0.1, 0.8))
            victim = dice.choice(cluster.replicas)
            await victim.kill()
            await victim.start()
    return load


async def test_no_sync_is_lost_or_done_twice_by_killing_replicas(
    cluster: Cluster, dice: random.Random
) -> None:
    await cluster.start()
    load = await kill_replicas(cluster, short_or_long(3, 200), dice)
    assert await verdict(load, cluster.urls[0]) == []
    assert len(load.journal.accepted) > 100


async def test_the_oracle_sees_what_replicas_lose_that_answer_too_early(
    cluster: Cluster, dice: random.Random
) -> None:
    await cluster.start("answers_before_it_has_committed")
    load = await kill_replicas(cluster, 3, dice)
    found = await verdict(load, cluster.urls[0])
    assert any("is lost" in flaw or "was begun 2 times" in flaw for flaw in found), found


# One is stopped, and woken


async def freeze_one(cluster: Cluster, seconds: float) -> tuple[Load, float]:
    """Stop a replica for so long; return also how long syncs were overdue."""
    frozen, other, _ = cluster.replicas
    async with cluster.load() as load, Overdue(other.url) as overdue:
        await asyncio.sleep(1)
        frozen.freeze()
        await asyncio.sleep(seconds)
        late = overdue.seconds
        frozen.thaw()
        await asyncio.sleep(1)
    return load, late


async def test_others_finish_what_a_stopped_replica_began(cluster: Cluster) -> None:
    await cluster.start()
    load, overdue = await freeze_one(cluster, short_or_long(5, 60))
    assert await verdict(load, cluster.urls[0]) == []
    assert overdue < OVERDUE


async def test_it_is_seen_if_only_the_replica_that_began_it_finishes_a_sync(
    cluster: Cluster,
) -> None:
    await cluster.start("finishes_only_what_it_began")
    _, overdue = await freeze_one(cluster, OVERDUE + 3)
    assert overdue > OVERDUE


async def test_the_oracle_sees_what_happens_twice_if_nobody_looks_again(cluster: Cluster) -> None:
    await cluster.start("does_not_look_again")
    async with cluster.load() as load:
        await asyncio.sleep(3)
    found = await verdict(load, cluster.urls[0])
    assert any("has 2 error logs" in flaw or "the ledger" in flaw for flaw in found), found


async def test_others_finish_what_a_replica_began_that_is_gone_for_good(cluster: Cluster) -> None:
    await cluster.start()
    gone, other, _ = cluster.replicas
    async with cluster.load() as load, Overdue(other.url) as overdue:
        await asyncio.sleep(1)
        await gone.kill()
        await asyncio.sleep(short_or_long(4, 60))
    assert await verdict(load, other.url) == []
    assert load.journal.answers["not connected"] > 0
    assert overdue.seconds < OVERDUE


# PostgreSQL is killed


async def kill_postgres(cluster: Cluster, times: int, *settings: str) -> Load:
    async with cluster.load() as load:
        for _ in range(times):
            await asyncio.sleep(1)
            await asyncio.to_thread(cluster.postgres.kill)
            await asyncio.sleep(1)
            await are_alive_but_not_ready(cluster)
            await asyncio.to_thread(cluster.postgres.start, *settings)
            await cluster.ready()
        await asyncio.sleep(1)
    return load


async def are_alive_but_not_ready(cluster: Cluster) -> None:
    async with ClientSession() as client:
        for each in cluster.replicas:
            assert not await each.is_ready()
            async with client.get(f"{each.url}/livez") as answer:
                assert answer.status == 200


async def test_no_sync_is_lost_or_done_twice_by_killing_postgresql(cluster: Cluster) -> None:
    await cluster.start()
    load = await kill_postgres(cluster, short_or_long(2, 20))
    assert await verdict(load, cluster.urls[0]) == []
    assert load.journal.answers["503"] > 0
    assert load.slowest < 6, "5 seconds are promised"


async def test_the_oracle_sees_what_a_careless_postgresql_loses(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.postgres.kill)
    await asyncio.to_thread(cluster.postgres.start, *CARELESS)
    await cluster.start("does_not_insist_on_the_disk")
    await cluster.postgres.ask("CHECKPOINT")
    try:
        load = await kill_postgres(cluster, 1, *CARELESS)
        found = await verdict(load, cluster.urls[0])
    finally:
        await asyncio.to_thread(cluster.postgres.kill)
        await asyncio.to_thread(cluster.postgres.start)
    assert any("is lost" in flaw or "was begun 2 times" in flaw for flaw in found), found


# All connections to it end


async def hang_up(cluster: Cluster, times: int, dice: random.Random) -> Load:
    async with cluster.load() as load:
        for _ in range(times):
            await asyncio.sleep(dice.uniform(0.02, 0.2))
            await cluster.postgres.hang_up(cluster.database)
        await cluster.ready()
        await asyncio.sleep(1)
    return load


async def test_no_sync_is_lost_or_done_twice_by_hanging_up(
    cluster: Cluster, dice: random.Random
) -> None:
    await cluster.start()
    load = await hang_up(cluster, short_or_long(20, 1000), dice)
    assert await verdict(load, cluster.urls[0]) == []
    assert len(load.journal.accepted) > 50


async def test_the_oracle_sees_what_is_lost_by_taking_no_answer_for_yes(
    cluster: Cluster, dice: random.Random
) -> None:
    await cluster.start("takes_no_answer_for_yes")
    load = await hang_up(cluster, 40, dice)
    assert await verdict(load, cluster.urls[0]) != []


# One is cut off from it


async def cut_one_off(
    cluster: Cluster, island: IsolatedNetwork, seconds: float
) -> tuple[Load, float]:
    cut_off, other, _ = cluster.replicas
    async with cluster.load() as load, Overdue(other.url) as overdue:
        await asyncio.sleep(1)
        island.cut()
        await asyncio.sleep(seconds)
        late = overdue.seconds
        assert not await cut_off.is_ready()
        assert await other.is_ready()
        island.mend()
        await cluster.ready()
        await asyncio.sleep(1)
    return load, late


@pytest.fixture
async def island(postgres: Postgres) -> AsyncIterator[IsolatedNetwork]:
    if (what := IsolatedNetwork.lacking()) is not None:
        lack(what)
    async with IsolatedNetwork(postgres.port) as island:
        yield island


def on(
    island: IsolatedNetwork, cluster: Cluster, make_replica: MakeReplica, **options: str
) -> Replica:
    """Return a replica that lives on an island."""
    store = f"postgresql://postgres@{island.mainland}:{cluster.postgres.port}/{cluster.database}"
    return make_replica(store, wrapper=island.wrapper, host=island.address, **options)


async def test_others_finish_what_a_replica_began_that_is_cut_off(
    cluster: Cluster, island: IsolatedNetwork, make_replica: MakeReplica
) -> None:
    await cluster.start(None, on(island, cluster, make_replica))
    load, overdue = await cut_one_off(cluster, island, short_or_long(5, 60))
    assert await verdict(load, cluster.urls[0]) == []
    assert overdue < OVERDUE
    assert load.slowest < 6, "5 seconds are promised"


async def test_the_oracle_sees_what_a_replica_loses_that_answers_before_it_is_cut_off(
    cluster: Cluster, island: IsolatedNetwork, make_replica: MakeReplica
) -> None:
    sabotage = "answers_before_it_has_committed"
    await cluster.start(sabotage, on(island, cluster, make_replica, sabotage=sabotage))
    load, _ = await cut_one_off(cluster, island, 6)
    found = await verdict(load, cluster.urls[0])
    assert any("is lost" in flaw or "was begun 2 times" in flaw for flaw in found), found


# One has a clock of its own

WRONG = 10
"""Seconds by which only a clock is wrong: a busy machine is late by less, that clock by more."""
FAST = ("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", "+60s")


async def sync_with_a_fast_clock(
    cluster: Cluster, make_replica: MakeReplica, sabotage: str | None = None
) -> tuple[Load, float]:
    """Let one clock be a minute fast; return also by how many seconds times were wrong at most."""
    if shutil.which("faketime") is None:
        lack("faketime: apt-get install faketime")
    store = cluster.postgres.url(cluster.database)
    await cluster.start(sabotage, make_replica(store, wrapper=FAST, sabotage=sabotage))
    worst = 0.0
    async with cluster.load() as load, ClientSession() as client:
        client.headers["Authorization"] = f"Bearer {token()}"
        for n in range(short_or_long(12, 300)):
            url, seen_by = cluster.urls[n % 3], cluster.urls[(n + 1) % 3]
            attempt, made_at, wrong = await begin(client, url, n % 100 + 1, load.journal)
            worst = max(worst, wrong, await how_wrong(client, seen_by, attempt, made_at))
            if worst > WRONG:
                break
    return load, worst


async def begin(
    client: ClientSession, url: str, device_id: int, journal: Journal
) -> tuple[Attempt, str, float]:
    """Sync a device; return which attempt it is, when it was made, and how wrong that certainly is.

    It may have joined one that was made up to a longest delay before. On a busy machine the answer
    may be to come back later.
    """
    while True:
        asked_at = time.time()
        async with client.post(f"{url}/devices/{device_id}/sync") as answer:
            device = await answer.json()
            if answer.status == 202:
                break
            assert answer.status == 503, device
            journal.lose(device_id, "503")
            await asyncio.sleep(int(answer.headers["Retry-After"]))
    attempt = Attempt(device_id, int(answer.headers["Pisync-Attempt"]))
    journal.accept(attempt, device["last_attempt_at"])
    made_at = moment(device["last_attempt_at"])
    wrong = max(made_at - time.time(), asked_at - LONGEST_DELAY - made_at, 0)
    return attempt, device["last_attempt_at"], wrong


async def how_wrong(client: ClientSession, url: str, attempt: Attempt, made_at: str) -> float:
    """Wait for the end of an attempt; return how many seconds too early or late it certainly is."""
    device_id, number = attempt
    path = f"/admin/fleets/default/forecast?device_id={device_id}&attempts=1&from={number}"
    (forecast,) = await read(client, f"{url}{path}")
    due = moment(made_at) + float(forecast["delay"])
    pending = {"last_attempt_at": made_at, "sync_status_code": 202}
    late = 0.0
    while late <= WRONG:
        await asyncio.sleep(0.01)
        asked_at = time.time()
        device = await read(client, f"{url}/devices/{device_id}")
        if not pending.items() <= device.items():
            return max(late, due - time.time())
        late = max(asked_at - due, 0)
    return late


async def read(client: ClientSession, url: str) -> Any:
    """Return what is at `url`, once the service is not too busy to say so."""
    while True:
        async with client.get(url) as answer:
            if answer.status == 200:
                return await answer.json()
            assert answer.status == 503, await answer.text()
            await asyncio.sleep(int(answer.headers["Retry-After"]))


def moment(timestamp: str) -> float:
    """Return the seconds since 1970 that a timestamp says."""
    return datetime.fromisoformat(timestamp).timestamp()


async def test_a_replicas_wrong_clock_matters_to_no_sync(
    cluster: Cluster, make_replica: MakeReplica
) -> None:
    load, wrong = await sync_with_a_fast_clock(cluster, make_replica)
    assert await verdict(load, cluster.urls[0]) == []
    assert wrong < WRONG


async def test_it_is_seen_if_a_replica_goes_by_its_own_clock(
    cluster: Cluster, make_replica: MakeReplica
) -> None:
    _, wrong = await sync_with_a_fast_clock(cluster, make_replica, "goes_by_its_own_clock")
    assert wrong > WRONG
