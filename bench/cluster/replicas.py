"""Replicas to measure, on a database of their own."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from bench.postgres import PROFILE
from bench.servers import Running, Server, pisync, running
from bench.shared import load
from bench.workloads import LARGE, syncs
from tools.postgres import Postgres


def on(url: str) -> Server:
    """Return a server that keeps its fleets in the database at a URL."""
    return pisync("PiSync", PISYNC_STORE=url, PISYNC_PROFILE=PROFILE)


@contextmanager
def replicas(
    database: Postgres, number: int, fleets: int = 1, *, on_all_cores: bool = False
) -> Iterator[tuple[str, Sequence[Running]]]:
    """Start so many replicas on an empty database, in which so many fleets share 100,000 devices.

    Yields its URL and the replicas.
    """
    url = database.url(asyncio.run(database.make_database()))
    with ExitStack() as stack:
        started = [
            stack.enter_context(running(on(url), LARGE // fleets, on_all_cores=on_all_cores))
            for _ in range(number)
        ]
        for n in range(1, fleets):
            body = f'{{"devices": {LARGE // fleets}, "profile": {PROFILE}}}'.encode()
            status, answer = started[0].call("PUT", f"/admin/fleets/{_name(n)}", body)
            assert status == 201, answer
        yield url, started


def sync_all(started: Sequence[Running], fleets: int, connections: int, seconds: float) -> float:
    """Sync devices of all fleets through all replicas; return syncs a second.

    `connections` are those of all fleets together; replicas share them.
    """
    if fleets == 1:
        return load(started, connections, seconds)

    def sync_one(n: int) -> float:
        named = [Running(each.server, each.port, each.process) for each in started]
        for replica in named:
            replica.headers["Pisync-Fleet"] = _name(n)
        return load(named, connections // fleets, seconds, syncs(LARGE // fleets))

    with ThreadPoolExecutor(fleets) as threads:
        return sum(threads.map(sync_one, range(fleets)))


def _name(n: int) -> str:
    return f"fleet-{n}" if n else "default"
