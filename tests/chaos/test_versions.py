"""The released version and this one on the same data, in turn and side by side, under load."""

import asyncio
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from pisync.stores.schema import migrations
from tests.chaos.conftest import MakeReplica, lack, short_or_long, verdict
from tests.chaos.load import Load
from tests.support.paths import ROOT
from tests.support.stores.pooled_settings import pooled_settings
from tools.postgres import Postgres

pytestmark = pytest.mark.timeout(short_or_long(240, 3600))

RELEASED = "5526e9e"
"""The commit of the newest release, 0.1.0."""
RELEASED_SCHEMA = "0002"
"""The newest migration that it has."""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the released version."""
    archive = ["git", "archive", "--format=tar", RELEASED, "pisync"]
    packed = subprocess.run(archive, cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        lack(f"the history with the released version: {packed.stderr.decode().strip()}")
    checkout = tmp_path_factory.mktemp("released")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(checkout, filter="data")
    return checkout


def test_it_is_the_released_version_that_runs_in_its_checkout(released: Path) -> None:
    where = [sys.executable, "-c", "import pisync; print(pisync.__file__)"]
    run = subprocess.run(where, cwd=released, check=True, capture_output=True, text=True)
    assert run.stdout.strip() == str(released / "pisync/__init__.py")
    assert '__version__ = "0.1.0"' in (released / "pisync/__init__.py").read_text()
    assert f'NEWEST = "{RELEASED_SCHEMA}"' in "".join(
        path.read_text() for path in released.rglob("migrations/__init__.py")
    )


def downgrade(path: Path) -> None:
    """Take an SQLite file back to the schema of the released version."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrations.downgrade(connection, RELEASED_SCHEMA)
    engine.dispose()


async def downgrade_database(url: str) -> None:
    """Take a PostgreSQL database back to the schema of the released version."""
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.run_sync(migrations.downgrade, RELEASED_SCHEMA)
    await engine.dispose()


async def test_an_sqlite_file_goes_from_one_version_to_the_other_and_back(
    released: Path, make_replica: MakeReplica, tmp_path: Path
) -> None:
    path = tmp_path / "pisync.db"
    replica = make_replica(f"sqlite:///{path}", checkout=released)
    await replica.start()
    async with Load([replica.url]) as load:
        for checkout in [ROOT, released] * short_or_long(1, 20):
            await asyncio.sleep(1.5)
            await replica.kill()
            if checkout == released:
                downgrade(path)
            replica.checkout = checkout
            await replica.start()
        await asyncio.sleep(1.5)
    assert await verdict(load, replica.url) == []
    assert len(load.journal.accepted) > 50


async def test_replicas_are_rolled_from_one_version_to_the_other_and_back(
    released: Path, postgres: Postgres, make_replica: MakeReplica
) -> None:
    url = postgres.url(await postgres.make_database())
    replicas = [make_replica(url, checkout=released) for _ in range(3)]
    await asyncio.gather(*(replica.start() for replica in replicas))
    async with Load([replica.url for replica in replicas], sure_of_503=False) as load:
        for _ in range(short_or_long(1, 10)):
            # Up: the first migrates, and the others go on as before until their turn comes.
            for replica in replicas:
                await asyncio.sleep(1)
                await replica.kill()
                replica.checkout = ROOT
                await replica.start()
            await asyncio.sleep(1)
            # Down: all at once, since the released version refuses to start on a newer schema.
            await asyncio.gather(*(replica.kill() for replica in replicas))
            await downgrade_database(url)
            for replica in replicas:
                replica.checkout = released
            await asyncio.gather(*(replica.start() for replica in replicas))
            await asyncio.sleep(1)
    assert await verdict(load, replicas[0].url) == []
    assert len(load.journal.accepted) > 100


async def test_the_released_version_serves_beside_one_that_listens_and_one_that_looks(
    released: Path, postgres: Postgres, make_replica: MakeReplica
) -> None:
    database = await postgres.make_database()
    for statement in pooled_settings(database):
        await postgres.ask(statement)
    url = postgres.url(database)
    replicas = [
        make_replica(url, checkout=released),
        make_replica(url),
        make_replica(url, variables={"PISYNC_STORE_DIRECT": "none"}),
    ]
    for replica in replicas:
        await replica.start()
    async with Load([replica.url for replica in replicas], sure_of_503=False) as load:
        await asyncio.sleep(short_or_long(3, 300))
    for replica in replicas:
        assert await verdict(load, replica.url) == []
    assert len(load.journal.accepted) > 50
