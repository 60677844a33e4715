"""A start that waits says for what, waits for a limited time, and can be told to stop."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import monotonic

import asyncpg
import pytest

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.connection import connect
from pisync.stores.postgres.store import PostgresStore
from tests.chaos.replica import SECRET
from tests.support.paths import ROOT
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import server
from tests.support.stores.short import FAILING, TWENTY

LOCK = 0x50695379
"""The advisory lock of whoever gets the database ready."""
SOON = 30.0
PROMISED = 8.0
"""Seconds from the signal to the end, at any moment."""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await server().make_database()
    yield url
    await server().drop_database(url)


@asynccontextmanager
async def replica(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start `pisync serve`."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PISYNC_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pisync", "serve", "--port", "0"),
        cwd=ROOT,
        env=environ | {"PISYNC_STORE": url, "PISYNC_JWT_SECRET": SECRET, "PISYNC_BCRYPT_COST": "4"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def output_until(process: asyncio.subprocess.Process, pattern: str) -> str:
    """Read until a line that has the pattern; return all lines."""
    assert process.stdout is not None
    lines = ""
    async with asyncio.timeout(SOON):
        while not re.search(pattern, lines):
            line = await process.stdout.readline()
            assert line, lines
            lines += line.decode()
    return lines


async def ends_well(process: asyncio.subprocess.Process) -> str:
    """Tell it to stop; assert that it does, in time; return what it printed meanwhile."""
    assert process.stdout is not None
    before = monotonic()
    process.send_signal(signal.SIGTERM)
    output = (await process.stdout.read()).decode()
    assert await process.wait() == 0, output
    assert monotonic() - before < PROMISED
    assert "Traceback" not in output, output
    return output


async def test_for_another_replica(url: str) -> None:
    holder = await asyncpg.connect(url, server_settings={"application_name": "the holder"})
    await holder.execute("SELECT pg_advisory_lock($1)", LOCK)
    async with replica(url) as waiting:
        # Who it is may take longer to find out than it takes to say it first.
        said = await output_until(waiting, rf"process {holder.get_server_pid()} \(the holder")
        assert "another replica to get the database ready" in said
        await ends_well(waiting)
    async with replica(url) as waiting:
        await output_until(waiting, "start waits")
        await holder.close()
        await output_until(waiting, "listening")
        await ends_well(waiting)


async def test_for_a_table_that_is_locked(url: str) -> None:
    holder = await asyncpg.connect(url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        async with replica(url) as waiting:
            said = await output_until(waiting, f"process {holder.get_server_pid()} ")
            assert "the database's schema to be brought up to date" in said
            await ends_well(waiting)
    await holder.close()


async def test_for_a_database_that_accepts_and_never_answers() -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    silent = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    url = f"postgresql://me:geheim@127.0.0.1:{port}/db"
    async with silent:
        async with replica(url) as waiting:
            said = await output_until(waiting, "start waits")
            assert "the database to answer" in said
            await ends_well(waiting)
        async with replica(url) as waiting:
            assert waiting.stdout is not None
            said = (await waiting.stdout.read()).decode()
            assert await waiting.wait() == 2
            assert "no answer within 2 s" in said
            assert f"postgresql://127.0.0.1:{port}/db" in said
            assert "geheim" not in said


async def test_no_longer_than_it_may(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connect._PATIENT, "lock_timeout", "300ms")  # noqa: SLF001 - nobody sets it
    for lock, refused in (
        (f"SELECT pg_advisory_xact_lock({LOCK})", "another replica has been getting the database"),
        ("LOCK TABLE alembic_version", "another session has kept a table locked for"),
    ):
        holder = await asyncpg.connect(url)
        async with holder.transaction():
            await holder.execute(lock)
            with pytest.raises(CannotOpen, match=refused):
                await PostgresStore(url, TWENTY, FAILING).open(RecordingObserver())
        await holder.close()


async def test_and_leaves_no_lock_behind(url: str) -> None:
    store = PostgresStore(url, TWENTY, FAILING)
    holder = await asyncpg.connect(url)
    async with holder.transaction():
        await holder.execute("LOCK TABLE alembic_version")
        opening = asyncio.create_task(store.open(RecordingObserver()))
        async with asyncio.timeout(SOON):
            while not await holder.fetchval(  # noqa: ASYNC110
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
            ):
                await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    async with asyncio.timeout(SOON):
        while not await holder.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await holder.close()
