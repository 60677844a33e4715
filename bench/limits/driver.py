"""Syncs on PostgreSQL beside the raw driver, which makes the same statements; two replicas."""

import asyncio
import subprocess
import tempfile
from contextlib import ExitStack
from statistics import median

from bench import machine
from bench.figures import Figures, at_least, at_most
from bench.postgres import PROFILE, postgres, spent
from bench.servers import ROOT, Server, pisync, running
from bench.shared import load
from bench.workloads import LARGE
from tools.postgres import Postgres

CONNECTIONS = 64


def measure(*, quick: bool) -> Figures:
    """Sync, and make the same statements without PiSync, in turn; then sync through two."""
    rounds, seconds = (2, 2.0) if quick else (5, 4.0)
    with postgres() as database:
        asyncio.run(database.ask("CREATE DATABASE filled"))
        with running(_on(database.url("filled")), LARGE):
            pass
        pairs = [_beside_the_driver(database, n, seconds) for n in range(rounds)]
        replicas = _two_beside_one(database, rounds, seconds)
    return Figures(
        f"PostgreSQL, at {CONNECTIONS} connections",
        [
            at_least("syncs, beside the raw driver", median(each for each, _ in pairs), 0.5),
            at_most("commits of a sync", median(each for _, each in pairs), 0.5, "", 2),
            at_least("syncs through two replicas, beside one", replicas, 1.6),
        ],
    )


def _on(url: str) -> Server:
    return pisync(PISYNC_STORE=url, PISYNC_PROFILE=PROFILE)


def _copy(database: Postgres, name: str) -> str:
    """Return the URL of a database of its own, with the fleet as it was at first."""
    asyncio.run(database.ask(f"CREATE DATABASE {name} TEMPLATE filled"))
    return database.url(name)


def _beside_the_driver(database: Postgres, number: int, seconds: float) -> tuple[float, float]:
    """Return how many syncs beside the raw driver's, and how many commits each took."""
    with tempfile.NamedTemporaryFile() as recording:
        url = _copy(database, f"ours{number}")
        command = (machine.python(), "-m", "bench.peers.recorded", "serve")
        server = Server(
            "PiSync, recorded",
            command,
            {"PISYNC_STORE": url, "PISYNC_PROFILE": PROFILE, "RECORDING": recording.name},
        )
        with running(server, LARGE) as started:
            load([started], CONNECTIONS, 1)
            before = spent(url, [started])
            rate = load([started], CONNECTIONS, seconds)
            after = spent(url, [started])
        commits = (after.commits - before.commits) / (after.syncs - before.syncs)
        url = _copy(database, f"driver{number}")
        taken = _repeat(url, recording.name)
    return rate / (spent(url, []).syncs / taken), commits


def _repeat(url: str, recording: str) -> float:
    """Make the recorded statements on the core that servers get; return the seconds it took."""
    command = ("taskset", "-c", str(machine.cores()[0]), machine.python())
    done = subprocess.run(
        [*command, "-m", "bench.peers.repeated", url, recording],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _two_beside_one(database: Postgres, rounds: int, seconds: float) -> float:
    """Return how many times as many syncs two replicas begin, each on a core of its own."""
    server = _on(_copy(database, "replicas"))
    ratios = []
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(running(server, LARGE, core=core)) for core in machine.cores()
        )
        for _ in range(rounds):
            with second.alone():
                pass
            one = load([first], CONNECTIONS, seconds)
            with second.alone():
                ratios.append(load([first, second], CONNECTIONS, seconds) / one)
    return median(ratios)
