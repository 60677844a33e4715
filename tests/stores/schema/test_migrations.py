"""Migrations: what was released stays as it is, and nobody else's database is touched."""

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import connect
from pisync.stores.postgres.store import PostgresStore
from pisync.stores.schema import migrations
from pisync.stores.schema.migrations import SchemaRefused
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask, server
from tests.support.stores.short import FAILING, TWENTY, F, start

VERSIONS = Path(migrations.__file__).parent / "versions"
RELEASED = "21acfb3e1805499c"
"""The digest of all that 0.1.0 has."""
FOREIGN = [
    "CREATE TABLE devices (serial text)",
    "CREATE TABLE orders (id int)",
    "CREATE TABLE orders (id int); CREATE TABLE alembic_version (version_num varchar(32));"
    " INSERT INTO alembic_version VALUES ('0002')",
    "CREATE TABLE fleets (id int); CREATE TABLE devices (id int); CREATE TABLE accounts (id int);"
    " CREATE TABLE alembic_version (version_num varchar(32));"
    " INSERT INTO alembic_version VALUES ('ae1027a6acf')",
]
ANOTHER = "this database belongs to another program"
NEWER = "this database belongs to a newer PiSync: its schema is at 0099, and this version knows"


def test_what_was_released_is_not_edited() -> None:
    text = b"".join(
        path.read_bytes() for path in sorted(VERSIONS.glob("000[12]_*")) if path.suffix != ".pyc"
    )
    assert hashlib.blake2b(text, digest_size=8).hexdigest() == RELEASED, (
        "Databases that have a migration stay as they are when it is edited: write a new one."
    )


def test_the_newest_is_the_last() -> None:
    assert max(path.name for path in VERSIONS.glob("*.py")).startswith(migrations.NEWEST)


@pytest.fixture
async def empty() -> AsyncIterator[str]:
    url = await server().make_database("template0")
    yield url
    await server().drop_database(url)


async def contents(url: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        """SELECT relname, relkind::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace ORDER BY 1"""
    )
    functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    rows += await connection.fetch(functions)
    await connection.close()
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("statements", FOREIGN)
async def test_a_database_of_another_program_is_refused_and_not_touched(
    empty: str, statements: str
) -> None:
    for statement in statements.split(";"):
        await ask(empty, statement)
    before = await contents(empty)
    with pytest.raises(CannotOpen, match=ANOTHER):
        await PostgresStore(empty, TWENTY, FAILING).open(RecordingObserver())
    assert await contents(empty) == before


@pytest.mark.parametrize("statements", FOREIGN)
def test_and_so_is_a_file(tmp_path: Path, statements: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as file:
        file.executescript(statements)
    before = path.read_bytes()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection, pytest.raises(SchemaRefused, match=ANOTHER):
        migrations.upgrade(connection)
    engine.dispose()
    assert path.read_bytes() == before


async def test_a_database_of_a_newer_version_is_refused_and_not_touched(empty: str) -> None:
    store = PostgresStore(empty, TWENTY, FAILING)
    await store.open(RecordingObserver())
    await store.close()
    await ask(empty, "UPDATE alembic_version SET version_num = '0099'")
    await ask(empty, "CREATE TABLE unheard_of (id int)")
    before = await contents(empty)
    with pytest.raises(CannotOpen, match=NEWER):
        await PostgresStore(empty, TWENTY, FAILING).open(RecordingObserver())
    assert await contents(empty) == before


async def test_a_table_in_another_schema_is_in_nobodys_way(empty: str) -> None:
    name = Address.parse(empty).dsn.partition("?")[0].rpartition("/")[2]
    await ask(empty, "CREATE TABLE devices (serial text)")
    await ask(empty, "CREATE TABLE alembic_version AS SELECT 'ae1027a6acf' AS version_num")
    await ask(empty, "CREATE SCHEMA ours")
    await ask(empty, f"ALTER DATABASE {name} SET search_path = ours, public")
    store = PostgresStore(empty, TWENTY, FAILING)
    await store.open(RecordingObserver())
    assert len(await start(store, 1, 2, 3)) == 3
    await store.close()
    assert await ask(empty, "SELECT count(*) FROM public.devices") == 0


async def test_functions_of_an_early_version_are_made_anew(empty: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connect(Address.parse(empty), patient=True),
        poolclass=NullPool,
    )
    async with engine.begin() as connection:
        await connection.run_sync(migrations.upgrade)
    names = {path.stem.removeprefix("0001_") for path in VERSIONS.glob("0001_*.sql")}
    source = "SELECT prosrc FROM pg_proc WHERE proname = $1"
    new = {name: await ask(empty, source, name) for name in names}
    async with engine.begin() as connection:
        await connection.run_sync(partial(migrations.downgrade, revision="0002"))
    await engine.dispose()
    for name in names:
        await ask(
            empty,
            "UPDATE pg_proc SET prosrc = 'BEGIN an early version END' WHERE proname = $1",
            name,
        )
    store = PostgresStore(empty, TWENTY, FAILING)
    await store.open(RecordingObserver())
    assert {name: await ask(empty, source, name) for name in names} == new
    assert len(await start(store, 1, 2, 3)) == 3
    await store.finisher.settle(F)
    assert (await store.queries.ledger(F)).balanced
    await store.close()
