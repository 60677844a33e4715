"""What metrics and access log cost, and what refused tokens cost beside good ones."""

from bench import machine
from bench.figures import Figures, at_least
from bench.load import cost_of_refusal
from bench.rounds import Plan, alternate, thrift
from bench.servers import PISYNC, Server, pisync, running
from bench.workloads import Workload

LIST = Workload("ten", "GET /devices", 10, ["GET /devices"])
BARE = Server(
    "PiSync without metrics", (machine.python(), "-m", "bench.peers.without_metrics", "serve")
)


def measure(*, quick: bool) -> Figures:
    """Load all of them in turn."""
    plan = Plan(rounds=5 if quick else 15, seconds=0.5, warm_up=0.2, connections=(64,))
    logged = pisync("PiSync with access log", PISYNC_ACCESS_LOG="on")
    with (
        running(PISYNC, 10) as shipped,
        running(BARE, 10) as bare,
        running(logged, 10) as logging,
    ):
        rounds = alternate(LIST, 64, [shipped, bare, logging], plan)
        to_bare, to_silent = thrift(*rounds[:2]), thrift(rounds[2], rounds[0])
        good = min(each.cost for each in rounds[0])
        refused = good / cost_of_refusal(shipped, LIST.requests, plan.rounds, plan.seconds)
    return Figures(
        "Switches",
        [
            at_least("as shipped (metrics on, access log off), beside both off", to_bare, 0.95),
            at_least("access log on, beside off", to_silent, 0.85),
            at_least("refused tokens, beside good ones", refused, 0.9),
        ],
    )
