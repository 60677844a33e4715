"""What a sync costs on three replicas, beside one; and how long sessions wait for locks."""

import asyncio
import threading
from typing import NamedTuple, Self

import asyncpg

from bench.cluster.replicas import replicas, sync_all
from bench.figures import TIMES, Figure, Figures, at_most
from bench.postgres import postgres, spent
from bench.shared import CONNECTIONS
from tools.postgres import Postgres

_LOOK_EVERY = 0.01
_ACTIVITY = """
    SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*)
    FROM pg_stat_activity WHERE application_name = 'pisync' AND state <> 'idle'"""


class _Cost(NamedTuple):
    """What was measured of some replicas.

    Syncs a second; of one: processor seconds and commits; `waiting` is a share of the sessions'
    working time.
    """

    rate: float
    seconds: float
    commits: float
    waiting: float


def measure(*, quick: bool) -> Figures:
    """Load one replica, and three: with as many connections in all, and with as many for each."""
    seconds = 4.0 if quick else 15.0
    rounds = 1 if quick else 3
    costs: dict[tuple[int, int], list[_Cost]] = {
        (1, CONNECTIONS): [],
        (3, CONNECTIONS): [],
        (3, 3 * CONNECTIONS): [],
        (1, CONNECTIONS // 3): [],
    }
    with postgres() as database:
        for _ in range(rounds):
            for (number, connections), measured in costs.items():
                measured.append(_measure(database, number, connections, seconds))
    # What costs the least has been disturbed the least, too.
    one, three, three_with_more, one_with_less = (
        min(measured, key=lambda each: each.seconds) for measured in costs.values()
    )
    return Figures(
        "A sync on three replicas, one fleet",
        [
            Figure("processor time a sync, one replica", f"{one.seconds * 1000:.2f} ms"),
            Figure("processor time a sync, three replicas", f"{three.seconds * 1000:.2f} ms"),
            at_most("processor time a sync, 3 ÷ 1", three.seconds / one.seconds, 1.15, TIMES, 2),
            Figure(
                f"the same with {CONNECTIONS} connections for each replica, 3 ÷ 1",
                f"{three_with_more.seconds / one.seconds:.2f} {TIMES}",
            ),
            Figure(
                f"the same with {CONNECTIONS // 3} connections for each replica, 3 ÷ 1",
                f"{three.seconds / one_with_less.seconds:.2f} {TIMES}",
            ),
            Figure("syncs/s, one and three replicas", f"{one.rate:,.0f}, {three.rate:,.0f}"),
            Figure(f"commits a sync, {CONNECTIONS} connections, one replica", f"{one.commits:.2f}"),
            at_most(
                f"commits a sync, {CONNECTIONS} connections, three replicas",
                three.commits,
                0.3,
                "",
                2,
            ),
            at_most(
                "time in which sessions wait for heavyweight locks, three replicas",
                three.waiting * 100,
                5,
                "%",
            ),
        ],
    )


def _measure(database: Postgres, number: int, connections: int, seconds: float) -> _Cost:
    with replicas(database, number) as (url, started):
        sync_all(started, 1, connections, 2)
        before = spent(url, started)
        with _Watch(url) as watch:
            rate = sync_all(started, 1, connections, seconds)
        after = spent(url, started)
    begun = after.syncs - before.syncs
    took = after.replicas - before.replicas + after.database - before.database
    return _Cost(rate, took / begun, (after.commits - before.commits) / begun, watch.waiting)


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
