"""All servers under the same load, in short rounds that alternate, so that all share the noise."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import median

from bench.checks import check, examine, wait_for_syncs
from bench.load import Measured, measure
from bench.servers import CANNED, LIVE, Running, Server, running
from bench.workloads import Workload

SYNCS = 600
"""Begun before a fleet is measured, for their error logs: of each, three in ten fail."""


@dataclass(frozen=True)
class Plan:
    """How much is measured: rounds, seconds of each and of its warm-up, and connections at once."""

    rounds: int
    seconds: float
    warm_up: float
    connections: Sequence[int]
    fewer_rounds: int = 3
    """For all numbers of connections but the first."""


FULL = Plan(rounds=5, seconds=0.7, warm_up=0.25, connections=(64, 1, 8, 256))
QUICK = Plan(rounds=3, seconds=0.5, warm_up=0.2, connections=(64,))


@dataclass
class Result:
    """The rounds of every server, by its name, in one workload with so many connections."""

    workload: Workload
    connections: int
    rounds: dict[str, list[Measured]] = field(default_factory=dict)

    def rates(self, server: str) -> list[float]:
        """Return a server's requests a second, by round."""
        return [each.rate for each in self.rounds[server]]

    def as_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "workload": self.workload.name,
            "title": self.workload.title,
            "connections": self.connections,
            "rounds": {
                name: [each._asdict() for each in rounds] for name, rounds in self.rounds.items()
            },
        }


def ratio(one: Sequence[Measured], other: Sequence[Measured]) -> float:
    """Return how many times as fast one is as another: of rounds side by side, the median."""
    return median(mine.rate / its.rate for mine, its in zip(one, other, strict=True))


def thrift(one: Sequence[Measured], other: Sequence[Measured]) -> float:
    """Return how many requests one answers in the processor time that another needs for one.

    As `ratio`, but what else the machine does at the time is not in it.
    """
    return min(its.cost for its in other) / min(mine.cost for mine in one)


def _ignore(_: str) -> None:
    """Take the place of a progress report."""


def compare(
    workloads: Iterable[Workload],
    plan: Plan,
    say: Callable[[str], None] = _ignore,
    *,
    live: Sequence[Server] = LIVE,
    canned: Sequence[Server] = CANNED,
) -> list[Result]:
    """Measure every workload on every server."""
    results: list[Result] = []
    for devices, group in groupby(workloads, key=lambda workload: workload.devices):
        results += _on_one_fleet(devices, list(group), plan, say, live, canned)
    return results


def _on_one_fleet(
    devices: int,
    workloads: Sequence[Workload],
    plan: Plan,
    say: Callable[[str], None],
    live: Sequence[Server],
    canned: Sequence[Server],
) -> list[Result]:
    say(f"fleet of {devices}: starting {len(live) + len(canned)} servers")
    with ExitStack() as stack:
        started = [stack.enter_context(running(server, devices)) for server in live]
        for server in started:
            examine(server, min(devices, SYNCS))
        for server in started:
            wait_for_syncs(server)
        answers = _record(started[0], workloads)
        started += [stack.enter_context(running(server, devices, answers)) for server in canned]
        for server in started:
            with server.alone():
                pass
        results = [
            _measure(workload, connections, started, plan, say)
            for workload in workloads
            for connections in plan.connections
        ]
        for server in started[: len(live)]:
            with server.alone():
                wait_for_syncs(server)
    return results


def _record(server: Running, workloads: Iterable[Workload]) -> Mapping[str, str]:
    """Return what PiSync answers: to each GET, by target, and to one POST."""
    answers = {}
    requests = {request for workload in workloads for request in workload.requests}
    posts = sorted(request for request in requests if request.startswith("POST"))[:1]
    for request in [*sorted(requests - {*_posts(requests)}), *posts]:
        method, _, target = request.partition(" ")
        status, body = server.call(method, target)
        check(server.server, method, target, status, body)
        answers["POST" if method == "POST" else target] = body.decode()
    return {"POST": "{}", **answers}


def _posts(requests: Iterable[str]) -> set[str]:
    return {request for request in requests if request.startswith("POST")}


def alternate(
    workload: Workload, connections: int, servers: Sequence[Running], plan: Plan
) -> list[list[Measured]]:
    """Load servers in turn, one at a time; return the rounds of each."""
    rounds: list[list[Measured]] = [[] for _ in servers]
    for _ in range(plan.rounds):
        for server, its_rounds in zip(servers, rounds, strict=True):
            with server.alone():
                its_rounds.append(
                    measure(
                        server.with_headers({**server.headers, **workload.headers}),
                        workload.requests,
                        connections=connections,
                        warm_up=plan.warm_up,
                        seconds=plan.seconds,
                        changing=workload.changing,
                    )
                )
    return rounds


def _measure(
    workload: Workload,
    connections: int,
    started: Sequence[Running],
    plan: Plan,
    say: Callable[[str], None],
) -> Result:
    if connections != plan.connections[0]:
        plan = replace(plan, rounds=plan.fewer_rounds)
    rounds = alternate(workload, connections, started, plan)
    names = [server.server.name for server in started]
    result = Result(workload, connections, dict(zip(names, rounds, strict=True)))
    medians = (f"{name} {median(result.rates(name)):,.0f}" for name in result.rounds)
    say(f"{time.strftime('%H:%M:%S')} {workload.title}, {connections}: {', '.join(medians)}")
    return result
