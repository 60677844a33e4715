"""Clients whose header lines differ, beside the released version: they are looked up in vain."""

from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from bench.figures import Figure, Figures, at_least, at_most
from bench.files import need_files
from bench.load import run_wrk
from bench.released import VERSION, released
from bench.rounds import Plan, alternate, thrift
from bench.servers import PISYNC, Running, Server, running, token
from bench.workloads import Workload

LIST = Workload("ten", "GET /devices", 10, ["GET /devices"])
CHANGING = {
    "an X-Request-ID": "X-Request-ID: %s",
    "a traceparent": "traceparent: 00-%s-00f067aa0ba902b7-01",
    "another header": "X-Sent-At: %s",
}
HEADS = 1_000_000
TOKENS = 10_000
_BATCH = 500
"""Connections that ask at the same time."""
_MEBIBYTE = 2**20


def measure(*, quick: bool) -> Figures:
    """Load both versions in turn, with few clients, and with many; then fill the table."""
    plan = Plan(rounds=5 if quick else 7, seconds=0.5, warm_up=0.2, connections=(64,))
    tokens, heads = (TOKENS // 10, HEADS // 20) if quick else (TOKENS, HEADS)
    with released() as earlier:
        figures = [
            at_least(f"each request with {header} of its own, beside {VERSION}", share, 0.95)
            for header, share in _changing(earlier, plan).items()
        ]
        ours, its = (_with_tokens(server, tokens) for server in (PISYNC, earlier))
    clients = f"{tokens:,} connections with tokens of their own"
    figures += [
        at_most(
            f"memory that {clients} take, beyond what it is with {VERSION}",
            (ours.growth - its.growth) / _MEBIBYTE,
            16,
            "MiB",
        ),
        Figure(
            f"memory of the process with {clients}",
            f"{ours.resident / _MEBIBYTE:.0f} MiB, with {VERSION} {its.resident / _MEBIBYTE:.0f}",
        ),
    ]
    growth, share = _flooded(heads, plan)
    figures += [
        at_most(f"memory that {heads:,} different heads take", growth / _MEBIBYTE, 16, "MiB"),
        at_least("requests with a known head after them, beside before", share, 0.95),
    ]
    return Figures("Clients whose header lines differ", figures)


def _changing(earlier: Server, plan: Plan) -> dict[str, float]:
    with ExitStack() as stack:
        servers = [stack.enter_context(running(each, 10)) for each in (PISYNC, earlier)]
        return {
            header: thrift(*alternate(replace(LIST, changing=line), 64, servers, plan))
            for header, line in CHANGING.items()
        }


class Memory(NamedTuple):
    """The memory of a process, and how much more that is than before, in bytes."""

    resident: int
    growth: int


def _with_tokens(server: Server, count: int) -> Memory:
    """Return the memory when so many connections have asked thrice, each with its own token."""
    need_files(count)
    with running(server, 10) as started, ExitStack() as stack:
        before = started.resident()
        for first in range(0, count, _BATCH):
            batch = [
                (
                    stack.enter_context(started.socket()),
                    b"GET /devices/3 HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %b\r\n\r\n"
                    % token("devices", jti=str(number)).encode(),
                )
                for number in range(first, first + _BATCH)
            ]
            for _ in range(3):
                for connection, request in batch:
                    connection.sendall(request)
                for connection, _ in batch:
                    answer = connection.recv(65_536)
                    assert answer.startswith(b"HTTP/1.1 200"), answer
        resident = started.resident()
        return Memory(resident, resident - before)


def _flooded(heads: int, plan: Plan) -> tuple[int, float]:
    """Return the memory that so many heads take, and what a known one is worth afterwards."""
    with running(PISYNC, 10) as server:
        (before,) = alternate(LIST, 64, [server], plan)
        with server.alone():
            memory = server.resident()
            _send_heads(server, heads)
            growth = server.resident() - memory
        (after,) = alternate(LIST, 64, [server], plan)
    return growth, thrift(after, before)


def _send_heads(server: Running, count: int) -> None:
    while count > 0:
        count -= int(
            run_wrk(server, LIST.requests, 64, 1.0, CHANGING["another header"])["requests"]
        )
