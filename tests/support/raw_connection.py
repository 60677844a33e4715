"""HTTP byte by byte: what a well-behaved client could not send."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import orjson
import pytest
import structlog
from aiohttp import web
from multidict import CIMultiDict
from structlog.testing import LogCapture

from pisync.keys import DRAINING, METRICS
from pisync.telemetry.logs import processors
from pisync.telemetry.metrics import Metrics
from pisync.web.pipeline.middleware import (
    REQUEST_OBSERVER,
    RequestObserver,
    add_headers,
    observe,
)
from pisync.web.transport.admission import (
    NORMAL,
    Limits,
)
from pisync.web.transport.serve import serve
from pisync.web.transport.timeouts import Timeouts
from tests.support.certificates import server_certificate, shared_certificate
from tests.support.waiting import SOON

over_tcp_and_tls = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
"""Runs a test twice: what it says holds for HTTP and HTTPS."""


async def settle() -> None:
    """Let both ends of connections, which are in this process, do what they have to do."""
    for _ in range(25):
        await asyncio.sleep(0.002)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)

    def assert_problem(self, status: int, *, head: bool = False) -> None:
        """Assert that this is an error answer in the one shape, with the headers that all have."""
        assert self.status == status, self.body
        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", self.headers["X-Request-ID"])
        assert self.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in self.headers
        if head:
            assert self.body == b""
        else:
            assert set(self.json()) == {"message"}


class RawConnection:
    """A connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        """Send no more; what is answered can still be read. asyncio can't do that over TLS."""
        with suppress(OSError):  # who has answered and hung up already
            self._writer.write_eof()

    def reset(self) -> None:
        """Hang up in a way that the server sees at once (RST)."""
        at_once = struct.pack("ii", 1, 0)
        connected = self._writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self._writer.transport.abort()

    async def answer(self, *, head: bool = False) -> Answer:
        """Read one answer; `head` says that it is one to HEAD, and has no body."""
        async with asyncio.timeout(SOON):
            start, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = CIMultiDict(
                (name, value.strip()) for name, _, value in (line.partition(":") for line in lines)
            )
            length = 0 if head else int(headers.get("Content-Length", 0))
            body = await self._reader.readexactly(length)
        return Answer(int(start.split()[1]), headers, body)

    async def rest(self) -> bytes:
        """Read until the server closes."""
        async with asyncio.timeout(SOON):
            try:
                return await self._reader.read()
            except ConnectionResetError:
                return b""

    async def parts(self) -> bytes:
        """Read until the server closes, or resets the connection; return what came until then."""
        received = b""
        async with asyncio.timeout(SOON):
            with suppress(ConnectionError):
                while data := await self._reader.read(65536):
                    received += data
        return received

    async def seconds_until_closed(self) -> float:
        """Read until the server closes, and say how long that took."""
        began = monotonic()
        await self.rest()
        return monotonic() - began


@asynccontextmanager
async def raw_connection(port: int) -> AsyncIterator[RawConnection]:
    context = shared_certificate().client_context if port in _TLS_PORTS else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.close()


def observed(*routes: web.RouteDef, access_log: bool = False) -> web.Application:
    """An application with these routes, observed as the whole one is."""
    metrics = Metrics()
    observer = RequestObserver(metrics, access_log=access_log)
    app = web.Application(middlewares=[observe(observer)])
    app[METRICS] = metrics
    app[REQUEST_OBSERVER] = observer
    app[DRAINING] = asyncio.Event()
    app.on_response_prepare.append(add_headers)
    app.add_routes(routes)
    return app


Lines = list[MutableMapping[str, Any]]


def listen_to(monkeypatch: pytest.MonkeyPatch, module: str) -> Lines:
    """Return the list into which all that a module logs goes from now on."""
    capture = LogCapture()
    logger = structlog.wrap_logger(None, processors=[capture])
    monkeypatch.setattr(f"{module}._log", logger)
    return capture.entries


@contextmanager
def capture_logs() -> Iterator[Lines]:
    """Catch all that is logged meanwhile."""
    capture, usual = LogCapture(), [*processors]
    processors[:] = [capture]
    try:
        yield capture.entries
    finally:
        processors[:] = usual


@dataclass(frozen=True)
class Serving:
    port: int
    task: asyncio.Task[None]
    app: web.Application


_TLS_PORTS = set[int]()
"""Those on which servers of this process speak TLS."""
HASTE = Timeouts(grace=0.0, under_way=0.5)


@asynccontextmanager
async def serving(
    app: web.Application,
    timeouts: Timeouts = HASTE,
    limits: Limits = NORMAL,
    *,
    tls: bool = False,
) -> AsyncIterator[Serving]:
    """Serve `app` on a free port, and stop at the end unless it has stopped."""
    ports: asyncio.Queue[int] = asyncio.Queue()
    task = asyncio.create_task(
        serve(
            app,
            host="127.0.0.1",
            port=0,
            started=lambda addresses: ports.put_nowait(addresses[0][1]),
            timeouts=timeouts,
            limits=limits,
            certificate=server_certificate() if tls else None,
        )
    )
    first = asyncio.create_task(ports.get())
    await asyncio.wait({task, first}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        first.cancel()
        await task
    port = await first
    (_TLS_PORTS.add if tls else _TLS_PORTS.discard)(port)
    try:
        yield Serving(port, task, app)
    finally:
        app[DRAINING].set()
        if not task.done():
            await task
