"""How soon others finish what a replica began that has stopped, or is dead."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from bench.cluster.replicas import replicas
from bench.figures import Figure, Figures, at_most
from bench.postgres import postgres
from bench.servers import Running
from tools.postgres import Postgres

SYNCS = 50
_DELAY = 0.5
"""Seconds that a sync takes, as the profile has it that is measured with."""
_GIVE_UP = 30.0
_PAUSE = 0.01
_LOST = {"stopped": signal.SIGSTOP, "dead": signal.SIGKILL}


def measure(*, quick: bool) -> Figures:
    """Let one of three replicas begin syncs, and stop it at once, or kill it."""
    rounds = 1 if quick else 4
    figures: list[Figure] = []
    with postgres() as database:
        for state, sent in _LOST.items():
            late = max(_late(database, sent) for _ in range(rounds))
            what = f"due syncs of a {state} replica are finished by others, the last one after"
            figures.append(at_most(what, late, 2, "s", 2))
    return Figures("A replica is lost", figures)


def _late(database: Postgres, sent: signal.Signals) -> float:
    """Return how long after it was due the last sync was seen finished, in seconds."""
    with replicas(database, 3, on_all_cores=True) as (_, started):
        lost, *others = started
        with ThreadPoolExecutor(SYNCS) as threads:
            begun = [*threads.map(lambda n: _begin(lost, n), range(1, SYNCS + 1))]
        lost.process.send_signal(sent)
        due = max(begun) + _DELAY
        return _when_all_have_finished(others[0]) - due


def _begin(replica: Running, device_id: int) -> float:
    """Begin a sync; return when it began, in seconds."""
    status, body = replica.call("POST", f"/devices/{device_id}/sync")
    assert status == 202, body
    return datetime.fromisoformat(json.loads(body)["last_attempt_at"]).timestamp()


def _when_all_have_finished(replica: Running) -> float:
    give_up = time.monotonic() + _GIVE_UP
    while json.loads(replica.call("GET", "/stats")[1])["pending"]:
        assert time.monotonic() < give_up, "nobody finishes them"
        time.sleep(_PAUSE)
    return time.time()
