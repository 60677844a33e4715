"""What one client costs the others, before and after: the table in docs/security.md.

    python -m bench.fair OLD

measures the checkout OLD beside this one, in turn: what each attack leaves in memory (resident, and
what the kernel holds for TCP), and how long an honest client waits meanwhile for `GET /livez` (the
99th percentile). Every attack is bounded: 100 to 1,000 connections, a few megabytes, some seconds.
"""

import asyncio
import contextlib
import gzip
import json
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from bench import machine
from bench.servers import Running, pisync, running

_MEGABYTE = 1_000_000
_PAGE = resource.getpagesize()
_PAUSE = 0.01
"""Seconds between two questions of the honest client."""


class Cost(NamedTuple):
    """What an attack cost: bytes in memory at most, and the honest client's seconds (p99, max)."""

    memory: float
    p99: float
    longest: float


def main(arguments: Sequence[str]) -> int:
    """Print the table; return the exit status."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "pisync").is_dir():
        print("usage: python -m bench.fair OLD, the folder of another checkout", file=sys.stderr)
        return 2
    old = Path(arguments[0])
    print("| what somebody does | memory before | after | others wait, p99, before | after |")
    print("| --- | --- | --- | --- | --- |")
    try:
        for what, attack in ATTACKS.items():
            before, after = (_measure(attack, checkout) for checkout in (old, Path.cwd()))
            cells = (
                what,
                *(f"{each.memory / _MEGABYTE:,.0f} MB" for each in (before, after)),
                *(f"{each.p99 * 1000:,.0f} ms" for each in (before, after)),
            )
            print(f"| {' | '.join(cells)} |", flush=True)
    except machine.CannotMeasure as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def _measure(attack: "Attack", checkout: Path) -> Cost:
    server = replace(pisync(PISYNC_PROFILE=_SLOW), checkout=checkout)
    with running(server, 3_000) as target, _memory(target) as memory, _honest(target) as waits:
        time.sleep(0.5)
        waits.clear()
        attack(target)
    waits.sort()
    if not waits:
        raise machine.CannotMeasure("the honest client got no answer")
    return Cost(max(memory) - memory[0], waits[int(len(waits) * 0.99)], waits[-1])


_SLOW = json.dumps({"seed": 1, "delay": {"distribution": "constant", "seconds": 60}})
Attack = Callable[[Running], None]


@contextmanager
def _memory(target: Running) -> Iterator[list[int]]:
    """Sample the server's memory, the kernel's for all TCP included."""
    samples = [_held(target)]
    with _repeating(lambda: samples.append(_held(target)), 0.05):
        yield samples


def _held(target: Running) -> int:
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            return target.resident() + int(line.split()[-1]) * _PAGE
    raise machine.CannotMeasure("no TCP in /proc/net/sockstat")


@contextmanager
def _honest(target: Running) -> Iterator[list[float]]:
    """Ask now and then, as a client that has done nothing, and note how long each answer takes."""
    waits: list[float] = []
    connection = target.connect()

    def ask() -> None:
        began = time.perf_counter()
        connection.request("GET", "/livez")
        connection.getresponse().read()
        waits.append(time.perf_counter() - began)

    with contextlib.closing(connection), _repeating(ask, _PAUSE):
        yield waits


@contextmanager
def _repeating(step: Callable[[], None], pause: float) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.wait(pause):
            # An old server may be killed, or close what it can't serve.
            with contextlib.suppress(OSError, HTTPException, machine.CannotMeasure):
                step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# Attacks


def _patiently(
    target: Running, method: str, path: str, body: bytes | None = None, **headers: str
) -> None:
    """Make a call, and wait for its answer for a minute; whether there is one is not the matter."""
    connection = HTTPConnection("127.0.0.1", target.port, timeout=60)
    with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
        types = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, body, {**target.headers, **types, **headers})
        connection.getresponse().read()


def _head(target: Running, line: str, length: int | None = None) -> bytes:
    body = (
        "" if length is None else f"Content-Type: application/json\r\nContent-Length: {length}\r\n"
    )
    token = target.headers["Authorization"]
    return f"{line} HTTP/1.1\r\nHost: bench\r\nAuthorization: {token}\r\n{body}\r\n".encode()


@contextmanager
def _silent(target: Running, count: int, request: bytes) -> Iterator[list[socket.socket]]:
    """Open connections that send a request and read nothing."""
    with ExitStack() as stack:
        silent = []
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stack.enter_context(connection)
            connection.settimeout(5)
            connection.connect(("127.0.0.1", target.port))
            connection.sendall(request)
            silent.append(connection)
        yield silent


def unread_answers(target: Running) -> None:
    """Ask for something large on 100 connections, and read nothing."""
    with _silent(target, 100, _head(target, "GET /docs/swagger-ui.js")):
        time.sleep(2)


def half_sent_bodies(target: Running) -> None:
    """Begin 16 bodies of 16 MiB, and never end them."""
    request = _head(target, "PUT /admin/fleets/lab", 16 * 1024 * 1024) + b" " * (15 * 1024 * 1024)
    with contextlib.suppress(OSError), _silent(target, 16, request):
        time.sleep(1)


def errors_by_the_element(target: Running) -> None:
    """Send what has an error in every element."""
    body = b'{"profile": {"outcomes": [%b]}}' % b",".join([b"{}"] * 20_000)
    _patiently(target, "PATCH", "/admin/fleets/default", body)


def packed_errors(target: Running) -> None:
    """Send 50 bytes that unpack to an error in each of 16,000 elements."""
    packed = gzip.compress(b'{"profile": {"outcomes": [%b{}]}}' % (b"{}," * 16_000))
    _patiently(target, "PATCH", "/admin/fleets/default", packed, **{"Content-Encoding": "gzip"})


def loops_on_metrics(target: Running) -> None:
    """Let ten clients ask for `/metrics` as fast as they can, for two seconds."""
    with ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(contextlib.closing(target.connect()))

            def ask(connection=connection) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
                connection.request("GET", "/metrics")
                connection.getresponse().read()

            stack.enter_context(_repeating(ask, 0))
        time.sleep(2)


def streams_and_a_bulk_sync(target: Running) -> None:
    """Open 1,000 streams that nobody reads, and sync 3,000 devices at once."""
    with _silent(target, 1_000, _head(target, "GET /events")):
        time.sleep(1)
        _patiently(target, "POST", "/devices/sync", b'{"all": true}')
        time.sleep(3)


def many_texts(target: Running) -> None:
    """Release 1,000 held attempts, each with another error message, and read counts."""
    hold, release = b'[{"hold": true}]', "/admin/fleets/default/devices/{}/release"
    for device in range(1, 1_001):
        target.call("PUT", f"/admin/fleets/default/devices/{device}/script", hold)
        target.call("POST", f"/devices/{device}/sync")
        outcome = {"sync_status_code": 500, "error_message": f"{device:0200}"}
        target.call("POST", release.format(device), json.dumps(outcome).encode())
    target.call("GET", "/stats")


def a_long_list(target: Running) -> None:
    """Make a fleet of a list of 14 MiB, and delete it."""
    devices = b",".join(b'{"device_id":%d}' % n for n in range(1, 600_000))
    _patiently(target, "PUT", "/admin/fleets/lab", b'{"devices":[%b]}' % devices)
    _patiently(target, "DELETE", "/admin/fleets/lab")


def bulk_syncs_of_others(target: Running) -> None:
    """Sync all devices of eight fleets at once."""
    for number in range(8):
        target.call("PUT", f"/admin/fleets/f{number}", b'{"devices": 10000}')

    async def all_at_once() -> None:
        await asyncio.gather(
            *(asyncio.to_thread(_sync_all, target, f"f{number}") for number in range(8))
        )

    asyncio.run(all_at_once())


def _sync_all(target: Running, fleet: str) -> None:
    _patiently(target, "POST", "/devices/sync", b'{"all": true}', **{"Pisync-Fleet": fleet})


ATTACKS: dict[str, Attack] = {
    "100 connections ask for a page of 1.4 MB and read nothing": unread_answers,
    "16 bodies of 16 MiB are begun and never end": half_sent_bodies,
    "a body of 60 KB with an error in every element": errors_by_the_element,
    "the same, packed in 200 bytes": packed_errors,
    "10 clients loop on `/metrics`": loops_on_metrics,
    "1,000 streams that nobody reads, and a bulk sync of 3,000": streams_and_a_bulk_sync,
    "1,000 error messages that differ, of 200 characters": many_texts,
    "a fleet is made of a list of 14 MiB, and deleted": a_long_list,
    "bulk syncs of 10,000 in eight fleets at once": bulk_syncs_of_others,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
