"""Requests by the clock: so many a second, whether the answers come in time or not."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from statistics import quantiles
from time import perf_counter
from typing import NamedTuple

from bench.checks import Wrong
from bench.servers import Running


class Latency(NamedTuple):
    """Seconds from when a request was to be sent to the end of its answer."""

    p50: float
    p99: float
    answers: int


class _Client(asyncio.Protocol):
    """Sends a request when told to, and times its answer; a request waits for the one before."""

    def __init__(self, requests: Iterator[bytes], times: list[float]) -> None:
        self._requests = requests
        self._times = times
        self._due: list[float] = []
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None
        self.bad = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self.bad += not head.startswith(b"HTTP/1.1 20")
        self._received = b""
        self._times.append(perf_counter() - self._due.pop(0))
        if self._due:
            self._send()

    def request(self) -> None:
        """Send a request now, or as soon as the one before has its answer."""
        self._due.append(perf_counter())
        if len(self._due) == 1:
            self._send()

    def _send(self) -> None:
        if self._transport is not None:
            self._transport.write(next(self._requests))

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.index(b"content-length:") + len(b"content-length:")
    return int(lower[at:].split(b"\r\n", 1)[0])


async def paced(
    server: Running, requests: Sequence[Iterable[str]], *, rate: float, seconds: float
) -> Latency:
    """Make requests `rate` times a second in all, as in `GET /devices`.

    Each element of `requests` has those of one connection, and never ends.
    """
    loop = asyncio.get_running_loop()
    times: list[float] = []
    head = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
    clients = []
    for of_one in requests:
        texts = (f"{each} HTTP/1.1\r\nHost: bench\r\n{head}\r\n".encode() for each in of_one)
        _, client = await loop.create_connection(
            partial(_Client, texts, times), "127.0.0.1", server.port
        )
        clients.append(client)
    began, sent = perf_counter(), 0
    while (elapsed := perf_counter() - began) < seconds:
        while sent < elapsed * rate:
            clients[sent % len(clients)].request()
            sent += 1
        await asyncio.sleep(0.0005)
    await asyncio.sleep(0.5)
    bad = sum(client.bad for client in clients)
    for client in clients:
        client.close()
    if bad or len(times) < sent * 0.98:
        raise Wrong(f"{server.server.name}: {bad} bad and {sent - len(times)} missing answers")
    cuts = quantiles(times, n=100)
    return Latency(cuts[49], cuts[98], len(times))
