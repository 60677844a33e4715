"""How three replicas on one PostgreSQL compare with one.

    make bench-cluster

Processor time a sync says most where load, replicas and database share two cores; rates stand
beside it. With a slow disk (each commit waits for 2 ms) rates say more: waiting counts then.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import asyncpg

from bench.load import run_wrk
from bench.postgres import PROFILE, spent
from bench.servers import Running, Server, pisync, running
from bench.shared import CONNECTIONS, load
from bench.workloads import LARGE, syncs
from tools.postgres import Postgres

SLOW_DISK = ("commit_delay=2000", "commit_siblings=0")
"""Settings for a server that waits for 2 ms before each write of its log."""
READS = {
    "GET /devices?limit=100": ["GET /devices?limit=100"],
    "GET /devices/{id}": [f"GET /devices/{device_id}" for device_id in range(1, LARGE, 97)],
}
_READERS = 64
_LOOK_EVERY = 0.01
_ACTIVITY = """
    SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*)
    FROM pg_stat_activity WHERE application_name = 'pisync' AND state <> 'idle'"""


class Figures(NamedTuple):
    """What was measured of some replicas; `waiting` is a share of their sessions' working time."""

    rate: float
    cost: float
    commits: float
    waiting: float

    def __str__(self) -> str:
        """Return cells of a table."""
        return f"{self.rate:.0f} | {self.cost * 1000:.2f} | {self.commits:.2f} | {self.waiting:.1%}"


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes in place of ten")
    seconds = 5.0 if parser.parse_args().quick else 25.0
    print(
        "| disk | fleets | replicas | syncs/s | ms of processor a sync | commits a sync"
        " | waiting for locks |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for disk, settings in (("as it is", ()), ("2 ms", SLOW_DISK)):
        with _postgres(*settings) as database:
            for fleets in (1, 8) if settings else (1,):
                one, three = (
                    _measure(database, replicas, fleets, seconds, disk) for replicas in (1, 3)
                )
                print(
                    f"| {disk} | {fleets} | 3 ÷ 1 | {three.rate / one.rate:.2f}"
                    f" | {three.cost / one.cost:.2f} | {three.commits / one.commits:.2f} | |",
                    flush=True,
                )
    print("\n| read, 64 connections | PostgreSQL ÷ memory, a second | processor time |")
    print("| --- | --- | --- |")
    with _postgres() as database:
        _compare_reads(database, seconds)


@contextmanager
def _postgres(*settings: str) -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="pisync-bench-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder))
        server.start(*settings)
        try:
            yield server
        finally:
            server.kill()


def _measure(database: Postgres, replicas: int, fleets: int, seconds: float, disk: str) -> Figures:
    url = database.url(asyncio.run(database.make_database()))
    with ExitStack() as stack:
        started = [stack.enter_context(running(_on(url), LARGE)) for _ in range(replicas)]
        for n in range(1, fleets):
            body = f'{{"devices": {LARGE // fleets}, "profile": {PROFILE}}}'.encode()
            assert started[0].call("PUT", f"/admin/fleets/fleet-{n}", body)[0] == 201
        _load(started, fleets, 2)
        before = spent(url, started)
        with _Watch(url) as watch:
            began = time.monotonic()
            _load(started, fleets, seconds)
            took = time.monotonic() - began
        after = spent(url, started)
    begun = after.syncs - before.syncs
    cost = after.replicas - before.replicas + after.database - before.database
    commits = after.commits - before.commits
    figures = Figures(begun / took, cost / begun, commits / begun, watch.waiting)
    print(f"| {disk} | {fleets} | {replicas} | {figures} |", flush=True)
    return figures


def _on(url: str) -> Server:
    return pisync("PiSync", PISYNC_STORE=url, PISYNC_PROFILE=PROFILE)


def _load(started: Sequence[Running], fleets: int, seconds: float) -> None:
    """Sync devices of all fleets through all replicas."""
    if fleets == 1:
        load(started, CONNECTIONS, seconds)
        return

    def one(n: int) -> None:
        replicas = [Running(each.server, each.port, each.process) for each in started]
        for replica in replicas:
            replica.headers["Pisync-Fleet"] = f"fleet-{n}" if n else "default"
        load(replicas, 9, seconds, syncs(LARGE // fleets))

    with ThreadPoolExecutor(fleets) as threads:
        list(threads.map(one, range(fleets)))


def _compare_reads(database: Postgres, seconds: float) -> None:
    url = database.url(asyncio.run(database.make_database()))
    memory = pisync("PiSync", PISYNC_PROFILE=PROFILE)
    with running(memory, LARGE) as in_memory, running(_on(url), LARGE) as shared:
        for name, requests in READS.items():
            rates, costs = {}, {}
            for server in (in_memory, shared):
                run_wrk(server, requests, _READERS, 1)
                before = server.processor_seconds()
                result = run_wrk(server, requests, _READERS, seconds)
                costs[server] = (server.processor_seconds() - before) / result["requests"]
                rates[server] = result["requests"] / result["seconds"]
            print(
                f"| {name} | {rates[shared] / rates[in_memory]:.2f}"
                f" | {costs[in_memory] / costs[shared]:.2f} |",
                flush=True,
            )


class _Watch:
    """Looks again and again at what the sessions of replicas do."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._look()))
        self._waiting = self._working = 0

    @property
    def waiting(self) -> float:
        """The share of their working time in which sessions waited for a heavyweight lock."""
        return self._waiting / max(self._working, 1)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    async def _look(self) -> None:
        connection = await asyncpg.connect(self._url)
        while not self._ended.wait(_LOOK_EVERY):
            ((waiting, working),) = await connection.fetch(_ACTIVITY)
            self._waiting += waiting
            self._working += working
        await connection.close()


if __name__ == "__main__":
    main()
