"""The fast path, where requests were parsed: the application's own bytes, and what it leaves."""

import asyncio
import re
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import NoReturn

import pytest
from aiohttp import web

from pisync import keys
from pisync.app import create_app
from pisync.auth.tokens import Flaw
from pisync.web.routes import ROUTES
from pisync.web.transport.fast_path import FAST_PATH, SCOPE, FastPath
from pisync.web.transport.recognition.targets import GET_DEVICE, LISTS, SYNC_DEVICE
from tests.conftest import SETTINGS, ManualTime
from tests.support.raw_connection import (
    HASTE,
    RawConnection,
    capture_logs,
    over_tcp_and_tls,
    raw_connection,
    serving,
)

TOKEN = "Authorization: Bearer {token}\r\n"

USUAL = (
    "GET /devices",
    "GET /devices?limit=3&after=2",
    "GET /devices?status=400,500",
    "GET /devices?limit=0",
    "GET /devices?limit=1&limit=2",
    "GET /devices/2",
    "GET /devices/11",
    "GET /devices/9007199254740993",
    "GET /errors",
    "GET /errors?limit=1",
    "GET /errors?sicne=x",
    "GET /stats",
    "POST /devices/3/sync",
    "POST /devices/3/sync",
    "GET /devices/3",
    "POST /devices/99/sync",
    "GET /stats",
    "GET /fleets/default/devices?limit=3&after=2",
    "GET /fleets/default/devices?limit=3&after=2",
    "GET /fleets/default/devices/2",
    "GET /fleets/default/errors?limit=1",
    "GET /fleets/default/stats",
    "POST /fleets/default/devices/4/sync",
    "GET /fleets/missing/devices",
    "POST /fleets/missing/devices/4/sync",
)
REFUSED = (
    *("", "Authorization: Basic {token}\r\n", TOKEN + TOKEN),
    TOKEN + "Pisync-Fleet: other\r\n",
)
UNUSUAL = (
    ("HEAD /devices", TOKEN),
    ("GET /devices", "Authorization: Bearer not-a-token\r\n"),
    ("GET /devices", TOKEN + "If-None-Match: *\r\n"),
    ("GET /devices/0", TOKEN),
    ("GET /devices/3/", TOKEN),
    ("GET /devices/3?x=1", TOKEN),
    ("GET /stats?x=1", TOKEN),
    ("GET /devices/3/sync", TOKEN),
    ("POST /devices", TOKEN),
    ("POST /devices/sync", TOKEN),
    ("GET /nowhere", TOKEN),
    ("GET /fleets/default/", TOKEN),
    ("GET /fleets/default/nowhere", TOKEN),
    ("GET /fleets/default/devices/", TOKEN),
    ("GET /fleets/default/devices/3/sync", TOKEN),
    ("GET /fleets/%64efault/devices", TOKEN),
    ("GET /fleets/default/fleets/default/devices", TOKEN),
    ("GET /fleets/Default/devices/3", TOKEN),
)


def an_app(*, with_fast_path: bool) -> web.Application:
    app = create_app(SETTINGS, clocks=ManualTime())
    return app if with_fast_path else without_fast_path(app)


def without_fast_path(app: web.Application) -> web.Application:
    del app._state[FAST_PATH]  # noqa: SLF001 - applications let no key go
    return app


class Alone(FastPath):
    """A fast path on its own: what it hands on fails."""

    def handler(self, _: keys.RequestHandler) -> keys.RequestHandler:
        def ordinary(_: web.BaseRequest) -> NoReturn:
            raise AssertionError("handed on")

        return super().handler(ordinary)


def alone(app: web.Application) -> web.Application:
    """Leave the fast path of an application on its own."""
    app[FAST_PATH] = Alone(app, at_once=True)
    return app


def a_token(app: web.Application, *scopes: str) -> str:
    tokens = app[keys.TOKENS]
    claims = {"iss": "pisync", "sub": "tester", "scopes": [*scopes], "exp": 10**11}
    tokens.accept("a.known.token", claims)
    return "a.known.token"


async def raw_answer(connection: RawConnection, request: str, headers: str, token: str) -> bytes:
    head = (
        f"{request} HTTP/1.1\r\nHost: x\r\nX-Request-ID: one\r\n{headers.format(token=token)}\r\n"
    )
    await connection.send(head.encode())
    is_head = request.startswith("HEAD")
    answer = await connection.answer(head=is_head)
    lines = "".join(
        f"{name}: {value}\n" for name, value in answer.headers.items() if name != "Date"
    )
    return f"{answer.status}\n{lines}\n".encode() + answer.body


@over_tcp_and_tls
async def test_both_paths_write_the_same_bytes(tls: bool) -> None:
    fast, ordinary = alone(an_app(with_fast_path=True)), an_app(with_fast_path=False)
    sent = [
        *((request, TOKEN) for request in USUAL),
        *(("GET /fleets/default/devices", headers) for headers in REFUSED),
    ]
    async with AsyncExitStack() as stack:
        wires = [
            await stack.enter_async_context(
                raw_connection((await stack.enter_async_context(serving(app, tls=tls))).port)
            )
            for app in (fast, ordinary)
        ]
        tokens = [a_token(app, "devices") for app in (fast, ordinary)]
        for request, headers in sent:
            one, other = [
                await raw_answer(each, request, headers, token)
                for each, token in zip(wires, tokens, strict=True)
            ]
            assert one == other
            assert b"handed on" not in one
    counted = [_requests_counted(app) for app in (fast, ordinary)]
    assert counted[0] == counted[1]
    assert sum(counted[0].values()) == len(sent)


def _requests_counted(app: web.Application) -> dict[str, float]:
    text = app[keys.METRICS].render().decode()
    found = re.findall(r"^(pisync_requests_total\{.*\}) (\S+)$", text, re.MULTILINE)
    return {labels: float(count) for labels, count in found}


@pytest.mark.parametrize(("request_line", "headers"), UNUSUAL)
async def test_what_is_unusual_is_left_to_the_application(request_line: str, headers: str) -> None:
    fast, ordinary = an_app(with_fast_path=True), an_app(with_fast_path=False)
    answers = []
    handed_on = 0

    class Counting(FastPath):
        def handler(self, ordinary: keys.RequestHandler) -> keys.RequestHandler:
            def count(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
                nonlocal handed_on
                handed_on += 1
                return ordinary(request)

            return super().handler(count)

    fast[FAST_PATH] = Counting(fast, at_once=True)
    for app in (fast, ordinary):
        async with serving(app) as running, raw_connection(running.port) as connection:
            token = a_token(app, "devices")
            answers.append(await raw_answer(connection, request_line, headers, token))
    assert answers[0] == answers[1]
    assert handed_on == 1


async def test_a_token_without_the_scope_is_left_to_the_application() -> None:
    app = an_app(with_fast_path=True)
    async with serving(app) as running, raw_connection(running.port) as connection:
        answer = await raw_answer(connection, "GET /devices", TOKEN, a_token(app, "admin"))
    assert answer.startswith(b"403")


async def test_a_token_that_was_refused_before_is_refused_on_both_paths_alike() -> None:
    answers = []
    for app in (alone(an_app(with_fast_path=True)), an_app(with_fast_path=False)):
        app[keys.TOKENS].refuse("a.bad.token", Flaw("signed by a stranger"))
        async with serving(app) as running, raw_connection(running.port) as connection:
            with capture_logs() as logged:
                answers.append(await raw_answer(connection, "GET /stats", TOKEN, "a.bad.token"))
        assert logged == [
            {
                "event": "token refused",
                "reason": "signed by a stranger",
                "request_id": "one",
                "log_level": "info",
            }
        ]
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"401")


async def test_an_unexpected_error_is_answered_in_the_one_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: object) -> NoReturn:
        raise ValueError("oops")

    app = alone(an_app(with_fast_path=True))
    monkeypatch.setitem(LISTS, "/stats", LISTS["/stats"]._replace(answer=broken))
    async with serving(app) as running, raw_connection(running.port) as connection:
        answer = await raw_answer(connection, "GET /stats", TOKEN, a_token(app, "devices"))
    assert answer.startswith(b"500")
    assert answer.endswith(b'{"message":"Something went wrong on our side."}')


async def test_while_it_drains_connections_are_told_to_close() -> None:
    app = an_app(with_fast_path=True)
    async with serving(app) as running, raw_connection(running.port) as connection:
        token = a_token(app, "devices")
        await raw_answer(connection, "GET /devices", TOKEN, token)
        app[keys.DRAINING].set()
        answer = await raw_answer(connection, "GET /devices", TOKEN, token)
    assert b"Connection: close" in answer


async def test_what_is_not_done_when_the_server_stops_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = asyncio.Event()

    async def stuck(*_: object) -> NoReturn:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    app = alone(an_app(with_fast_path=True))
    monkeypatch.setitem(LISTS, "/stats", LISTS["/stats"]._replace(answer=stuck))
    async with (
        serving(app, replace(HASTE, under_way=0.05)) as running,
        raw_connection(running.port) as connection,
    ):
        asking = asyncio.create_task(
            raw_answer(connection, "GET /stats", TOKEN, a_token(app, "devices"))
        )
        await begun.wait()
        app[keys.DRAINING].set()
        answer = await asking
    assert answer.startswith(b"503\nRetry-After: 1\n")
    assert b"Connection: close" in answer
    assert answer.endswith(b'{"message":"The server is shutting down. Try again."}')
    assert sum(_requests_counted(app).values()) == 1


async def test_pages_of_other_origins_read_its_answers() -> None:
    origin, stranger = "Origin: https://a.example\r\n", "Origin: https://b.example\r\n"
    sent = [("GET /devices", headers) for headers in (TOKEN, TOKEN + origin, TOKEN + stranger)]
    sent += [("GET /devices/99", TOKEN + origin), ("GET /devices", TOKEN + TOKEN + origin)]
    answers = []
    for with_fast_path in (True, False):
        app = create_app(
            replace(SETTINGS, cors_origins=("https://a.example",)), clocks=ManualTime()
        )
        app = alone(app) if with_fast_path else without_fast_path(app)
        async with serving(app) as running, raw_connection(running.port) as connection:
            token = a_token(app, "devices")
            answers.append(
                [await raw_answer(connection, *request, token=token) for request in sent]
            )
    assert answers[0] == answers[1]
    assert [b"Access-Control-Allow-Origin" in answer for answer in answers[0]] == [
        *(False, True, False, True, True)
    ]


def test_its_routes_and_its_scope_are_those_of_the_table() -> None:
    routes = {re.sub(r"\{(\w+):.*?\}(?=/|$)", r"{\1}", each.path): each for each in ROUTES}
    for path, call in LISTS.items():
        assert (path, routes[path].scope, routes[path].method) == (call.route, SCOPE, call.method)
    for call in (GET_DEVICE, SYNC_DEVICE):
        assert (routes[call.route].scope, routes[call.route].method) == (SCOPE, call.method)
