"""A server that knows the header lines of its clients, and one that remembers nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from pisync import keys
from pisync.app import create_app
from pisync.web.transport.aiohttp_internals import Protocol
from pisync.web.transport.fast_path import FAST_PATH, FastPath
from tests.conftest import SETTINGS, ManualTime
from tests.support.raw_connection import HASTE, RawConnection, raw_connection, serving

TOKEN = "a.known.token"
HEAD = b"Host: a\r\nAuthorization: Bearer a.known.token\r\n\r\n"
LIST = b"GET /devices HTTP/1.1\r\n" + HEAD
LIVE = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
"""Sent first: the first data of a connection is parsed, whatever it is."""
STATS = b"GET /stats HTTP/1.1\r\n" + HEAD
SYNC = b"POST /devices/3/sync HTTP/1.1\r\n" + HEAD
KNOWN = (
    *(LIST, b"GET /devices?limit=3 HTTP/1.1\r\n" + HEAD, STATS, SYNC),
    *(b"GET /errors HTTP/1.1\r\n" + HEAD, b"GET /devices/3 HTTP/1.1\r\n" + HEAD),
    *(b"GET /fleets/default/devices?limit=3 HTTP/1.1\r\n" + HEAD,),
    *(b"GET /devices?limit=0 HTTP/1.1\r\n" + HEAD, b"GET /devices/99 HTTP/1.1\r\n" + HEAD),
)


class Watched(FastPath):
    """Notes of each packet on an idle connection whether it was answered in front of the parser."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, at_once=True)
        self.taken: list[bool] = []

    def answer(self, connection: Protocol, packet: bytes) -> bool:
        self.taken.append(super().answer(connection, packet))
        return self.taken[-1]


@dataclass(frozen=True)
class Warm:
    """A server that has answered all of `KNOWN` often enough to know them."""

    app: web.Application
    port: int
    front: Watched
    time: ManualTime


def an_app(**settings: Any) -> tuple[web.Application, ManualTime]:
    time = ManualTime()
    app = create_app(replace(SETTINGS, **settings), clocks=time)
    know(app)
    return app, time


def know(app: web.Application, token: str = TOKEN, **more: object) -> None:
    """Have a token remembered, as if it had been seen before."""
    claims = {"iss": "pisync", "sub": "tester", "scopes": ["devices"], "exp": 1_763_800_100}
    app[keys.TOKENS].accept(token, claims | more)


@asynccontextmanager
async def warm_server(**settings: Any) -> AsyncIterator[Warm]:
    app, time = an_app(**settings)
    front = app[FAST_PATH] = Watched(app)
    async with serving(app, replace(HASTE, under_way=0.05)) as running:
        async with raw_connection(running.port) as connection:
            for request in KNOWN * 3:
                await connection.send(request)
                await connection.answer()
        assert front.taken[-len(KNOWN) :] == [True] * len(KNOWN)
        front.taken.clear()
        yield Warm(app, running.port, front, time)


@asynccontextmanager
async def plain_server() -> AsyncIterator[int]:
    """Serves the same without a fast path, and has answered the same."""
    app, _ = an_app()
    del app._state[FAST_PATH]  # noqa: SLF001 - applications let no key go
    async with serving(app) as running, raw_connection(running.port) as connection:
        for request in KNOWN * 3:
            await connection.send(request)
            await connection.answer()
        yield running.port


async def ask(connection: RawConnection, request: bytes) -> int:
    await connection.send(request)
    return (await connection.answer()).status
