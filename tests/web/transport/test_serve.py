import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import NoReturn

import pytest
from aiohttp import ClientSession, web

from pisync import keys
from pisync.app import create_app
from pisync.web.contract.request import BODY_SECONDS
from pisync.web.pipeline.middleware import REQUEST_OBSERVER
from pisync.web.transport.serve import serve
from pisync.web.transport.timeouts import Timeouts
from tests.conftest import SETTINGS
from tests.support.raw_connection import (
    HASTE,
    Answer,
    RawConnection,
    capture_logs,
    listen_to,
    observed,
    over_tcp_and_tls,
    raw_connection,
    serving,
    settle,
)
from tests.support.stalls import Stalls
from tests.support.waiting import SOON, eventually

NEVER = 30.0
"""Seconds that nothing takes, unless it waits until they are over."""
PROMISED = 8.0
"""Seconds from the signal to the end, in every case."""
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
MAY_WAIT = int(SOMAXCONN.read_text()) if SOMAXCONN.exists() else 0


# Whatever waits until one of these is over, is not over soon.
UNHURRIED = Timeouts(grace=0.0, under_way=NEVER, cleanup=NEVER)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def post(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()


class Handlers:
    """Handlers that a test can look into."""

    def __init__(self) -> None:
        self.entered = 0
        self.go_on = asyncio.Event()
        self.app = observed(
            web.get("/", self.fine),
            web.get("/waits", self.waits),
            web.get("/stream", self.stream),
            web.post("/reads", self.reads),
        )

    async def fine(self, _: web.Request) -> web.Response:
        return web.Response(body=b"fine")

    async def waits(self, _: web.Request) -> web.Response:
        self.entered += 1
        await self.go_on.wait()
        return web.Response(body=b"done")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        self.entered += 1
        response = web.StreamResponse()
        await response.prepare(request)
        await self.go_on.wait()
        await response.write(b"the last")
        return response

    async def reads(self, request: web.Request) -> web.Response:
        self.entered += 1
        return web.Response(body=await request.read())


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


async def is_refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False


async def until_refused(port: int) -> None:
    await eventually(lambda: is_refused(port))


# Starting


def test_it_waits_as_long_as_is_promised() -> None:
    timeouts = Timeouts()
    assert timeouts.idle == 75
    assert BODY_SECONDS == 30
    assert timeouts.grace + timeouts.cleanup < PROMISED


async def test_it_says_where_it_listens() -> None:
    app, heard = observed(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(app, host="127.0.0.1", port=0, started=heard.set_result, timeouts=HASTE)
    )
    [(host, port)] = await heard
    assert host == "127.0.0.1"
    assert not await is_refused(port)
    app[keys.DRAINING].set()
    await task


async def test_an_address_in_use_is_an_error_before_anything_has_started() -> None:
    happened: list[str] = []

    async def context(_: web.Application) -> AsyncIterator[None]:
        happened.append("started")
        yield

    with socket.create_server(("127.0.0.1", 0)) as taken:
        app = observed()
        app.cleanup_ctx.append(context)
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await serve(app, host="127.0.0.1", port=port, started=lambda _: None)
    assert happened == []


async def test_a_start_that_fails_is_told_and_cleaned_up() -> None:
    happened: list[str] = []

    async def fine(_: web.Application) -> AsyncIterator[None]:
        yield
        happened.append("cleaned up")

    @asynccontextmanager
    async def fails(_: web.Application) -> AsyncIterator[None]:
        if happened == []:
            raise LookupError
        yield

    app = observed()
    app.cleanup_ctx.extend((fine, fails))
    with pytest.raises(LookupError):
        await serve(app, host="127.0.0.1", port=0, started=lambda _: None)
    assert happened == ["cleaned up"]


def test_it_refuses_to_start_on_the_parser_in_python() -> None:
    script = (
        "import asyncio\n"
        "from aiohttp import web\n"
        "from pisync.web.transport.serve import serve\n"
        "asyncio.run(serve(web.Application(), host='127.0.0.1', port=0, started=print))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "UncompiledParser: aiohttp's compiled HTTP parser is missing" in done.stderr


@pytest.mark.skipif(
    MAY_WAIT < 1000, reason="few connections may wait here: sysctl net.core.somaxconn=4096"
)
async def test_thousands_may_connect_at_once(handlers: Handlers) -> None:
    async with serving(handlers.app) as running:
        # Nobody accepts meanwhile, as nothing here awaits: all of them have to wait.
        opened = [
            socket.create_connection(("127.0.0.1", running.port), timeout=1) for _ in range(900)
        ]
        for each in opened:
            each.close()
        async with raw_connection(running.port) as connection:
            await connection.send(get("/"))
            assert (await connection.answer()).body == b"fine"


# Errors that no middleware sees


async def test_bad_http_is_one_short_line_in_the_log(
    handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = listen_to(monkeypatch, "pisync.web.transport.connection")
    async with serving(handlers.app) as running, raw_connection(running.port) as connection:
        await connection.send(b"GET /?password=hunter2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        answer = await connection.answer()
        answer.assert_problem(400)
        [line] = lines
    assert line == {
        "event": "bad request",
        "log_level": "info",
        "reason": "BadHttpMessage",
        "request_id": answer.headers["X-Request-ID"],
    }


async def test_bad_http_and_failed_expectations_are_counted(handlers: Handlers) -> None:
    async with serving(handlers.app) as running, raw_connection(running.port) as connection:
        await connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: much\r\n\r\n")
        (await connection.answer()).assert_problem(417)
        await connection.send(b"nonsense\r\n\r\n")
        (await connection.answer()).assert_problem(400)
    told = handlers.app[keys.METRICS].render().decode()
    for method, status in (("GET", 417), ("other", 400)):
        sample = f'{{method="{method}",route="unmatched",status="{status}"}} 1.0'
        assert f"pisync_requests_total{sample}" in told


async def test_a_failed_expectation_has_its_line_in_the_access_log() -> None:
    with capture_logs() as lines:
        async with (
            serving(observed(access_log=True)) as running,
            raw_connection(running.port) as connection,
        ):
            await connection.send(b"GET /a?b HTTP/1.1\r\nHost: a\r\nExpect: much\r\n\r\n")
            answer = await connection.answer()
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/a", 417)
    assert line["request_id"] == answer.headers["X-Request-ID"]


async def test_an_error_outside_the_middleware_is_answered_and_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = RuntimeError("what nobody may see")

    async def fails(_: web.Request) -> NoReturn:
        raise error

    lines = listen_to(monkeypatch, "pisync.web.pipeline.middleware")
    app = web.Application()
    app[keys.METRICS] = observed()[keys.METRICS]
    app[REQUEST_OBSERVER] = observed()[REQUEST_OBSERVER]
    app[keys.DRAINING] = asyncio.Event()
    app.add_routes([web.get("/", fails)])
    async with serving(app) as running, raw_connection(running.port) as connection:
        await connection.send(get("/"))
        answer = await connection.answer()
        answer.assert_problem(500)
        assert b"see" not in answer.body
        assert await connection.rest() == b""
        assert lines[0]["exc_info"] is error
        assert lines[0]["request_id"] == answer.headers["X-Request-ID"]


@over_tcp_and_tls
async def test_a_client_that_hangs_up_does_not_cancel_its_handler(
    handlers: Handlers, tls: bool
) -> None:
    finished = asyncio.Event()

    async def carries_on(_: web.Request) -> web.Response:
        handlers.entered += 1
        await handlers.go_on.wait()
        finished.set()
        return web.Response()

    handlers.app.add_routes([web.get("/carries-on", carries_on)])
    async with serving(handlers.app, tls=tls) as running:
        async with raw_connection(running.port) as connection:
            await connection.send(get("/carries-on"))
            await eventually(lambda: handlers.entered == 1)
        await asyncio.sleep(0.05)
        handlers.go_on.set()
        async with asyncio.timeout(SOON):
            await finished.wait()


@over_tcp_and_tls
async def test_a_stream_whose_reader_hangs_up_makes_room_at_once(tls: bool) -> None:
    app = create_app(replace(SETTINGS, max_streams=1))
    async with serving(app, tls=tls) as running:
        token = app[keys.TOKENS].issue("tester", ["devices"])
        request = f"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        async with raw_connection(running.port) as reader:
            await reader.send(request.encode())
            assert (await reader.answer()).status == 200
            assert app[keys.BROKER].subscribers == 1
        await eventually(lambda: app[keys.BROKER].subscribers == 0)


async def test_hanging_up_and_broken_bodies_are_no_news(
    handlers: Handlers, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: web.Request) -> NoReturn:
        handlers.entered += 1
        await handlers.go_on.wait()
        raise ValueError

    caplog.set_level(logging.WARNING)
    lines = listen_to(monkeypatch, "pisync.web.transport.connection")
    lines_of_requests = listen_to(monkeypatch, "pisync.web.pipeline.middleware")
    handlers.app.add_routes([web.get("/fails", fails)])
    async with serving(handlers.app, replace(HASTE, unread=0.2)) as running:
        async with raw_connection(running.port) as one, raw_connection(running.port) as other:
            await one.send(get("/stream"))
            await other.send(get("/fails"))
            await eventually(lambda: handlers.entered == 2)
            one.reset()
            other.reset()
        await asyncio.sleep(0.05)
        handlers.go_on.set()
        async with raw_connection(running.port) as connection:
            await connection.send(
                b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            assert (await connection.answer()).body == b"fine"
            await connection.send(b"no chunk\r\n")
            assert await connection.rest() == b""
        assert lines == lines_of_requests == []
    assert caplog.text == ""


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_takes_readiness_while_it_still_accepts_connections(
    number: signal.Signals,
) -> None:
    app = create_app(SETTINGS)
    async with serving(app, Timeouts(grace=NEVER)) as running, ClientSession() as client:
        ready = f"http://127.0.0.1:{running.port}/readyz"
        async with client.get(ready) as answer:
            assert answer.status == 200
        signal.raise_signal(number)
        await eventually(app[keys.DRAINING].is_set)
        async with client.get(ready) as answer:
            assert answer.status == 503
            assert set(await answer.json()) == {"message"}
            assert answer.headers["Connection"] == "close"
        assert not await is_refused(running.port)
        signal.raise_signal(number)  # it is not waited for
        await until_refused(running.port)


async def test_it_accepts_connections_for_a_while_after_a_signal_and_no_longer() -> None:
    async with serving(create_app(SETTINGS), Timeouts(grace=0.4)) as running:
        told = monotonic()
        signal.raise_signal(signal.SIGTERM)
        await until_refused(running.port)
        assert monotonic() - told >= 0.4
        await asyncio.wait_for(running.task, SOON)


@over_tcp_and_tls
async def test_a_request_under_way_is_answered(handlers: Handlers, tls: bool) -> None:
    async with serving(handlers.app, UNHURRIED, tls=tls) as running:
        async with raw_connection(running.port) as connection:
            await connection.send(get("/waits"))
            await eventually(lambda: handlers.entered == 1)
            signal.raise_signal(signal.SIGTERM)
            await until_refused(running.port)
            handlers.go_on.set()
            answer = await connection.answer()
            assert (answer.status, answer.body) == (200, b"done")
            assert answer.headers["Connection"] == "close"
            assert await connection.rest() == b""
        await asyncio.wait_for(running.task, SOON)


@over_tcp_and_tls
async def test_a_request_whose_body_is_under_way_is_answered(handlers: Handlers, tls: bool) -> None:
    async with (
        serving(handlers.app, UNHURRIED, tls=tls) as running,
        raw_connection(running.port) as connection,
    ):
        await connection.send(post("/reads", 6) + b"abc")
        await eventually(lambda: handlers.entered == 1)
        signal.raise_signal(signal.SIGTERM)
        await until_refused(running.port)
        await asyncio.sleep(0.1)
        await connection.send(b"def")
        assert (await connection.answer()).body == b"abcdef"


@over_tcp_and_tls
async def test_a_request_that_comes_on_an_open_connection_meanwhile_is_answered(
    handlers: Handlers, tls: bool
) -> None:
    async with (
        serving(handlers.app, UNHURRIED, tls=tls) as running,
        raw_connection(running.port) as waiting,
        raw_connection(running.port) as connection,
    ):
        await waiting.send(get("/waits"))
        await eventually(lambda: handlers.entered == 1)
        signal.raise_signal(signal.SIGTERM)
        await until_refused(running.port)
        await connection.send(get("/"))
        answer = await connection.answer()
        assert answer.body == b"fine"
        assert answer.headers["Connection"] == "close"
        handlers.go_on.set()
        assert (await waiting.answer()).body == b"done"


@over_tcp_and_tls
async def test_streams_that_are_told_end_whole(handlers: Handlers, tls: bool) -> None:
    async def tell(_: web.Application) -> None:
        handlers.go_on.set()

    handlers.app.on_shutdown.append(tell)
    async with serving(handlers.app, UNHURRIED, tls=tls) as running:
        async with raw_connection(running.port) as connection:
            await connection.send(get("/stream"))
            await eventually(lambda: handlers.entered == 1)
            signal.raise_signal(signal.SIGTERM)
            assert (await connection.rest()).endswith(b"\r\n8\r\nthe last\r\n0\r\n\r\n")
        await asyncio.wait_for(running.task, SOON)


@over_tcp_and_tls
async def test_idle_connections_are_closed_at_once(handlers: Handlers, tls: bool) -> None:
    async with (
        serving(handlers.app, UNHURRIED, tls=tls) as running,
        raw_connection(running.port) as new,
        raw_connection(running.port) as used,
    ):
        await used.send(get("/"))
        await used.answer()
        signal.raise_signal(signal.SIGTERM)
        assert await new.rest() == b""
        assert await used.rest() == b""
        await asyncio.wait_for(running.task, SOON)


async def drip(connection: RawConnection) -> None:
    while True:
        await connection.send(b"x")
        await asyncio.sleep(0.1)


def assert_given_up(answer: Answer) -> None:
    answer.assert_problem(503)
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Connection"] == "close"


@over_tcp_and_tls
async def test_those_who_never_end_are_cut_off_within_what_is_promised(
    handlers: Handlers, tls: bool
) -> None:
    async def never_closes(_: web.Application) -> AsyncIterator[None]:
        yield
        await asyncio.sleep(60)

    handlers.app.cleanup_ctx.append(never_closes)
    async with (
        serving(handlers.app, Timeouts(), tls=tls) as running,
        raw_connection(running.port) as waiting,
        raw_connection(running.port) as streaming,
        raw_connection(running.port) as dripping,
        raw_connection(running.port) as stalled,
        raw_connection(running.port) as unfinished,
    ):
        await waiting.send(get("/waits"))
        await stalled.send(post("/reads", 1000) + b"x")
        await streaming.send(get("/stream"))
        await dripping.send(post("/reads", 1000))
        await unfinished.send(b"GET / HTTP/1.1\r\n")
        await eventually(lambda: handlers.entered == 4)
        drops = asyncio.create_task(drip(dripping))
        async with Stalls() as stalls:
            signal.raise_signal(signal.SIGTERM)
            began = monotonic()
            await running.task
            assert monotonic() - began - stalls.seconds < PROMISED
        drops.cancel()
        for connection in (waiting, stalled):
            assert_given_up(await connection.answer())
            assert await connection.rest() == b""
        assert await unfinished.rest() == b""
        assert not (await streaming.rest()).endswith(b"0\r\n\r\n")


async def test_a_bulk_sync_that_takes_too_long_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, begins = create_app(SETTINGS), asyncio.Event()

    async def begin(*_: object, **__: object) -> NoReturn:
        begins.set()
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(app[keys.STORE].starter, "begin", begin)
    token, body = app[keys.TOKENS].issue("alice", ("devices",)), b'{"all":true}'
    head = (
        f"POST /devices/sync HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with (
        serving(app, replace(UNHURRIED, under_way=0.0)) as running,
        raw_connection(running.port) as connection,
    ):
        await connection.send(head.encode() + body)
        await begins.wait()
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(running.task, SOON)
        assert_given_up(await connection.answer())


@pytest.mark.parametrize(
    "grace", [NEVER, 0.0], ids=["in the grace", "while requests are under way"]
)
async def test_a_second_signal_skips_the_waiting(grace: float, handlers: Handlers) -> None:
    async with (
        serving(handlers.app, Timeouts(grace=grace, under_way=NEVER, cleanup=NEVER)) as running,
        raw_connection(running.port) as connection,
    ):
        await connection.send(get("/waits"))
        await eventually(lambda: handlers.entered == 1)
        signal.raise_signal(signal.SIGTERM)
        if grace:
            await eventually(handlers.app[keys.DRAINING].is_set)
        else:
            await until_refused(running.port)
        await settle()
        assert not running.task.done()
        signal.raise_signal(signal.SIGINT)
        assert_given_up(await connection.answer())
        await asyncio.wait_for(running.task, SOON)


async def test_a_signal_ends_a_start_that_waits() -> None:
    happened: list[str] = []

    async def hanging(_: web.Application) -> AsyncIterator[None]:
        happened.append("waits")
        try:
            await asyncio.sleep(NEVER)
            yield
        finally:
            happened.append("ended")

    app = observed()
    app.cleanup_ctx.append(hanging)
    task = asyncio.create_task(
        serve(app, host="127.0.0.1", port=0, started=lambda _: None, timeouts=UNHURRIED)
    )
    await eventually(lambda: happened == ["waits"])
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(task, SOON)
    assert happened == ["waits", "ended"]


async def test_a_signal_ends_a_start_that_cannot_be_cancelled() -> None:
    waits = asyncio.Event()

    async def stubborn(_: web.Application) -> None:
        waits.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(NEVER)
        await asyncio.sleep(NEVER)

    app = observed()
    app.on_startup.append(stubborn)
    before = monotonic()
    task = asyncio.create_task(
        serve(app, host="127.0.0.1", port=0, started=lambda _: None, timeouts=HASTE)
    )
    await waits.wait()
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(task, SOON)
    assert monotonic() - before < PROMISED


async def test_after_the_end_signals_do_what_they_did_before(handlers: Handlers) -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with serving(handlers.app):
        pass
    assert signal.getsignal(signal.SIGTERM) == before


async def test_cancelling_stops_the_server_too(handlers: Handlers) -> None:
    async with serving(handlers.app) as running:
        running.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running.task
        assert await is_refused(running.port)
