"""Load by wrk, on a core of its own, and at the same time a reader who checks what is answered."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain, cycle
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple, Self

from bench import machine
from bench.checks import Wrong, check
from bench.servers import Running

SCRIPT = Path(__file__).parent / "requests.lua"
CHECK_EVERY = 0.05
"""Seconds between the checked answers."""
_HEAD = 600
"""Bytes that the head of an answer has at the most."""
_TRIES = 5
"""On a busy machine a server may not get to run for the whole of a short round."""


class Measured(NamedTuple):
    """What came of a round: requests a second, seconds of latency, and how many were checked.

    `cost` is the server's processor time for each request, in seconds: where others use the machine
    at the same time, it says more than the rate does.
    """

    rate: float
    cost: float
    p50: float
    p99: float
    checked: int


def measure(
    server: Running,
    requests: Sequence[str],
    *,
    connections: int,
    warm_up: float,
    seconds: float,
    changing: str = "",
) -> Measured:
    """Load a server, first for its warm-up and then to measure it.

    Args:
        server: What is loaded.
        requests: Sent in turn, each "METHOD target".
        connections: How many wrk keeps open.
        warm_up: Seconds of load before.
        seconds: How long it is measured.
        changing: A header line, with `%s` where each request has a value of its own.

    Raises:
        Wrong: An answer is, or a request got none.
    """
    run_wrk(server, requests, connections, warm_up, changing)
    for _ in range(_TRIES):
        try:
            with _Checker(server, requests) as checker:
                before = server.processor_seconds()
                result = run_wrk(server, requests, connections, seconds, changing)
                used = server.processor_seconds() - before
        except OSError as exc:
            print(f"once more: {server.server.name}: {exc!r}", file=sys.stderr)
            continue
        if result["requests"]:
            break
    else:
        raise Wrong(f"{server.server.name} answers nothing")
    if result["broken"] or result["not_good"]:
        raise Wrong(
            f"{server.server.name}: {result['not_good']:.0f} error answers,"
            f" {result['broken']:.0f} broken connections in {result['requests']:.0f} requests"
        )
    checker.judge_size(result["bytes"], result["requests"], connections)
    return Measured(
        rate=result["requests"] / result["seconds"],
        cost=used / (result["requests"] + checker.checked),
        p50=result["p50"],
        p99=result["p99"],
        checked=checker.checked,
    )


def cost_of_refusal(server: Running, requests: Sequence[str], rounds: int, seconds: float) -> float:
    """Return the processor time, in seconds, of an answer to a token that is not good."""
    bad = server.with_headers(
        {"Authorization": f"Bearer {server.headers['Authorization'][7:-4]}AAAA"}
    )
    costs = []
    for _ in range(rounds):
        with server.alone():
            before = server.processor_seconds()
            result = run_wrk(bad, requests, 64, seconds)
            used = server.processor_seconds() - before
        if result["not_good"] < result["requests"]:
            raise Wrong("a bad token was accepted")
        costs.append(used / max(1, result["requests"]))
    return min(costs)


def run_wrk(
    server: Running,
    requests: Sequence[str],
    connections: int,
    seconds: float,
    changing: str = "",
) -> dict[str, float]:
    """Load a server for so many seconds; return what wrk reports of it.

    Args:
        server: What is loaded.
        requests: Sent in turn, each "METHOD target".
        connections: How many wrk keeps open.
        seconds: How long.
        changing: A header line, with `%s` where each request has a value of its own.

    Raises:
        CannotMeasure: wrk did not begin, end, or report.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requests) + "\n")
        file.flush()
        command = ("taskset", "-c", str(machine.cores()[1]), "wrk", "-t1", f"-c{connections}")
        process = subprocess.Popen(
            [*command, "-d60s", "--timeout", "10s", "-s", str(SCRIPT), server.url],
            env={**os.environ, **_variables(server.headers, changing), "REQUESTS": file.name},
            stdout=subprocess.PIPE,
            text=True,
        )
        _wait_until_it_listens(process)
        time.sleep(seconds)
        said = _interrupt(process)
    for line in said.splitlines():
        if line.startswith("RESULT "):
            result: dict[str, float] = json.loads(line.removeprefix("RESULT "))
            return result
    raise machine.CannotMeasure(f"wrk reported nothing: {said[-500:]}")


def _variables(headers: Mapping[str, str], changing: str) -> Mapping[str, str]:
    lines = "\n".join(f"{name}: {value}" for name, value in headers.items())
    # Of its own for each run: no server has seen its values before.
    return {"HEADERS": lines, "SALT": token_hex(8)} | ({"CHANGING": changing} if changing else {})


def _wait_until_it_listens(process: "subprocess.Popen[str]") -> None:
    """Return when wrk, which begins its load then, has said that it takes interrupts."""
    status = Path(f"/proc/{process.pid}/status")
    for _ in range(2_000):
        caught = int(status.read_text().partition("SigCgt:")[2].split()[0], 16)
        if caught & 1 << (signal.SIGINT - 1) or process.poll() is not None:
            return
        time.sleep(0.005)
    raise machine.CannotMeasure("wrk does not begin")


def _interrupt(process: "subprocess.Popen[str]") -> str:
    """End wrk, which takes whole seconds alone; it reports what it has measured so far."""
    for _ in range(50):
        # More than once: a signal that comes before it has begun is lost on it.
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=0.3)[0]
    process.kill()
    process.wait()
    raise machine.CannotMeasure("wrk does not end")


def _kind(request: str) -> str:
    """Return what a request has in common with others like it: all but the device."""
    return re.sub(r"/[0-9]+", "/N", request)


class _Checker:
    """Asks, on one connection, what is asked under load, and looks at each answer closely."""

    def __init__(self, server: Running, requests: Sequence[str]) -> None:
        self._server = server
        # Others than wrk asks at the moment: it begins at the beginning.
        middle = len(requests) // 2
        in_turn = [*requests[middle:], *requests[:middle]]
        one_of_each = list({_kind(request): request for request in in_turn}.values())
        # Some are rare: without one of each, a short round would not know all sizes.
        self._requests = chain(one_of_each, cycle(in_turn))
        self._kinds = len(one_of_each)
        self._sizes: list[int] = []
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def checked(self) -> int:
        return len(self._sizes)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def judge_size(self, received: float, answers: float, under_way: int) -> None:
        """Raise Wrong if the answers under load were not as large as those that were checked.

        What was received holds their heads, and at the end parts of those that were under way.
        """
        least, most = answers * min(self._sizes), (answers + under_way) * (max(self._sizes) + _HEAD)
        if not least <= received <= most:
            name = self._server.server.name
            raise Wrong(f"{name}: {received / answers:.0f} bytes an answer, not {self._sizes[-1]}")

    def _run(self) -> None:
        connection = self._server.connect()
        try:
            while not self._ended.wait(CHECK_EVERY) or len(self._sizes) < self._kinds:
                method, _, target = next(self._requests).partition(" ")
                connection.request(method, target, headers=self._server.headers)
                response = connection.getresponse()
                body = response.read()
                check(self._server.server, method, target, response.status, body)
                self._sizes.append(len(body))
        except Exception as exc:  # noqa: BLE001 - raised again by who waits for the thread
            self._failure = exc
        finally:
            connection.close()
