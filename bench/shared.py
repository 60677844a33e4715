"""How far one PostgreSQL goes: what a sync costs it, and the replicas before it.

    python -m bench.shared --seconds 20

It measures one replica and three, on a fleet of 100,000 devices. How many syncs a second there are
depends on the cores, and on who else uses them; what one costs hardly does.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import asyncpg

from bench.load import run_wrk
from bench.servers import Running, pisync, running
from bench.workloads import LARGE, WORKLOADS
from tests.chaos.postgres import Postgres

CONNECTIONS = 63
"""In all, however many replicas share them."""
SYNCS = next(each.requests for each in WORKLOADS if each.name == "sync")
PROFILE = '{"seed": 7, "delay": {"distribution": "constant", "seconds": 0.5}}'

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


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds: float = parser.parse_args().seconds
    print("| replicas | syncs/s | ms in a replica | ms in PostgreSQL | commits | bytes of log |")
    print("| --- | --- | --- | --- | --- | --- |")
    with _postgres() as postgres:
        for replicas in (1, 3):
            before, after = _measure(postgres, replicas, seconds)
            syncs = after.syncs - before.syncs
            print(
                f"| {replicas} | {syncs / seconds:.0f}"
                f" | {(after.replicas - before.replicas) / syncs * 1000:.2f}"
                f" | {(after.database - before.database) / syncs * 1000:.2f}"
                f" | {(after.commits - before.commits) / syncs:.2f}"
                f" | {(after.log_bytes - before.log_bytes) / syncs:.0f} |",
                flush=True,
            )


@contextmanager
def _postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="pisync-bench-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _measure(postgres: Postgres, replicas: int, seconds: float) -> tuple[Spent, Spent]:
    url = postgres.url(asyncio.run(postgres.make_database()))
    server = pisync("PiSync", PISYNC_STORE=url, PISYNC_PROFILE=PROFILE)
    with ExitStack() as stack, ThreadPoolExecutor(replicas) as threads:
        started = [stack.enter_context(running(server, LARGE)) for _ in range(replicas)]
        _load(threads, started, 3)
        before = _spent(url, started)
        _load(threads, started, seconds)
        return before, _spent(url, started)


def _load(threads: ThreadPoolExecutor, replicas: Sequence[Running], seconds: float) -> None:
    # Each begins elsewhere: nobody asks all replicas for the same device at the same moment.
    starts = [len(SYNCS) * n // len(replicas) for n in range(len(replicas))]

    def load(replica: Running, start: int) -> None:
        syncs = [*SYNCS[start:], *SYNCS[:start]]
        run_wrk(replica, syncs, CONNECTIONS // len(replicas), seconds)

    list(threads.map(load, replicas, starts))


def _spent(url: str, replicas: Sequence[Running]) -> Spent:
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


if __name__ == "__main__":
    main()
