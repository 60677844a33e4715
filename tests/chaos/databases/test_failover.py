"""The primary is killed under load, and its standby promoted: what becomes of accepted syncs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.chaos.conftest import MakeReplica, short_or_long, verdict
from tests.chaos.load import Load
from tests.chaos.replica import Replica
from tools.postgres import Postgres

BACK = 60
"""Seconds in which replicas are back after a server takes writes, on a machine that is busy."""


class Pair:
    """A primary and the standby that follows it, with replicas that know both."""

    def __init__(self, primary: Postgres, standby: Postgres, make_replica: MakeReplica) -> None:
        self.primary = primary
        self.standby = standby
        self._make_replica = make_replica
        self._replicas: list[Replica] = []

    async def start_replicas(self) -> list[str]:
        """Start two on an empty database; return their URLs."""
        database = await self.primary.make_database()
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (self.primary, self.standby))
        url = f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write"
        self._replicas = [self._make_replica(url) for _ in range(2)]
        await asyncio.gather(*(each.start() for each in self._replicas))
        return [each.url for each in self._replicas]

    async def fail_over(self) -> None:
        """Kill the primary, promote the standby, and wait until the replicas are back."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.sleep(0.5)
        await self.standby.ask("SELECT pg_promote()")
        async with asyncio.timeout(BACK):
            await asyncio.gather(*(each.ready() for each in self._replicas))


@pytest.fixture
def place(folder: Path) -> Path:
    """A folder with one for each server's data."""
    place = Path(mkdtemp(dir=folder))
    place.chmod(0o755)
    for name in ("primary", "standby"):
        (place / name).mkdir(mode=0o700)
    return place


@pytest.fixture
async def pair(place: Path, make_replica: MakeReplica) -> AsyncIterator[Pair]:
    primary = Postgres(place / "primary")
    await asyncio.to_thread(primary.start)
    standby = await asyncio.to_thread(primary.standby, place / "standby")
    await asyncio.to_thread(standby.start)
    yield Pair(primary, standby, make_replica)
    primary.kill()
    standby.kill()


async def test_nothing_accepted_is_lost_where_commits_wait_for_the_standby(pair: Pair) -> None:
    await pair.primary.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await pair.primary.ask("ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
    await pair.primary.ask("SELECT pg_reload_conf()")
    urls = await pair.start_replicas()
    async with Load(urls, sure_of_503=False) as load:
        await asyncio.sleep(short_or_long(2, 20))
        await pair.fail_over()
        await asyncio.sleep(1)
    assert await verdict(load, urls[1]) == []
    assert load.journal.answers["503"] > 0
    assert len(load.journal.accepted) > 50


async def test_the_oracle_sees_what_a_standby_lacks_that_no_commit_waits_for(pair: Pair) -> None:
    urls = await pair.start_replicas()
    async with Load(urls, sure_of_503=False) as load:
        await asyncio.sleep(1)
        await pair.standby.ask("ALTER SYSTEM SET primary_conninfo = ''")
        await pair.standby.ask("SELECT pg_reload_conf()")
        await asyncio.sleep(1)
        await pair.fail_over()
    found = await verdict(load, urls[1])
    assert any("is lost" in flaw or "was begun 2 times" in flaw for flaw in found), found
