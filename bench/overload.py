"""What becomes of a server that is asked for three times what it can serve.

    python -m bench.overload --seconds 60

First its peak is found, by clients who ask again as soon as they are answered. Then three times as
many requests are sent a second, by a clock and whether answers come or not, and at last so few that
it must be as quick as ever. The exit status is 1 if a promise was not kept.
"""

import argparse
import asyncio
import os
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, cast

import uvloop

from bench import machine
from bench.servers import Running, pisync, running

# Much for the server to do, and little for the clients to read: one process must ask for more.
TARGET = "/devices/sync"
BODY = b'{"all": true}'
DEVICES = 1_000
TIMES = 3.0
GOOD = (200, 202)
LEAST_SHARE = 0.8
REFUSED_WITHIN = 0.1
NORMAL_AFTER = 10.0
GROWTH = 64 * 1024 * 1024


class Outcome(NamedTuple):
    """How a request was answered: its status, and the seconds that took from when it was sent."""

    status: int
    seconds: float
    retry_after: bool


@dataclass
class Counts:
    """What came of a phase of so many seconds."""

    seconds: float
    sent: int = 0
    not_sent: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    def of(self, *statuses: int) -> list[float]:
        """Return the sorted times of the answers with these statuses."""
        return sorted(each.seconds for each in self.outcomes if each.status in statuses)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.of(*GOOD)) / self.seconds

    def report(self, name: str) -> None:
        """Print it."""
        good, refused = self.of(*GOOD), self.of(503)
        others = {each.status for each in self.outcomes} - {*GOOD, 503}
        print(
            f"{name}: {self.sent / self.seconds:.0f}/s sent, {self.not_sent} without a free"
            f" connection; good: {self.rate:.0f}/s, p50 {_at(good, 0.5)}, p99 {_at(good, 0.99)};"
            f" 503: {len(refused) / self.seconds:.0f}/s, p50 {_at(refused, 0.5)},"
            f" p99 {_at(refused, 0.99)}; others: {sorted(others) or 'none'}",
            flush=True,
        )


def _at(times: Sequence[float], share: float) -> str:
    return f"{times[int(share * (len(times) - 1))] * 1e3:.0f} ms" if times else "none"


class Client(asyncio.Protocol):
    """A connection with at most one request under way."""

    def __init__(self, clients: "Clients") -> None:
        self._clients = clients
        self._sent_at = 0.0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._clients.free.append(self)

    def send(self) -> None:
        self._sent_at = perf_counter()
        self._transport.write(self._clients.request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if found and len(body) >= length:
            self._answer = b""
            seconds = perf_counter() - self._sent_at
            self._clients.answered(self, Outcome(int(head[9:12]), seconds, b"Retry-After" in head))

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.lost += 1


class Clients:
    """Many connections to a server."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.free: deque[Client] = deque()
        self.lost = 0
        self._again = False
        self._counts = Counts(1)

    async def connect(self, port: int, number: int) -> None:
        """Open more connections."""
        loop = asyncio.get_running_loop()
        for _ in range(number):
            await loop.create_connection(lambda: Client(self), "127.0.0.1", port)

    def answered(self, client: Client, outcome: Outcome) -> None:
        """Note an answer."""
        self._counts.outcomes.append(outcome)
        if self._again:
            self._counts.sent += 1
            client.send()
        else:
            self.free.append(client)

    async def closed_loop(self, connections: int, seconds: float) -> Counts:
        """Let some ask, each again as soon as it is answered."""
        self._again, self._counts = True, Counts(seconds)
        for _ in range(connections):
            self.free.popleft().send()
        await asyncio.sleep(seconds)
        self._again, counts = False, self._counts
        self._counts = Counts(1)
        await asyncio.sleep(1)
        return counts

    async def open_loop(self, rate: float, seconds: float) -> Counts:
        """Ask so often a second, whether answers come or not."""
        counts = self._counts = Counts(seconds)
        began = perf_counter()
        due = 0
        while (elapsed := perf_counter() - began) < seconds:
            while due < elapsed * rate:
                due += 1
                if self.free:
                    counts.sent += 1
                    self.free.popleft().send()
                else:
                    counts.not_sent += 1
            await asyncio.sleep(0.001)
        return counts


def _request(server: Running, target: str) -> bytes:
    method, body = ("POST", BODY) if target == TARGET else ("GET", b"")
    head = (
        f"{method} {target} HTTP/1.1",
        "Host: a",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Authorization: {server.headers['Authorization']}",
        "\r\n",
    )
    return "\r\n".join(head).encode() + body


async def _measure(server: Running, target: str, seconds: float, connections: int) -> list[str]:
    clients = Clients(_request(server, target))
    await clients.connect(server.port, connections)
    await clients.closed_loop(32, 2)
    peak = await clients.closed_loop(32, max(5, seconds / 6))
    peak.report("peak")
    memory = server.resident()
    overload = await clients.open_loop(TIMES * peak.rate, seconds)
    overload.report(f"{TIMES:g} times the peak")
    growth = server.resident() - memory
    await asyncio.sleep(NORMAL_AFTER / 2)
    after = await clients.open_loop(peak.rate / 3, NORMAL_AFTER / 2)
    after.report("after it")
    print(f"memory: {growth / 2**20:+.1f} MiB; connections lost: {clients.lost}")
    return list(_broken(peak, overload, after, growth, clients.lost))


def _broken(peak: Counts, overload: Counts, after: Counts, growth: int, lost: int) -> list[str]:
    """Say which promises were not kept."""
    refused = overload.of(503)
    kept = {
        f"{LEAST_SHARE:.0%} of the peak goes through": overload.rate >= LEAST_SHARE * peak.rate,
        "the rest is refused within 100 ms (p99)": not refused
        or refused[int(0.99 * (len(refused) - 1))] < REFUSED_WITHIN,
        "there is something to refuse": bool(refused),
        "every refusal says when to come again": all(
            each.retry_after for each in overload.outcomes if each.status == 503
        ),
        "there is no other answer": {each.status for each in overload.outcomes} <= {*GOOD, 503},
        "no connection is lost": lost == 0,
        "memory stays flat": growth < GROWTH,
        "all is normal again within 10 s": bool(after.of(*GOOD)) and not after.of(503),
    }
    return [promise for promise, is_kept in kept.items() if not is_kept]


def main() -> None:
    """Measure, report, and fail if a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--connections", type=int, default=2000)
    options.add_argument("--target", default=TARGET)
    given = options.parse_args()
    of_server, of_load = machine.cores()
    with running(pisync(), DEVICES, core=of_server) as server:
        os.sched_setaffinity(0, {of_load})
        broken = uvloop.run(_measure(server, given.target, given.seconds, given.connections))
    for promise in broken:
        print(f"BROKEN: {promise}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
