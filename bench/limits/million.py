"""A million devices beside ten: memory, start, and the speed of a page and of a sync."""

import time

from bench.figures import Figures, at_least, at_most
from bench.rounds import Plan, alternate, thrift
from bench.servers import PISYNC, running
from bench.workloads import Workload

MILLION = 1_000_000
PAGE = Workload("page", "a page", MILLION, ["GET /devices?limit=10"])
SYNC = Workload("sync", "a sync", MILLION, [f"POST /devices/{id_}/sync" for id_ in range(1, 11)])


def measure(*, quick: bool) -> Figures:
    """Load both in turn."""
    plan = Plan(rounds=3 if quick else 9, seconds=0.5, warm_up=0.2, connections=(64,))
    with running(PISYNC, 10) as ten:
        began = time.perf_counter()
        with running(PISYNC, MILLION) as million:
            start = time.perf_counter() - began
            each = (million.resident() - ten.resident()) / MILLION
            page, sync = (
                alternate(workload, 64, [million, ten], plan) for workload in (PAGE, SYNC)
            )
    return Figures(
        "A million devices",
        [
            at_most("memory of a device", each, 400, "bytes", 0),
            at_most("start to first answer", start, 3, "s"),
            at_least("GET of a page, beside ten devices", thrift(*page), 0.9),
            at_least("POST of a sync, beside ten devices", thrift(*sync), 0.9),
        ],
    )
