"""Ten thousand idle event streams: their memory, how long an event takes to all, and the end."""

import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench import machine
from bench.checks import Wrong
from bench.figures import Figures, at_most
from bench.servers import PISYNC, Running, Server, running

COUNT = 10_000
AT_THE_END = 100
_SPARE_FILES = 200
_PATIENCE = 60.0
_MEGABYTE = 1_000_000


def measure(*, quick: bool) -> Figures:
    """Open them, wait, sync one device, and see the event arrive on each."""
    count = COUNT // 10 if quick else COUNT
    memory, arrived = idle_streams(PISYNC, count)
    with running(PISYNC, 10) as server, _streams(server, AT_THE_END):
        end = _seconds_to_end(server)
    return Figures(
        "Event streams",
        [
            at_most(f"memory of {count:,} idle streams", memory / _MEGABYTE, 0.03 * count, "MB", 0),
            at_most("memory of a stream", memory / count / 1000, 30, "kB"),
            at_most(f"an event, until all {count:,} have it", arrived, count / 1000, "s", 2),
            at_most(f"SIGTERM to exit, {AT_THE_END} streams open", end, 8, "s"),
        ],
    )


def idle_streams(server: Server, count: int) -> tuple[int, float]:
    """Return the bytes that so many take, and the seconds until an event has come on each."""
    _need_files(count + _SPARE_FILES)
    with running(server, 10) as started:
        before = started.resident()
        with _streams(started, count) as streams:
            return started.resident() - before, _event_on_all(started, streams)


def _need_files(count: int) -> None:
    """Raise this process's limit, which the server inherits, as far as it may be raised."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most not in range(count):  # RLIM_INFINITY is -1
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return
    raise machine.CannotMeasure(f"{count:,} open files are needed: ulimit -Hn says {most:,}")


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
