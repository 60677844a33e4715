"""How late syncs finish on three replicas, and how much of that work they do for nothing."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from bench import machine
from bench.checks import Wrong
from bench.figures import Figure, Figures, at_most
from bench.paced import Latency, paced
from bench.postgres import PROFILE, postgres
from bench.servers import Running, Server, running
from bench.workloads import LARGE

RATE = 1000.0
"""Syncs a second that are asked for, whether the answers come in time or not."""
REPLICAS = 3
_GIVE_UP = 30.0
_CONNECTIONS = 40
"""Of each replica: a request waits for the answer to the one before on its connection."""


def measure(*, quick: bool) -> Figures:
    """Ask for syncs by the clock, and read what the ledgers and the replicas have counted."""
    seconds = 6.0 if quick else 40.0
    with postgres() as database, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = database.url(asyncio.run(database.make_database()))
        files = [Path(folder) / f"replica-{n}" for n in range(REPLICAS)]
        started = [
            stack.enter_context(running(_counted(url, file), LARGE, on_all_cores=True))
            for file in files
        ]
        asyncio.run(_sync(started, 2))
        # Its lateness begins anew with that: nothing of the warm-up is in it.
        assert started[0].call("POST", "/admin/fleets/default/reset")[0] == 204
        latencies = asyncio.run(_sync(started, seconds))
        _wait_until_all_have_finished(started[0])
        ledgers = [_ledger(each) for each in started]
        stack.close()
        counts = [json.loads(file.read_text()) for file in files]
    if ledgers[-1]["pending"] or not ledgers[-1]["balanced"]:
        raise Wrong(f"not all has finished, or the ledger is wrong: {ledgers[-1]}")
    thrown_away = sum(each["thrown_away"] for each in counts)
    share = thrown_away / (thrown_away + sum(each["finished"] for each in counts))
    late = max(each["lateness"]["p99"] for each in ledgers)
    rate = sum(each.answers for each in latencies) / seconds
    at = f"at {rate:,.0f} syncs/s, three replicas"
    answered = max(each.p99 for each in latencies)
    return Figures(
        "What is due",
        [
            at_most(f"finishing work thrown away, {at}", share * 100, 3, "%"),
            at_most(f"lateness p99 {at}, the worst of them", late * 1000, 50, "ms"),
            Figure("p99 of those answers, from when each was due to be sent", _ms(answered)),
        ],
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _counted(url: str, file: Path) -> Server:
    """Return a replica that writes into a file what it has finished, and for nothing."""
    return Server(
        "PiSync, counted",
        (machine.python(), "-m", "bench.peers.counted", "serve"),
        {"PISYNC_STORE": url, "PISYNC_PROFILE": PROFILE, "COUNTS": str(file)},
    )


async def _sync(started: Sequence[Running], seconds: float) -> Sequence[Latency]:
    """Sync so long, through all replicas alike."""
    numbers = count()
    return await asyncio.gather(
        *(
            paced(each, [_requests(numbers)] * _CONNECTIONS, rate=RATE / REPLICAS, seconds=seconds)
            for each in started
        )
    )


def _requests(numbers: Iterable[int]) -> Iterator[str]:
    """Yield syncs of devices that are far from each other, each of its own."""
    for n in numbers:
        yield f"POST /devices/{n * 7919 % LARGE + 1}/sync"


def _wait_until_all_have_finished(replica: Running) -> None:
    give_up = time.monotonic() + _GIVE_UP
    while _ledger(replica)["pending"] and time.monotonic() < give_up:
        time.sleep(0.5)


def _ledger(replica: Running) -> Mapping[str, Any]:
    status, body = replica.call("GET", "/admin/fleets/default/ledger")
    assert status == 200, body
    ledger: Mapping[str, Any] = json.loads(body)
    return ledger
