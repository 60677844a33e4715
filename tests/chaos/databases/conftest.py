"""PostgreSQL as companies have it: what the tests of it share."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.chaos.conftest import MakeReplica, lack, verdict
from tests.chaos.load import Load
from tools.postgres import Postgres

SECONDS = 1.5
"""How long there is load, where nothing is killed."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the servers' user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="pisync-databases-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def distribution() -> Path:
    """The newest PostgreSQL that Debian, or a system like it, has installed: its programs."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(installed, key=lambda program: int(program.parts[-3]), default=None)
    if newest is None:
        lack("PostgreSQL of the distribution: apt-get install postgresql")
    return newest.parent


@pytest.fixture(scope="module")
def distributed(distribution: Path, folder: Path) -> Iterator[Postgres]:
    """A server of the distribution's, which knows TLS; that of the wheel does not."""
    (folder / "distributed").mkdir()
    server = Postgres(folder / "distributed", distribution)
    server.start()
    yield server
    server.kill()


class Serve(Protocol):
    """Lets replicas serve on a store, with other settings beside it."""

    def __call__(self, store: str, **variables: str) -> Awaitable[None]: ...


@pytest.fixture
async def serve(make_replica: MakeReplica) -> Serve:
    """Let two replicas on a database be under load, and have the oracle find nothing wrong."""

    async def serve(store: str, **variables: str) -> None:
        replicas = [make_replica(store, variables=variables) for _ in range(2)]
        await asyncio.gather(*(each.start() for each in replicas))
        urls = [each.url for each in replicas]
        # A database on a busy machine may leave a client in doubt.
        async with Load(urls, sure_of_503=False) as load:
            await asyncio.sleep(SECONDS)
        assert await verdict(load, urls[0]) == []
        assert len(load.journal.accepted) > 20

    return serve
