"""A fleet that lives, on replicas that are killed: what happens is what happens to its twin."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.chaos.conftest import MakeReplica, short_or_long
from tests.chaos.replica import Replica, token
from tools.postgres import Postgres

pytestmark = pytest.mark.timeout(short_or_long(180, 3600))

KILLS = short_or_long(2, 50)
SPEED = 1000
"""As fast as that, a hundred attempts or more fall into the time of a start."""
LIVING = {
    "devices": [{"device_id": number} for number in range(1, 31)],
    "profile": {
        "seed": 7,
        "delay": {"distribution": "uniform", "min": 0, "max": 30},
        "traffic": {"every": {"distribution": "uniform", "min": 60, "max": 300}, "share": 0.9},
    },
}


class LivingFleet:
    """A fleet that lives on a replica, and when it began, which its first data show."""

    beginning: datetime

    def __init__(self, name: str) -> None:
        self._path = f"/admin/fleets/{name}"
        self._headers = {"Authorization": f"Bearer {token()}", "Pisync-Fleet": name}

    async def make(self, replica: Replica, clock: Mapping[str, Any]) -> None:
        """Make the fleet; set its clock to this."""
        await self._call(replica, "PUT", self._path, LIVING)
        devices = await self._call(replica, "GET", "/devices")
        self.beginning = min(_moment(each["last_attempt_at"]) for each in devices)
        await self._call(replica, "PUT", f"{self._path}/clock", clock)

    async def stop(self, replica: Replica) -> timedelta:
        """Stop its time, and do all that is due by then; return how old it is."""
        await self._call(replica, "PUT", f"{self._path}/clock", {"mode": "manual"})
        return await self._advance(replica, 0)

    async def advance_to(self, replica: Replica, age: timedelta) -> None:
        """Move its clock, which is manual, to where it is so old."""
        now = await self._advance(replica, 0)
        assert await self._advance(replica, (age - now).total_seconds()) == age

    async def _advance(self, replica: Replica, seconds: float) -> timedelta:
        moved = await self._call(replica, "POST", f"{self._path}/advance", {"seconds": seconds})
        return _moment(moved["now"]) - self.beginning

    async def attempts(self, replica: Replica) -> int:
        """Return how many attempts have begun so far; that lets none begin."""
        attempts: int = (await self._call(replica, "GET", "/stats"))["attempts"]
        return attempts

    async def history(self, replica: Replica) -> Mapping[str, Any]:
        """Return all that it tells, with times since its beginning."""
        ledger = await self._call(replica, "GET", f"{self._path}/ledger")
        del ledger["lateness"]
        return {
            "devices": self._relative(await self._call(replica, "GET", "/devices?limit=1000")),
            "error logs": self._relative(await self._call(replica, "GET", "/errors?limit=1000")),
            "ledger": ledger,
        }

    def _relative(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [
            {
                name: _moment(value) - self.beginning if name.endswith("_at") and value else value
                for name, value in row.items()
            }
            for row in rows
        ]

    async def _call(self, replica: Replica, method: str, path: str, body: object = None) -> Any:
        async with (
            ClientSession(replica.url, headers=self._headers) as client,
            client.request(method, path, json=body) as answer,
        ):
            assert answer.ok, await answer.text()
            return await answer.json()


def _moment(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp)


async def histories(replicas: Sequence[Replica]) -> tuple[Any, Any]:
    """Kill replicas on one store in turn while a fleet lives; return its history and its twin's."""
    fleet, last = await living(replicas), replicas[-1]
    for kill in range(KILLS):
        await asyncio.sleep(0.3)
        victim = replicas[kill % len(replicas)]
        await victim.kill()
        # The others go on; where there is none, the next start has something to catch up with.
        await asyncio.sleep(0.3)
        await victim.start()
    await asyncio.sleep(0.3)
    return await beside_its_twin(fleet, last)


async def living(replicas: Sequence[Replica]) -> LivingFleet:
    """Start replicas on one store, and let a fleet live there."""
    await asyncio.gather(*(each.start() for each in replicas))
    fleet = LivingFleet("killed")
    await fleet.make(replicas[-1], {"mode": "real", "speed": SPEED})
    return fleet


async def beside_its_twin(fleet: LivingFleet, last: Replica) -> tuple[Any, Any]:
    """Stop a fleet; return its history, and that of one that was told to live as long."""
    twin = LivingFleet("twin")
    age = await fleet.stop(last)
    await twin.make(last, {"mode": "manual"})
    await twin.advance_to(last, age)
    return await fleet.history(last), await twin.history(last)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/pisync.db"


async def test_kills_change_nothing_in_the_history_of_a_fleet_that_lives(
    make_replica: MakeReplica, sqlite: str
) -> None:
    found, expected = await histories([make_replica(sqlite)])
    assert found == expected
    assert found["ledger"]["accepted"] > 100


async def test_it_is_seen_if_own_attempts_begin_when_a_replica_looks(
    make_replica: MakeReplica, sqlite: str
) -> None:
    late = make_replica(sqlite, sabotage="begins_own_attempts_when_it_looks")
    found, expected = await histories([late])
    assert found != expected


async def test_replicas_that_are_killed_lose_no_own_attempt_and_make_none_twice(
    postgres: Postgres, make_replica: MakeReplica
) -> None:
    url = postgres.url(await postgres.make_database())
    found, expected = await histories([make_replica(url), make_replica(url)])
    assert found == expected
    assert found["ledger"]["accepted"] > 100


async def test_others_go_on_where_a_replica_is_gone_for_good(
    postgres: Postgres, make_replica: MakeReplica
) -> None:
    url = postgres.url(await postgres.make_database())
    replicas = [make_replica(url) for _ in range(3)]
    fleet, last = await living(replicas), replicas[-1]
    for victim in replicas[:-1]:
        await asyncio.sleep(0.5)
        await victim.kill()
        before = await fleet.attempts(last)
        # Nobody asks for them: they begin by themselves.
        async with asyncio.timeout(30):
            while await fleet.attempts(last) < before + 50:  # noqa: ASYNC110 - seen by asking alone
                await asyncio.sleep(0.1)
    found, expected = await beside_its_twin(fleet, last)
    assert found == expected
