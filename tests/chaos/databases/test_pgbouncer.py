"""PgBouncer between replicas and their database."""

from pathlib import Path

import pytest

from tests.chaos.conftest import lack
from tests.chaos.databases.conftest import Serve
from tests.support.stores.pgbouncer import PgBouncer
from tools.postgres import Postgres


@pytest.fixture(autouse=True)
def installed() -> None:
    if (what := PgBouncer.lacking()) is not None:
        lack(what)


async def test_replicas_serve_through_it_in_session_mode(
    postgres: Postgres, folder: Path, serve: Serve
) -> None:
    database = await postgres.make_database()
    with PgBouncer(folder, postgres, "session") as pooler:
        await serve(pooler.url(database))
