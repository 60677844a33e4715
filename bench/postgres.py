"""A PostgreSQL to measure on, and what was spent of it."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import asyncpg

from bench.servers import Running
from tools.postgres import Postgres

PROFILE = '{"seed": 7, "delay": {"distribution": "constant", "seconds": 0.5}}'
"""Of the fleets that are measured: what begins soon ends, and both are in what is measured."""

_SPENT = """
    SELECT
        (SELECT sum(xact_commit)::bigint FROM pg_stat_database) AS commits,
        (SELECT wal_bytes::bigint FROM pg_stat_wal) AS log_bytes,
        (SELECT sum(n)::bigint FROM tallies WHERE what = 'accepted') AS syncs"""


class Spent(NamedTuple):
    """What was spent so far, by all replicas and by PostgreSQL: processor seconds, and the rest."""

    replicas: float
    database: float
    commits: int
    log_bytes: int
    syncs: int


@contextmanager
def postgres(*settings: str) -> Iterator[Postgres]:
    """Run a server of its own, with these settings."""
    with tempfile.TemporaryDirectory(prefix="pisync-bench-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder))
        server.start(*settings)
        try:
            yield server
        finally:
            server.kill()


def spent(url: str, replicas: Sequence[Running]) -> Spent:
    """Return what was spent by these replicas, and by the database, until now."""
    return asyncio.run(_read(url, sum(each.processor_seconds() for each in replicas)))


async def _read(url: str, replicas: float) -> Spent:
    connection = await asyncpg.connect(url)
    # Counts of what sessions did come in a moment later.
    await asyncio.sleep(1.5)
    processes = await connection.fetch("SELECT pid FROM pg_stat_activity")
    ((commits, log_bytes, syncs),) = await connection.fetch(_SPENT)
    await connection.close()
    return Spent(
        replicas,
        sum(_processor_seconds(pid) for (pid,) in processes),
        commits,
        log_bytes,
        syncs or 0,
    )


def _processor_seconds(pid: int) -> float:
    with suppress(FileNotFoundError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return 0.0
