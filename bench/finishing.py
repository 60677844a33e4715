"""How late syncs finish, and how much of that work replicas do for nothing.

    python -m bench.finishing --seconds 20

Three replicas in one process, each with its own connections, are asked for 1,000 syncs a second.
"""

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any
from unittest.mock import patch

from bench.postgres import postgres
from pisync.model.fleet import DEFAULT_FLEET, Generated
from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.profile import Profile
from pisync.simulation.events import Broker
from pisync.simulation.simulator import Simulator
from pisync.stores.postgres.commit import Commits, SnapshotChanges
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.store import PostgresStore
from pisync.telemetry.metrics import Metrics
from tools.postgres import Postgres

REPLICAS = 3
DEVICES = 100_000
_STEP = 0.01
"""Seconds between two sets of calls."""
_PROFILE = Profile(seed=7, delay=ConstantDelay(0.5))


class CountedCommits(Commits):
    """Counts the syncs that were finished, and those that another replica had finished already."""

    finished = thrown_away = 0

    async def apply(
        self, connection: Connection, changes: SnapshotChanges, **more: Any
    ) -> int | None:
        """Do as `Commits.apply`, and count."""
        newest = await super().apply(connection, changes, **more)
        finished = sum(not device.is_pending for device in changes.devices.values())
        if newest is None:
            CountedCommits.thrown_away += finished
        else:
            CountedCommits.finished += finished
        return newest


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=1000)
    arguments = parser.parse_args()
    with postgres() as database:
        print(asyncio.run(measure(database, arguments.rate, arguments.seconds)))


async def measure(database: Postgres, rate: float, seconds: float) -> str:
    """Let three replicas do so many syncs a second; return what came of it."""
    url = database.url(await database.make_database())
    simulators, loops, stores = [], [], []
    with patch("pisync.stores.postgres.store.Commits", CountedCommits):
        for _ in range(REPLICAS):
            store = PostgresStore(url, Generated(DEVICES), _PROFILE)
            simulator = Simulator(store, Metrics(), Broker(1))
            await store.open(simulator.observer)
            stores.append(store)
            simulators.append(simulator)
            loops.append(asyncio.create_task(simulator.run()))
        begun = await _begin(simulators, rate, seconds)
        await asyncio.sleep(2)
        generation = (await stores[0].queries.fleet(DEFAULT_FLEET)).generation
        p99 = max(each.lateness(DEFAULT_FLEET, generation).p99 for each in simulators)
        for loop in loops:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop
        for store in stores:
            await store.close()
    thrown_away = CountedCommits.thrown_away
    wasted = thrown_away / max(thrown_away + CountedCommits.finished, 1)
    return (
        f"{begun / seconds:.0f} syncs/s: {wasted:.1%} of finishing thrown away,"
        f" lateness p99 {p99 * 1000:.0f} ms"
    )


async def _begin(simulators: Sequence[Simulator], rate: float, seconds: float) -> int:
    """Begin syncs of all devices in turn, as fast as wanted or as they are begun."""
    now = asyncio.get_running_loop().time
    began, begun = now(), 0
    devices = count()
    while (elapsed := now() - began) < seconds:
        wanted = round(elapsed * rate) - begun
        calls = (
            simulators[n % REPLICAS].start(DEFAULT_FLEET, n * 7919 % DEVICES + 1)
            for n in (next(devices) for _ in range(wanted))
        )
        await asyncio.gather(*calls)
        begun += wanted
        await asyncio.sleep(_STEP)
    return begun


if __name__ == "__main__":
    main()
