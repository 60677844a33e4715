"""From start to first answer, beside a bare aiohttp server, and the memory of an idle server."""

import time
from statistics import median

from bench.figures import TIMES, Figures, at_most
from bench.servers import LIMIT, pisync, running


def measure(*, quick: bool) -> Figures:
    """Start both in turn."""
    # As it is shipped: no password given, and hashes at full cost.
    shipped = pisync(PISYNC_BCRYPT_COST="12")
    times: tuple[list[float], list[float]] = ([], [])
    resident = []
    for _ in range(3 if quick else 9):
        for server, taken in zip((shipped, LIMIT), times, strict=True):
            began = time.perf_counter()
            with running(server, 10, {"POST": "{}", "/stats": "{}"}) as started:
                taken.append(time.perf_counter() - began)
                if server is shipped:
                    resident.append(started.resident())
    mine, limit = (median(taken) for taken in times)
    what = f"start to first answer ({mine:.2f} s), beside bare aiohttp ({limit:.2f} s)"
    return Figures(
        "Start",
        [
            at_most(what, mine / limit, 2, TIMES, 2),
            at_most("idle memory", median(resident) / 1e6, 60, "MB", 0),
        ],
    )
