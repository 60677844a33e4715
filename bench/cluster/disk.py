"""How much more three replicas do than one where it is the disk that one waits for."""

from statistics import median
from typing import NamedTuple

from bench.cluster.replicas import replicas, sync_all
from bench.figures import Figure, Figures, at_least
from bench.postgres import postgres, spent
from tools.postgres import Postgres

SLOW = ("commit_delay=2000", "commit_siblings=0")
"""Settings for a server that waits for 2 ms before each write of its log."""
CONNECTIONS = 8
"""Of each replica, in all fleets together: so few that it waits, rather than uses a core up."""
GOALS = {1: 2.0, 8: 2.7}
"""Syncs a second of three replicas ÷ those of one, by the number of fleets."""


class _Load(NamedTuple):
    """Syncs a second, and how many cores replicas and PostgreSQL were busy on for them."""

    rate: float
    cores: float


def measure(*, quick: bool) -> Figures:
    """Load one replica, and three, each with connections of its own."""
    rounds, seconds = (1, 3.0) if quick else (3, 8.0)
    figures: list[Figure] = []
    with postgres(*SLOW) as database:
        for fleets, goal in GOALS.items():
            pairs = [
                (_load(database, 1, fleets, seconds), _load(database, 3, fleets, seconds))
                for _ in range(rounds)
            ]
            what = "one fleet" if fleets == 1 else f"{fleets} fleets"
            what = f"{what}, each commit waits 2 ms, {CONNECTIONS} connections a replica"
            rates = ", ".join(
                f"{median(each.rate for each in of):,.0f}" for of in zip(*pairs, strict=True)
            )
            cores = ", ".join(
                f"{median(each.cores for each in of):.1f}" for of in zip(*pairs, strict=True)
            )
            ratio = median(three.rate / one.rate for one, three in pairs)
            figures += [
                Figure(f"syncs/s, one and three replicas, {what}", rates),
                Figure("of the cores, that keeps busy (the load aside)", cores),
                at_least(f"syncs/s, 3 ÷ 1, {what}", ratio, goal),
            ]
    return Figures("A disk that is slow", figures)


def _load(database: Postgres, number: int, fleets: int, seconds: float) -> _Load:
    connections = CONNECTIONS * number
    with replicas(database, number, fleets, on_all_cores=True) as (url, started):
        sync_all(started, fleets, connections, 1)
        before = spent(url, started)
        rate = sync_all(started, fleets, connections, seconds)
        after = spent(url, started)
    used = after.replicas - before.replicas + after.database - before.database
    return _Load(rate, used / seconds)
