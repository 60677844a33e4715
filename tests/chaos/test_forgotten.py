"""Thousands of fleets with a ttl, a tenth of them in use, three replicas, one of them killed."""

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from pisync.auth.tokens import Tokens
from tests.chaos.conftest import short_or_long
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.server import ask

TTL = 20
"""Seconds; fewer than `PUT` takes, and the replicas have just started when they are over."""
FLEETS = short_or_long(2_000, 10_000)
USED = FLEETS // 10
SECRET = "a secret that three replicas share, long enough"

# As `PUT` makes them, of no devices; by HTTP it would take minutes.
_MAKE = f"""
    WITH made AS (
        INSERT INTO fleets
        SELECT nextval('fleet_ids'), 'job-' || number, '{{"count":0}}', 0, profile, fleet_time,
            wall_time, 1
        FROM generate_series(0, {FLEETS - 1}) AS number, fleets WHERE name = 'default'
        RETURNING fleet_id
    ), turns AS (
        INSERT INTO turns SELECT fleet_id, 1, 0, 0 FROM made
    ), counts AS (
        INSERT INTO status_counts
        SELECT fleet_id, code, 0 FROM made, unnest('{{200,202,400,404,500}}'::smallint[]) AS code
    )
    INSERT INTO lifetimes SELECT fleet_id, {TTL}, steady_now() FROM made"""  # noqa: S608 - ours


class Replica:
    """A process on the database."""

    def __init__(self, url: str, log: Path) -> None:
        own = {name: text for name, text in os.environ.items() if not name.startswith("PISYNC_")}
        self._log = log
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pisync", "serve", "--port=0"],
                env=own | {"PISYNC_STORE": url, "PISYNC_JWT_SECRET": SECRET},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    async def base(self) -> str:
        while True:
            found = re.search(r'"urls": \["([^"]+)"', self._log.read_text())
            if found:
                return found[1]
            assert self.process.poll() is None, self._log.read_text()
            await asyncio.sleep(0.1)

    def forgotten(self) -> int:
        counts = re.findall(r'"fleets forgotten", ?"count": ?(\d+)', self._log.read_text())
        return sum(map(int, counts))


class Users:
    """Who names a tenth of the fleets, on whichever replica lives."""

    def __init__(self, session: aiohttp.ClientSession, bases: Sequence[str]) -> None:
        self.statuses: Counter[int] = Counter()
        self._session = session
        self._bases = bases

    async def use_all(self) -> None:
        for first in range(0, USED, 20):
            await asyncio.gather(*(self._use(number) for number in range(first, first + 20)))

    async def _use(self, number: int) -> None:
        headers = {"Pisync-Fleet": f"job-{number}"}
        for offset in range(len(self._bases)):
            base = self._bases[(number + offset) % len(self._bases)]
            with suppress(aiohttp.ClientConnectionError):
                async with self._session.get(f"{base}/stats", headers=headers) as answer:
                    self.statuses[answer.status] += 1
                    return


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_those_in_use_stay_and_all_others_go_once(tmp_path: Path) -> None:
    home = PostgresHarness(tmp_path)
    await home.open()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(home.close)
        replicas = [Replica(home.url, tmp_path / f"{number}.log") for number in range(3)]
        for replica in replicas:
            stack.callback(replica.process.wait)
            stack.callback(replica.process.kill)
        bases = [await replica.base() for replica in replicas]
        token = Tokens(SECRET, 3600).issue("tester", ("devices",))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"})
        )
        await ask(home.url, _MAKE)
        made = monotonic()
        users = Users(session, bases)

        async def left() -> int:
            return int(await ask(home.url, "SELECT count(*) FROM fleets"))

        is_killed = False
        used = 0.0
        while await left() > USED + 1:
            passed = monotonic() - made
            assert passed < TTL + 60, "within a minute more"
            # Often enough, and no more: who deletes needs the processors, too.
            if passed >= used + TTL / 4:
                used = passed
                await users.use_all()
            if not is_killed and passed > TTL / 2:
                replicas[0].process.kill()
                is_killed = True
            await asyncio.sleep(1)
        assert is_killed
        assert monotonic() - made > TTL
        await users.use_all()
        await asyncio.sleep(6)  # a round more
        assert await left() == USED + 1
        assert set(users.statuses) == {200}
        assert sum(replica.forgotten() for replica in replicas) == FLEETS - USED
