"""A hundred thousand syncs pending at once: what they cost, and how late they finish."""

import asyncio
import json
from itertools import repeat

from bench.figures import Figures, at_most
from bench.paced import paced
from bench.servers import Running, pisync, running

COUNT = 100_000
RATE = 2_000.0


def measure(*, quick: bool) -> Figures:
    """Begin them, and read devices meanwhile, 2,000 times a second."""
    first, last = (8, 28) if quick else (10, 70)
    delay = {"distribution": "uniform", "min": first, "max": last}
    server = pisync(PISYNC_PROFILE=json.dumps({"seed": 1, "delay": delay}))
    with running(server, COUNT) as started:
        before = started.resident()
        status, body = started.call("POST", "/devices/sync", b'{"all": true}')
        assert (status, json.loads(body)["started"]) == (202, COUNT), body
        each = (started.resident() - before) / COUNT
        targets = ["/devices/7", "/devices?limit=10", "/stats", "/devices/99999"]
        requests = [repeat(f"GET {target}") for target in targets]
        latency = asyncio.run(paced(started, requests, rate=RATE, seconds=last - 4))
        lateness = _lateness(started)
    what = f"lateness of {COUNT:,} syncs due within {last - first} s, at {RATE:,.0f} requests/s"
    return Figures(
        "Pending syncs",
        [
            at_most(f"memory of a pending sync, {COUNT:,} at once", each, 150, "bytes", 0),
            at_most(f"{what}: p50", lateness["p50"] * 1000, 5, "ms"),
            at_most(f"{what}: p99", lateness["p99"] * 1000, 30, "ms"),
            at_most("p99 of those requests", latency.p99 * 1000, 50, "ms"),
        ],
    )


def _lateness(server: Running) -> dict[str, float]:
    status, body = server.call("GET", "/admin/fleets/default/ledger")
    ledger = json.loads(body)
    assert status == 200, body
    assert ledger["balanced"], ledger
    assert ledger["succeeded"] > COUNT / 3, ledger
    lateness: dict[str, float] = ledger["lateness"]
    return lateness
