"""Reads on PostgreSQL, beside the memory store."""

import asyncio
from statistics import median

from bench.cluster.replicas import on
from bench.figures import TIMES, Figure, Figures, at_least
from bench.load import run_wrk
from bench.postgres import PROFILE, postgres
from bench.servers import Running, pisync, running
from bench.workloads import LARGE

CONNECTIONS = 64
READS = {
    "GET /devices?limit=100": (["GET /devices?limit=100"], 0.6),
    "GET /devices/{id}": ([f"GET /devices/{device_id}" for device_id in range(1, LARGE, 97)], 0.5),
}
"""Requests, and the goal: how many a second, beside memory."""


def measure(*, quick: bool) -> Figures:
    """Load both stores in turn."""
    rounds, seconds = (1, 2.0) if quick else (5, 4.0)
    figures: list[Figure] = []
    memory = pisync("PiSync", PISYNC_PROFILE=PROFILE)
    with postgres() as database:
        url = database.url(asyncio.run(database.make_database()))
        with running(memory, LARGE) as in_memory, running(on(url), LARGE) as shared:
            for name, (requests, goal) in READS.items():
                for server in (in_memory, shared):
                    run_wrk(server, requests, CONNECTIONS, 1)
                pairs = [
                    [_read(server, requests, seconds) for server in (in_memory, shared)]
                    for _ in range(rounds)
                ]
                rate = median(ours[0] / memorys[0] for memorys, ours in pairs)
                cost = median(memorys[1] / ours[1] for memorys, ours in pairs)
                figures += [
                    at_least(f"{name} ÷ memory, {CONNECTIONS} connections", rate, goal),
                    Figure(f"{name} ÷ memory, by processor time", f"{cost:.2f} {TIMES}"),
                ]
    return Figures("Reads", figures)


def _read(server: Running, requests: list[str], seconds: float) -> tuple[float, float]:
    """Return requests a second, and the processor seconds of one in the replica."""
    before = server.processor_seconds()
    result = run_wrk(server, requests, CONNECTIONS, seconds)
    used = server.processor_seconds() - before
    return result["requests"] / result["seconds"], used / result["requests"]
