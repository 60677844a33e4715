"""Twenty clients who log in without pause, at cost 12: what others notice, and how many get in."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import repeat

import bcrypt

from bench.figures import TIMES, Figures, at_least, at_most
from bench.paced import Latency, paced
from bench.servers import Running, pisync, running

CLIENTS = 20
COST = 12
RATE = 200.0
USER = {"username": "alice", "password": "correct horse"}
UNKNOWN = {"username": "nobody", "password": "correct horse"}


def measure(*, quick: bool) -> Figures:
    """Log in known and unknown users; read devices 200 times a second meanwhile."""
    seconds = 4.0 if quick else 12.0
    server = pisync(PISYNC_BCRYPT_COST=str(COST), PISYNC_LOGIN_FAILURES="off")
    with running(server, 10, on_all_cores=True) as started:
        assert _post(started.connect(), "/register", USER) == 201
        alone = _bcrypt_alone(seconds)
        idle = _read(started, seconds)
        known = _under_logins(started, USER, 200, seconds)
        unknown = _under_logins(started, UNKNOWN, 401, seconds)
    return Figures(
        f"Logins: {CLIENTS} clients without pause at cost {COST}",
        [
            at_most("p99 of GET /devices, beside idle", known[0].p99 / idle.p99, 2, TIMES),
            at_least("logins a second, beside bcrypt alone", known[1] / alone, 0.9),
            at_most("p99 with unknown users, beside idle", unknown[0].p99 / idle.p99, 2, TIMES),
            at_least("unknown users a second, beside bcrypt alone", unknown[1] / alone, 0.9),
        ],
    )


def _bcrypt_alone(seconds: float) -> float:
    """Return how many passwords a second as many threads as cores check."""
    hashed = bcrypt.hashpw(b"x", bcrypt.gensalt(COST))
    threads = os.cpu_count() or 1

    def check(end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            bcrypt.checkpw(b"x", hashed)
            count += 1
        return count

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        checked = sum(pool.map(check, [began + seconds] * threads))
    return checked / (time.perf_counter() - began)


def _read(server: Running, seconds: float) -> Latency:
    return asyncio.run(paced(server, [repeat("GET /devices")] * 4, rate=RATE, seconds=seconds))


def _under_logins(
    server: Running, user: dict[str, str], expected: int, seconds: float
) -> tuple[Latency, float]:
    ended = threading.Event()
    counts: list[int] = []

    def log_in() -> None:
        connection, count = server.connect(), 0
        while not ended.is_set():
            assert _post(connection, "/login", user) == expected
            count += 1
        counts.append(count)

    began = time.perf_counter()
    threads = [threading.Thread(target=log_in) for _ in range(CLIENTS)]
    _each(threads, threading.Thread.start)
    latency = _read(server, seconds)
    ended.set()
    _each(threads, threading.Thread.join)
    assert len(counts) == CLIENTS
    return latency, sum(counts) / (time.perf_counter() - began)


def _each(threads: list[threading.Thread], do: Callable[[threading.Thread], None]) -> None:
    for thread in threads:
        do(thread)


def _post(connection: HTTPConnection, target: str, value: dict[str, str]) -> int:
    connection.request("POST", target, json.dumps(value), {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status
