"""What all chaos shares: how much of it, and what it found."""

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import ClientSession

from tests.chaos.load import Load
from tests.chaos.oracle import flaws
from tests.chaos.replica import Replica, token
from tools.postgres import Postgres

LONG = os.environ.get("CHAOS") == "long"
"""Whether this is `make chaos`, which takes its time."""


def short_or_long(short: int, long: int) -> int:
    """Return how much it is to be."""
    return long if LONG else short


def lack(what: str) -> NoReturn:
    """Skip a test for want of something; where nothing may be wanting, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture
def dice() -> random.Random:
    """Chance, the same in every run."""
    return random.Random(20)  # noqa: S311 - nothing secret hangs on it


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server for all tests of a module."""
    directory = Path(tempfile.mkdtemp(prefix="pisync-chaos-"))
    server = Postgres(directory)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(directory, ignore_errors=True)


MakeReplica = Callable[..., Replica]


@pytest.fixture
async def make_replica(tmp_path: Path) -> AsyncIterator[MakeReplica]:
    """Make replicas that are not running yet; what runs at the end is killed."""
    made: list[Replica] = []

    def make(store: str, **options: object) -> Replica:
        replica = Replica(store, tmp_path / f"replica-{len(made)}.log", **options)  # type: ignore[arg-type]
        made.append(replica)
        return replica

    yield make
    for replica in made:
        replica.thaw()
        await replica.kill()


async def verdict(load: Load, url: str) -> list[str]:
    """Wait until nothing is pending, but not for ever, and return what the oracle finds wrong."""
    async with ClientSession(url, headers={"Authorization": f"Bearer {token()}"}) as client:
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                # From here nothing can be seen but by asking.
                while await _pending(client) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        found = await flaws(client, load.journal)
    print(dict(load.journal.answers), f"{len(load.journal.accepted)} attempts, {len(found)} flaws")  # noqa: T201 - shown by `make chaos`
    return found


async def _pending(client: ClientSession) -> int:
    async with client.get("/stats") as answer:
        pending: int = (await answer.json())["pending"]
        return pending
