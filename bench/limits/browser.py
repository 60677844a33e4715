"""All workloads as a page in a browser sends them, beside a bare aiohttp handler."""

from dataclasses import replace

from bench.figures import Figures, at_least
from bench.rounds import FULL, QUICK, compare, ratio
from bench.servers import LIMIT, on_sqlite, pisync
from bench.workloads import ON_SQLITE, WORKLOADS, Workload

ORIGIN = "http://localhost:5173"
HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "application/json, text/plain, */*",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate",
    "Referer": f"{ORIGIN}/",
    "Origin": ORIGIN,
    "Connection": "keep-alive",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "cross-site",
}
"""With `Host` and `Authorization`, twelve lines."""


def measure(*, quick: bool) -> Figures:
    """Load both in turn, in memory, and with syncs on SQLite."""
    plan = replace(QUICK if quick else FULL, connections=(64,))
    ours = pisync("PiSync", PISYNC_CORS_ORIGINS=ORIGIN)
    workloads = [_from_a_page(workload) for workload in WORKLOADS]
    results = compare(workloads, plan, live=(ours,), canned=(LIMIT,))
    with on_sqlite(ours) as on_file:
        results += compare([_from_a_page(ON_SQLITE)], plan, live=(on_file,), canned=(LIMIT,))
    return Figures(
        f"With a browser's headers and CORS, beside {LIMIT.name}",
        [
            at_least(
                result.workload.title,
                ratio(result.rounds[ours.name], result.rounds[LIMIT.name]),
                1.9,
            )
            for result in results
        ],
    )


def _from_a_page(workload: Workload) -> Workload:
    return replace(workload, headers=HEADERS)
