"""Answers that nobody reads: they hold little memory, and not for long."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest
import uvloop
from aiohttp import web

from pisync.app import create_app
from pisync.web.transport.timeouts import DEFAULT_TIMEOUTS
from tests.conftest import SETTINGS
from tests.support.certificates import shared_certificate
from tests.support.raw_connection import HASTE, observed, over_tcp_and_tls, serving
from tests.support.waiting import SOON, eventually

LARGE = b"GET /docs/swagger-ui.js HTTP/1.1\r\nHost: a\r\n\r\n"
MAX_HELD = 512 * 1024
KERNEL_TABLE = Path("/proc/net/tcp")
ESTABLISHED = "01"


@asynccontextmanager
async def silent_client(
    port: int, request: bytes, buffer: int = 4096, *, tls: bool = False
) -> AsyncIterator[socket.socket]:
    """A client that asks and does not read; its kernel takes `buffer` bytes."""

    def ask() -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(("127.0.0.1", port))
        if tls:
            context = shared_certificate().client_context
            client = context.wrap_socket(client, server_hostname="localhost")
        client.sendall(request)
        return client

    with await asyncio.to_thread(ask) as client:
        yield client


def bytes_in_kernel(port: int) -> list[int]:
    """What the kernel holds of the answers on each connection of a server."""
    lines = [line.split() for line in KERNEL_TABLE.read_text().splitlines()[1:]]
    return [
        int(queues.partition(":")[0], 16)
        for _, local, _, state, queues, *_ in lines
        if state == ESTABLISHED and int(local.rpartition(":")[2], 16) == port
    ]


class Gauge(asyncio.Protocol):
    """Sees how much each connection of a server holds back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transports: list[asyncio.Transport] = []
        seen = self.transports
        from pisync.web.transport.connection import Connection  # noqa: PLC0415

        made = Connection.connection_made

        def connection_made(connection: Connection, transport: asyncio.BaseTransport) -> None:
            made(connection, transport)
            assert connection.transport is not None
            seen.append(connection.transport)

        monkeypatch.setattr(Connection, "connection_made", connection_made)

    def bytes_held(self) -> list[int]:
        return [self._bytes_held(transport) for transport in self.transports]

    def _bytes_held(self, transport: asyncio.Transport) -> int:
        protocol = getattr(transport, "_ssl_protocol", None)
        below = protocol._transport.get_write_buffer_size() if protocol else 0  # noqa: SLF001
        return transport.get_write_buffer_size() + below


@pytest.mark.skipif(not KERNEL_TABLE.exists(), reason="only Linux tells what its kernel holds")
@over_tcp_and_tls
async def test_an_answer_that_nobody_reads_holds_little_memory(
    monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    gauge = Gauge(monkeypatch)
    async with (
        serving(create_app(SETTINGS), tls=tls) as running,
        silent_client(running.port, LARGE, tls=tls),
        silent_client(running.port, LARGE * 20, tls=tls),
    ):
        await eventually(lambda: len(gauge.transports) == 2 and all(gauge.bytes_held()))
        await asyncio.sleep(0.2)
        held, in_kernel = gauge.bytes_held(), bytes_in_kernel(running.port)
        assert len(in_kernel) == 2
        assert all(in_kernel)
        assert max(held) + max(in_kernel) <= MAX_HELD


def test_30_s_are_enough_to_take_something() -> None:
    assert DEFAULT_TIMEOUTS.untaken == 30


@over_tcp_and_tls
async def test_one_who_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    gauge = Gauge(monkeypatch)
    timeouts = replace(HASTE, untaken=0.3)
    async with (
        serving(create_app(SETTINGS), timeouts, tls=tls) as running,
        silent_client(running.port, LARGE, tls=tls),
    ):
        await eventually(lambda: len(gauge.transports) == 1)
        await eventually(gauge.transports[0].is_closing)


@over_tcp_and_tls
async def test_one_who_takes_a_little_now_and_then_gets_it_all(tls: bool) -> None:
    size = 3_000_000

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(size))

    app = observed(web.get("/large", large))
    async with serving(app, replace(HASTE, untaken=0.6), tls=tls) as running:
        request = b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        async with silent_client(running.port, request, buffer=65536, tls=tls) as client:
            client.settimeout(SOON)

            def take_some() -> int:
                # TLS gives a record at a time, however much is asked for.
                received = (len(client.recv(16_384)) for _ in range(12))
                return sum(takewhile(bool, received))

            taken = 0
            async with asyncio.timeout(SOON):
                while received := await asyncio.to_thread(take_some):
                    taken += received
                    await asyncio.sleep(0.05)
    assert taken > size


async def test_head_of_something_large_has_its_length_alone() -> None:
    async with serving(create_app(SETTINGS)) as running:
        request = LARGE.replace(b"GET", b"HEAD").replace(
            b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"
        )
        async with silent_client(running.port, request) as client:
            client.setblocking(False)
            loop, answer = asyncio.get_running_loop(), b""
            async with asyncio.timeout(SOON):
                while data := await loop.sock_recv(client, 65536):
                    answer += data
    assert b"\r\nContent-Length: " in answer
    assert answer.endswith(b"\r\n\r\n")


def test_it_holds_on_uvloop_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_an_answer_that_nobody_reads_holds_little_memory(monkeypatch, tls=False))
