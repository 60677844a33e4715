"""What a DBA has set for a role or a database, for other programs: PiSync needs other settings."""

from pathlib import Path

import pytest

from tests.chaos.conftest import lack
from tests.chaos.databases.conftest import Serve
from tests.support.stores.pgbouncer import PgBouncer
from tools.postgres import Postgres

DEFAULTS = (
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "statement_timeout = '500ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "synchronous_commit = off",
    "search_path = public",
    "timezone = 'Asia/Kathmandu'",
    "datestyle = 'German'",
    "intervalstyle = 'sql_standard'",
    "bytea_output = 'escape'",
    "standard_conforming_strings = on",
    "extra_float_digits = 0",
)


@pytest.fixture
async def database(postgres: Postgres) -> str:
    """The name of a database with other defaults, in which most statements would not be over."""
    name = await postgres.make_database()
    for setting in DEFAULTS:
        await postgres.ask(f"ALTER DATABASE {name} SET {setting}")
    return name


async def test_replicas_serve_whatever_the_defaults_are(
    postgres: Postgres, database: str, serve: Serve
) -> None:
    await serve(postgres.url(database))


async def test_also_through_a_pooler_that_leaves_sessions_to_them(
    postgres: Postgres, database: str, folder: Path, serve: Serve
) -> None:
    if (what := PgBouncer.lacking()) is not None:
        lack(what)
    with PgBouncer(folder, postgres, "session") as pooler:
        await serve(pooler.url(database))
