"""Listens, gives bad HTTP its answer, and stops without losing what is under way."""

import asyncio
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

from aiohttp import hdrs, http_parser, web
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

from pisync.keys import DRAINING, FRONT, METRICS, REQUEST_ID, RequestHandler
from pisync.telemetry.logs import get_logger
from pisync.web.contract import problems
from pisync.web.contract.problems import Problem
from pisync.web.pipeline.cors import CORS
from pisync.web.pipeline.middleware import (
    REQUEST_OBSERVER,
    UNMATCHED,
    request_id_of,
    unexpected,
)
from pisync.web.transport.admission import (
    HOLD_SECONDS,
    NORMAL,
    AdmissionControl,
    Limits,
    Refusal,
    connections_possible,
    is_probe,
    last_refusal,
    refusal,
)
from pisync.web.transport.raw_response import RawResponse

# Connections that may wait to be accepted: a load test begins with thousands at once. The kernel
# cuts it to its own limit.
_BACKLOG: Final = 4096
_CANCEL_SECONDS: Final = 1.0
"""For a start to end that was cancelled."""

_log = get_logger()

Finished = Coroutine[Any, Any, tuple[web.StreamResponse, bool]]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the server waits for what, in seconds.

    Stopping takes `grace` and `cleanup` at the most: below the 8 s that are promised, and the 10 s
    after which Docker kills.
    """

    idle: float = 75.0
    """Between requests, and for a request's head to arrive. Longer than a load balancer's usual 60,
    so that it is the one to close, and no request crosses a close."""
    unread: float = 5.0
    """For a client to stop sending a body that nobody reads, so that it gets to see the answer."""
    grace: float = 1.0
    """For load balancers to see that readiness is gone, while it still accepts connections."""
    under_way: float = 4.0
    """For requests under way, after that."""
    cleanup: float = 6.0
    """For all that follows the grace: requests under way, streams, store."""


class UncompiledParser(RuntimeError):
    """aiohttp's compiled HTTP parser is missing; the other one has let request smuggling pass."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


async def serve(
    app: web.Application,
    *,
    host: str,
    port: int,
    started: Callable[[Sequence[tuple[str, int]]], None],
    patience: Timeouts = Timeouts(),
    limits: Limits = NORMAL,
) -> None:
    """Serve `app` until SIGTERM or SIGINT, then drain and return; a second signal skips the waits.

    `started` is told the addresses once connections are accepted. Needs `METRICS`,
    `REQUEST_OBSERVER` and `DRAINING` in `app`; setting the last is as good as a signal. Raises
    UncompiledParser, OSError if it can't listen there, and what the start of `app` raises.
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise UncompiledParser
    draining, hurry = app[DRAINING], asyncio.Event()
    runner = Runner(app, hurry, patience, limits)

    def stop() -> None:
        (hurry if draining.is_set() else draining).set()

    with _on_signal(stop):
        try:
            if await _completes(_start(runner, host, port), unless=draining):
                started([(address[0], address[1]) for address in runner.addresses])
                await draining.wait()
                _log.info("draining")
                await _wait(hurry, patience.grace)
            else:
                _log.info("stopped before the start was complete")
        finally:
            try:
                async with asyncio.timeout(patience.cleanup):
                    await runner.cleanup()
            except TimeoutError:
                _log.error("gave up a part of stopping", seconds=patience.cleanup)


async def _start(runner: "Runner", host: str, port: int) -> None:
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()


async def _completes(work: Coroutine[Any, Any, None], *, unless: asyncio.Event) -> bool:
    """Do `work`, or cancel it once an event is set; say whether it completed.

    Raises:
        Exception: What `work` raises, unless it was cancelled.
    """
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(unless.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait((working,), timeout=_CANCEL_SECONDS)
        if working.done() and not working.cancelled():
            working.exception()  # else asyncio would log it
    return False


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@contextmanager
def _on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for each SIGTERM and SIGINT, where there are any to be had.

    Not on Windows, where Ctrl+C cancels the task that awaits `serve`, and not outside the main
    thread, where whoever started it sets `DRAINING` to stop it.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


class Runner(web.AppRunner):
    """Runs an application on the connections below."""

    def __init__(
        self, app: web.Application, hurry: asyncio.Event, patience: Timeouts, limits: Limits
    ) -> None:
        # aiohttp waits for this up to twice, after all waiting of our own.
        super().__init__(app, shutdown_timeout=0.25)
        self._hurry = hurry
        self._patience = patience
        self._limits = limits

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handle = made.request_handler
        return _Server(
            self.app[FRONT](handle) if FRONT in self.app else handle,
            made.request_factory,
            self.app,
            self._hurry,
            self._patience,
            self._limits,
        )


class _Server(web.Server):
    """Makes a connection's protocol, and ends the connections when their time has come."""

    def __init__(
        self,
        handle: RequestHandler,
        request_factory: Any,
        app: web.Application,
        hurry: asyncio.Event,
        patience: Timeouts,
        limits: Limits,
    ) -> None:
        super().__init__(
            _strict(handle),
            request_factory=request_factory,
            keepalive_timeout=patience.idle,
            lingering_time=patience.unread,
            # aiohttp would unpack what nobody reads for as long as that, and do nothing else.
            auto_decompress=False,
            # Ours costs less and holds no query; aiohttp's takes half of the rate.
            access_log=None,
        )
        self.draining = app[DRAINING]
        self.metrics = app[METRICS]
        self.observer = app[REQUEST_OBSERVER]
        self.cors = app.get(CORS)
        self._hurry = hurry
        self._patience = patience
        self.most_connections = connections_possible(limits.connections)
        self.gate = AdmissionControl(limits.requests)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        """Leave all connections open: from here on aiohttp would drop what they receive.

        A request under way may still wait for the rest of its body.
        """

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's
        """Wait until every request under way has its answer, but not for ever; then close all.

        Those that have none by then are told that there will be none: 503.
        """
        end = self._loop.time() + self._patience.under_way
        # Looking now and then costs nothing until here; an event would cost every request.
        while self._busy() and self._loop.time() < end and not self._hurry.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for connection in self._busy():
            connection.give_up()
        super().pre_shutdown()
        await super().shutdown(timeout)

    def _busy(self) -> list["_Connection"]:
        return [
            connection
            for connection in self.connections
            if isinstance(connection, _Connection) and connection.is_busy
        ]


def _strict(handle: RequestHandler) -> RequestHandler:
    """Refuse what aiohttp's parser lets pass though one server may read it unlike another."""

    def checked(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        version, coding = request.version, request.headers.get(hdrs.TRANSFER_ENCODING)
        if coding is not None and (version is not HttpVersion11 or coding.lower() != "chunked"):
            raise BadHttpMessage(
                "chunked in HTTP/1.0, which has no chunks, or after another coding"
            )
        if version is not HttpVersion11 and version < HttpVersion10:
            raise BadHttpMessage("HTTP/0.9")
        return handle(request)

    return checked


class _Connection(web.RequestHandler):
    """One connection, whose every error answer has the one shape."""

    __slots__ = ("_begun", "_refusal", "_server")

    unpacks_bodies = False
    """Of a body that is packed, whoever reads it gets to see the packed bytes."""

    def __init__(self, server: _Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server
        self._begun = False
        """Whether a part of a request's head has arrived."""
        self._refusal: Refusal | None = None
        """What is about to be answered to a request that was turned away."""

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._request_in_progress

    def give_up(self) -> None:
        """Cancel the request under way: it is told so, unless its answer has begun."""
        if self._task_handler is not None:
            self._task_handler.cancel()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; one connection too many is told so, and that was it."""
        super().connection_made(transport)
        if len(self._server.connections) > self._server.most_connections:
            self._turn_away(b"")

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, unless it begins a request and there are too many."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            super().data_received(data)
        elif self._refusal is not None:
            # Whoever does not wait for the answer gets no other.
            self._refusal = refusal(b"", cors=self._server.cors)
        elif self._server.gate.lets_in() or is_probe(data):
            received = self._request_count
            super().data_received(data)
            self._begun = self._request_count == received
        else:
            self._turn_away(data)

    def _turn_away(self, data: bytes) -> None:
        self._server.metrics.turned_away()
        self._refusal = refusal(data, whole=not self._begun, cors=self._server.cors)
        self._loop.call_later(HOLD_SECONDS, self._refuse)

    def _refuse(self) -> None:
        transport, told = self.transport, self._refusal
        self._refusal = None
        if transport is None or told is None:
            return
        if transport.get_write_buffer_size():
            # Nobody shall fill the memory with answers that are not read.
            transport.abort()
            return
        transport.write(told.answer)
        if not told.keep:
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the rest of an answer that has begun: a stream has lost its only reader.

        A request without an answer yet goes on: what it was to change, it changes.
        """
        request, handler = self._current_request, self._task_handler
        super().connection_lost(exc)
        if request is not None and request.writer.output_size and handler is not None:
            handler.cancel()

    # Returns the coroutine of aiohttp's own: one of ours around it would cost each request more.
    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Finished:
        """Send an answer; one that no middleware saw gets the one shape here."""
        self._server.gate.answered()
        if isinstance(resp, RawResponse):
            finishing = _finished(resp)
        else:
            finishing = super().finish_response(request, self._shaped(request, resp), start_time)
        return self._and_take_turns(finishing) if self._messages else finishing

    def _shaped(self, request: web.BaseRequest, resp: web.StreamResponse) -> web.StreamResponse:
        if isinstance(resp, web.HTTPException) and not isinstance(resp, web.HTTPRedirection):
            resp = self._unseen(request, resp)
        if self._server.draining.is_set():
            resp.force_close()
        return resp

    async def _and_take_turns(self, finishing: Finished) -> tuple[web.StreamResponse, bool]:
        """Finish; before the request behind this one, others have their turn.

        Without that a client who does not wait for answers would be the only one to be served: from
        Python 3.12 on aiohttp handles what has arrived on a connection in one go. At overload that
        request is turned away as any other, and those behind it are never looked at.
        """
        finished = await finishing
        if self._server.gate.lets_in():
            await asyncio.sleep(0)
        elif self._messages:
            self._refuse_next(self._messages[0][0])
        return finished

    def _refuse_next(self, message: object) -> None:
        transport = self.transport
        if transport is None or not isinstance(message, http_parser.RawRequestMessage):
            return  # it is no request: that gets its own answer
        self._server.metrics.turned_away()
        origin = message.headers.get(hdrs.ORIGIN)
        told = last_refusal(message.method, request_id_of(message), origin, self._server.cors)
        transport.write(told)
        self.close()

    def _unseen(self, request: web.BaseRequest, exc: web.HTTPException) -> web.Response:
        """Return the answer to what aiohttp refused by itself, such as an Expect header."""
        problem = problems.of_http_exception(exc)
        request_id = request[REQUEST_ID] = request_id_of(request)
        self._server.observer.answered(
            UNMATCHED, request, problem.status, perf_counter(), request_id
        )
        return problem.response()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what is no HTTP, or to an error that no middleware saw.

        Raises ConnectionError, which closes the connection, if no answer can be sent any more.
        """
        if isinstance(exc, ConnectionError) or request.writer.output_size:
            raise ConnectionError from exc
        request_id = request_id_of(request)
        if isinstance(exc, HttpProcessingError):
            # Its text repeats what was sent, which may hold a password: its type says enough.
            _log.info("bad request", reason=type(exc).__name__, request_id=request_id)
            problem = _problem_of(exc)
        else:
            _log.error("unexpected error", request_id=request_id, exc_info=exc)
            problem = unexpected()
        self._server.metrics.request(UNMATCHED, request.method, problem.status, 0.0)
        return _unrouted(problem, request_id)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what aiohttp did not expect. A broken body that nobody reads is no news."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


async def _finished(resp: RawResponse) -> tuple[web.StreamResponse, bool]:
    return resp, False


def _problem_of(exc: HttpProcessingError) -> Problem:
    if isinstance(exc, LineTooLong):
        return problems.bad_request("The request line or a header is too long.")
    return problems.bad_request("This is not a valid HTTP request.")


class _Unrouted(web.Response):
    """An answer that aiohttp sends without asking `on_response_prepare`: it has all its headers."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)


def _unrouted(problem: Problem, request_id: str) -> web.Response:
    shaped = problem.response()
    answer = _Unrouted(status=shaped.status, body=shaped.body, headers=shaped.headers)
    answer.headers[hdrs.X_REQUEST_ID] = request_id
    answer.headers[hdrs.X_CONTENT_TYPE_OPTIONS] = "nosniff"
    answer.force_close()
    return answer
