"""Ten thousand idle event streams: their memory, how long an event takes to all, and the end."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.checks import Wrong
from bench.figures import TIMES, Figures, at_most
from bench.files import need_files
from bench.released import VERSION, released
from bench.rounds import Plan, alternate
from bench.servers import PISYNC, Running, Server, running
from bench.workloads import Workload

COUNT = 10_000
BESIDE_READS = 2_000
AT_THE_END = 100
READS = Workload("ten", "GET /devices", 10, ["GET /devices"])
_PATIENCE = 60.0
_MEGABYTE = 1_000_000


def measure(*, quick: bool) -> Figures:
    """Open them, wait, sync one device, and see the event arrive on each; flood beside others."""
    count, beside_reads = (each // 10 if quick else each for each in (COUNT, BESIDE_READS))
    memory, arrived = idle_streams(PISYNC, count)
    p99, earlier_p99 = _p99_of_reads(beside_reads, rounds=3 if quick else 9)
    with running(PISYNC, 10) as server, _streams(server, AT_THE_END):
        end = _seconds_to_end(server)
    return Figures(
        "Event streams",
        [
            at_most(f"memory of {count:,} idle streams", memory / _MEGABYTE, 0.03 * count, "MB", 0),
            at_most("memory of a stream", memory / count / 1000, 30, "kB"),
            at_most(f"an event, until all {count:,} have it", arrived, count / 1000, "s", 2),
            at_most(
                f"p99 of a flood of reads ({p99 * 1000:.1f} ms) beside {beside_reads:,} idle"
                f" streams, beside {VERSION}",
                p99 / earlier_p99,
                1,
                TIMES,
                2,
            ),
            at_most(f"SIGTERM to exit, {AT_THE_END} streams open", end, 8, "s"),
        ],
    )


def idle_streams(server: Server, count: int) -> tuple[int, float]:
    """Return the bytes that so many take, and the seconds until an event has come on each."""
    need_files(count)
    with running(server, 10) as started:
        before = started.resident()
        with _streams(started, count) as streams:
            return started.resident() - before, _event_on_all(started, streams)


def _p99_of_reads(count: int, *, rounds: int) -> tuple[float, float]:
    """Return the seconds within which reads are answered beside so many streams, in a flood.

    Those of today's version come first, those of the released one second.
    """
    need_files(2 * count)
    plan = Plan(rounds=rounds, seconds=1.0, warm_up=0.2, connections=(64,))
    with released() as earlier, ExitStack() as stack:
        servers = [stack.enter_context(running(each, 10)) for each in (PISYNC, earlier)]
        for server in servers:
            stack.enter_context(_streams(server, count))
        ours, its = alternate(READS, plan.connections[0], servers, plan)
    # The least: other programs disturb it least.
    return min(each.p99 for each in ours), min(each.p99 for each in its)


@contextmanager
def _streams(server: Running, count: int) -> Iterator[list[socket.socket]]:
    """Open streams, each on a connection of its own; all have been answered."""
    request = (
        "GET /events HTTP/1.1\r\nHost: bench\r\n"
        f"Authorization: {server.headers['Authorization']}\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        streams = []
        for _ in range(count):
            stream = stack.enter_context(server.socket())
            stream.settimeout(_PATIENCE)
            stream.sendall(request)
            streams.append(stream)
        for stream in streams:
            _until(stream, b"\r\n\r\n")
        yield streams


def _until(stream: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        read = stream.recv(65_536)
        if not read:
            raise Wrong(f"a stream ended: {received[:200]!r}")
        received += read
    if b"HTTP/1.1" in received and b"HTTP/1.1 200" not in received:
        raise Wrong(f"a stream was refused: {received[:200]!r}")


def _event_on_all(server: Running, streams: list[socket.socket]) -> float:
    began = time.perf_counter()
    status, body = server.call("POST", "/devices/7/sync")
    assert status == 202, body
    for stream in streams:
        _until(stream, b"event: sync")
    return time.perf_counter() - began


def _seconds_to_end(server: Running) -> float:
    began = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    status = server.process.wait(_PATIENCE)
    assert status == 0, status
    return time.perf_counter() - began
