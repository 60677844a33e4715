"""How far one PostgreSQL goes: what a sync costs it, and the replicas before it.

    python -m bench.shared --seconds 20

It measures one replica and three, on a fleet of 100,000 devices. How many syncs a second there are
depends on the cores, and on who else uses them; what one costs hardly does.
"""

import argparse
import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench.load import run_wrk
from bench.postgres import PROFILE, Spent, postgres, spent
from bench.servers import Running, pisync, running
from bench.workloads import LARGE, syncs
from tools.postgres import Postgres

CONNECTIONS = 63
"""In all, however many replicas share them."""
SYNCS = syncs(LARGE)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds: float = parser.parse_args().seconds
    print("| replicas | syncs/s | ms in a replica | ms in PostgreSQL | commits | bytes of log |")
    print("| --- | --- | --- | --- | --- | --- |")
    with postgres() as database:
        for replicas in (1, 3):
            before, after = _measure(database, replicas, seconds)
            begun = after.syncs - before.syncs
            print(
                f"| {replicas} | {begun / seconds:.0f}"
                f" | {(after.replicas - before.replicas) / begun * 1000:.2f}"
                f" | {(after.database - before.database) / begun * 1000:.2f}"
                f" | {(after.commits - before.commits) / begun:.2f}"
                f" | {(after.log_bytes - before.log_bytes) / begun:.0f} |",
                flush=True,
            )


def _measure(database: Postgres, replicas: int, seconds: float) -> tuple[Spent, Spent]:
    url = database.url(asyncio.run(database.make_database()))
    server = pisync("PiSync", PISYNC_STORE=url, PISYNC_PROFILE=PROFILE)
    with ExitStack() as stack:
        started = [stack.enter_context(running(server, LARGE)) for _ in range(replicas)]
        load(started, CONNECTIONS, 3)
        before = spent(url, started)
        load(started, CONNECTIONS, seconds)
        return before, spent(url, started)


def load(
    replicas: Sequence[Running],
    connections: int,
    seconds: float,
    requests: Sequence[str] = SYNCS,
) -> float:
    """Sync devices through replicas that share the connections; return requests a second."""
    # Each begins elsewhere: nobody asks all replicas for the same device at the same moment.
    starts = [len(requests) * n // len(replicas) for n in range(len(replicas))]

    def one(replica: Running, start: int) -> float:
        turned = [*requests[start:], *requests[:start]]
        result = run_wrk(replica, turned, connections // len(replicas), seconds)
        return result["requests"] / result["seconds"]

    with ThreadPoolExecutor(len(replicas)) as threads:
        return sum(threads.map(one, replicas, starts))


if __name__ == "__main__":
    main()
