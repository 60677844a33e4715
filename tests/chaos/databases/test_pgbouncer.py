"""PgBouncer between replicas and their database."""

from pathlib import Path

import pytest

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.store import PostgresStore
from tests.chaos.conftest import lack
from tests.chaos.databases.conftest import Serve
from tests.support.stores.pgbouncer import PgBouncer
from tests.support.stores.pooled_settings import pooled_settings
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import FAILING, TWENTY
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


async def test_replicas_serve_through_it_in_transaction_mode_with_a_direct_way_beside_it(
    postgres: Postgres, folder: Path, serve: Serve
) -> None:
    database = await postgres.make_database()
    await set_up(postgres, database)
    # So few that every transaction may get another session.
    with PgBouncer(folder, postgres, "transaction", sessions=4) as pooler:
        await serve(pooler.url(database), PISYNC_STORE_DIRECT=postgres.url(database))


async def set_up(postgres: Postgres, database: str) -> None:
    """Make the settings that the documentation has for a database of that name."""
    for statement in pooled_settings(database):
        await postgres.ask(statement)


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_session_of_its_that_lacks_a_setting_is_refused(
    postgres: Postgres, folder: Path, mode: str
) -> None:
    database = await postgres.make_database()
    await set_up(postgres, database)
    await postgres.ask(f"ALTER ROLE postgres IN DATABASE {database} RESET statement_timeout")
    await postgres.ask(f"ALTER ROLE postgres IN DATABASE {database} SET synchronous_commit = 'off'")
    with PgBouncer(folder, postgres, mode) as pooler:
        store = PostgresStore(pooler.url(database), TWENTY, FAILING, direct=postgres.url(database))
        lacking = "lack settings: statement_timeout = 2200, synchronous_commit = on$"
        with pytest.raises(CannotOpen, match=lacking):
            await store.open(RecordingObserver())


async def test_without_a_direct_way_transaction_mode_is_refused(
    postgres: Postgres, folder: Path
) -> None:
    database = await postgres.make_database()
    refused = pytest.raises(CannotOpen, match=r"transaction pooling.* PISYNC_STORE_DIRECT")
    with PgBouncer(folder, postgres, "transaction", sessions=4) as pooler, refused:
        await PostgresStore(pooler.url(database), TWENTY, FAILING).open(RecordingObserver())


async def test_a_direct_way_to_another_database_is_refused(
    postgres: Postgres, folder: Path
) -> None:
    one, other = [await postgres.make_database() for _ in range(2)]
    await set_up(postgres, one)
    refused = pytest.raises(CannotOpen, match="lead to different databases")
    with PgBouncer(folder, postgres, "transaction") as pooler, refused:
        store = PostgresStore(pooler.url(one), TWENTY, FAILING, direct=postgres.url(other))
        await store.open(RecordingObserver())
