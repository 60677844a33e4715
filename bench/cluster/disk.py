"""How much more three replicas do than one where it is the disk that one waits for."""

from statistics import median

from bench.cluster.replicas import replicas, sync_all
from bench.figures import Figure, Figures, at_least
from bench.postgres import postgres
from tools.postgres import Postgres

SLOW = ("commit_delay=2000", "commit_siblings=0")
"""Settings for a server that waits for 2 ms before each write of its log."""
CONNECTIONS = 8
"""Of each replica, in all fleets together: so few that it waits, rather than uses a core up."""
GOALS = {1: 2.0, 8: 2.7}
"""Syncs a second of three replicas ÷ those of one, by the number of fleets."""


def measure(*, quick: bool) -> Figures:
    """Load one replica, and three, each with connections of its own."""
    rounds, seconds = (1, 3.0) if quick else (3, 10.0)
    figures: list[Figure] = []
    with postgres(*SLOW) as database:
        for fleets, goal in GOALS.items():
            pairs = [_one_and_three(database, fleets, seconds) for _ in range(rounds)]
            what = "one fleet" if fleets == 1 else f"{fleets} fleets"
            what = f"{what}, each commit waits 2 ms, {CONNECTIONS} connections a replica"
            one, three = (median(rates) for rates in zip(*pairs, strict=True))
            ratio = median(three / one for one, three in pairs)
            figures += [
                Figure(f"syncs/s, one and three replicas, {what}", f"{one:,.0f}, {three:,.0f}"),
                at_least(f"syncs/s, 3 ÷ 1, {what}", ratio, goal),
            ]
    return Figures("A disk that is slow", figures)


def _one_and_three(database: Postgres, fleets: int, seconds: float) -> tuple[float, float]:
    """Return the syncs a second of one replica, and of three."""
    return _rate(database, 1, fleets, seconds), _rate(database, 3, fleets, seconds)


def _rate(database: Postgres, number: int, fleets: int, seconds: float) -> float:
    with replicas(database, number, fleets, on_all_cores=True) as (_, started):
        sync_all(started, fleets, CONNECTIONS * number, 1)
        return sync_all(started, fleets, CONNECTIONS * number, seconds)
