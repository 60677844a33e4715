"""A connection: what it lets in, and how what no middleware sees is answered."""

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from pisync.telemetry.logs import get_logger
from pisync.web.contract.problems import Problem
from pisync.web.contract.rendering import Rendered
from pisync.web.pipeline.middleware import UNMATCHED, new_request_id, request_id_of
from pisync.web.transport.admission import HOLD_SECONDS, Refusal, last_refusal, refusal
from pisync.web.transport.aiohttp_internals import (
    HttpProcessingError,
    Protocol,
    expects_continue,
)
from pisync.web.transport.parse_errors import (
    MAX_HEAD,
    headers_too_large,
    origin_of,
    problem_of,
)
from pisync.web.transport.raw_response import PIECE, ErrorResponse, WrittenResponse, head_of

if TYPE_CHECKING:
    from pisync.web.transport.server import Server

_LOOKED_AT = MAX_HEAD + 1
"""Bytes of a packet that are kept to say what is wrong with its head."""

_log = get_logger()


class Connection(Protocol):
    """One connection, whose every error answer has the one shape."""

    __slots__ = (
        "_discards",
        "_head",
        "_head_begun",
        "_head_timer",
        "_refusal",
        "_server",
        "_write_timer",
    )

    def __init__(self, server: "Server", **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server
        self._head = b""
        """What has arrived of a request's head, and perhaps what follows it."""
        self._head_begun = False
        """Whether a part of a request's head has arrived, and no more."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._discards = False
        """Whether nothing more is answered, and what arrives is dropped."""
        self._refusal: Refusal | None = None
        """What is about to be answered to a request that was turned away."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection; over the limit, answer 503 and close."""
        super().connection_made(transport)
        if self.transport is not None:
            # Whatever the kernel does not take makes the answer wait, and its client be watched.
            # Not 0: below TLS, asyncio takes that for a buffer that is always full.
            self.transport.set_write_buffer_limits(high=1, low=0)
        if len(self._server.connections) > self._server.max_connections:
            self.is_turned_away = True
            self._turn_away(b"")

    def request_arrived(self, data: bytes) -> None:
        """Answer or parse what has arrived, unless it begins a request and there are too many."""
        if self._discards:
            return
        if self._refusal is not None:
            # Whoever does not wait for the answer gets no other.
            self._refusal = refusal(b"", cors=self._server.cors)
        elif self._head_begun:
            self._continue_head(data)
        elif self._server.admission.lets_in() or self._server.admission.lets_in_probe(data):
            front = self._server.front
            if not (front and front.answer(self, data)) and not self.parse(data):
                self._begin_head(data)
        else:
            self._turn_away(data)

    def not_parsed(self, data: bytes) -> None:
        """Keep what was no HTTP, to say what is wrong with it."""
        if not self._head_begun:
            self._head = data[:_LOOKED_AT]

    def _begin_head(self, data: bytes) -> None:
        """Wait for the rest of a head, but not for ever, nor for more than it may have."""
        self._head_begun = True
        self._head = data[:_LOOKED_AT]
        if len(self._head) > MAX_HEAD:
            self._refuse_head()
            return
        self.stop_idle_timer()
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(self._server.timeouts.head, self.force_close)

    def _continue_head(self, data: bytes) -> None:
        self._head += data
        if self.parse(data):
            self._end_head()
        elif len(self._head) > MAX_HEAD:
            self._refuse_head()

    def _end_head(self) -> None:
        self._head_begun = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_head(self) -> None:
        """Refuse a request whose head has not ended yet, and close the connection."""
        self._end_head()
        problem, request_id = headers_too_large(), new_request_id()
        _log.info("bad request", reason="head too large", request_id=request_id)
        self._server.metrics.request(UNMATCHED, "", problem.status, 0.0)
        if self.transport is not None:
            rendered = self._rendered(problem, origin_of(self._head))
            self.transport.write(
                head_of(rendered, request_id, close=True, private=False) + rendered.body
            )
            # Closing at once would reset the connection, and the client might not see the answer.
            self._discards = True
            asyncio.get_running_loop().call_later(self._server.timeouts.unread, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._end_head()
        self._stop_write_timer()
        super().connection_lost(exc)

    def _turn_away(self, data: bytes) -> None:
        self._server.metrics.turned_away()
        self._refusal = refusal(data, whole=not self._head_begun, cors=self._server.cors)
        asyncio.get_running_loop().call_later(HOLD_SECONDS, self._refuse)

    def _refuse(self) -> None:
        transport, refused = self.transport, self._refusal
        self._refusal = None
        if transport is None or refused is None:
            return
        if transport.get_write_buffer_size():
            # Don't buffer answers for a client that does not read.
            transport.abort()
            return
        transport.write(refused.answer)
        if not refused.keep:
            transport.close()

    async def give_way(self) -> None:
        """Let others have their turn before the request that waits behind an answered one.

        Without that a client who does not wait for answers would be the only one to be served: from
        Python 3.12 on aiohttp handles what has arrived on a connection in one go. At overload that
        request is turned away as any other, and those behind it are never looked at.
        """
        if self._server.admission.lets_in():
            await asyncio.sleep(0)
            return
        request, transport = self.next_request, self.transport
        if request is None or transport is None:
            return  # what is no request gets its own answer
        self._server.metrics.turned_away()
        origin = request.headers.get(hdrs.ORIGIN)
        request_id = request_id_of(request.headers)
        transport.write(last_refusal(request.method, request_id, origin, self._server.cors))
        self.close()

    def answer_ready(
        self, request: web.BaseRequest, response: web.StreamResponse
    ) -> web.StreamResponse | None:
        """Return the answer to send; one that no middleware saw gets the one shape here."""
        self._server.admission.answered()
        if isinstance(response, WrittenResponse):
            return None
        if isinstance(response, web.HTTPException):
            response = self.error_answer(request, response)
        if isinstance(response, web.Response):
            _write_in_pieces(response)
        if self._server.draining.is_set() or expects_continue(request):
            # A client that was not told to send its body may do so or not.
            response.force_close()
        return response

    @property
    def is_alone(self) -> bool:
        """Whether no other request is likely to arrive in this turn of the event loop."""
        return self._server.admission.is_quiet

    def answered_in_front(self, *, keep: bool) -> None:
        """Wait for the next request, or `keep` the connection no longer."""
        self._server.admission.answered()
        Protocol.answered_in_front(self, keep=keep)  # `super()` is looked up anew each time

    def pause_writing(self) -> None:
        """Wait until the client takes what was written for it; cut off one that takes nothing."""
        super().pause_writing()
        self._expect_progress()

    def resume_writing(self) -> None:
        """Write again."""
        super().resume_writing()
        self._stop_write_timer()

    def _expect_progress(self) -> None:
        left = 0 if self.transport is None else self.transport.get_write_buffer_size()
        self._write_timer = asyncio.get_running_loop().call_later(
            self._server.timeouts.untaken, self._check_progress, left
        )

    def _check_progress(self, before: int) -> None:
        if self.transport is None:
            return
        if self.transport.get_write_buffer_size() < before:
            self._expect_progress()
        else:
            self.transport.abort()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def error_answer(
        self, request: web.BaseRequest, exc: BaseException | None
    ) -> web.StreamResponse:
        """Return the answer to what is no HTTP, or to an error that no middleware handled."""
        observer, request_id = self._server.observer, request_id_of(request.headers)
        if isinstance(exc, HttpProcessingError):
            # Its text repeats what was sent, which may hold a password: its type says enough.
            _log.info("bad request", reason=type(exc).__name__, request_id=request_id)
            problem = problem_of(exc, self._head)
            origin = request.headers.get(hdrs.ORIGIN) or origin_of(self._head)
        else:
            problem = observer.problem_of(exc or TimeoutError(), request.transport, request_id)
            origin = request.headers.get(hdrs.ORIGIN)
        observer.answered(UNMATCHED, request, problem.status, perf_counter(), request_id)
        is_whole = isinstance(exc, web.HTTPException | Problem)
        close = not (is_whole and request.keep_alive)
        return ErrorResponse(self._rendered(problem, origin), request_id, close=close)

    def _rendered(self, problem: Problem, origin: str | None) -> Rendered:
        """Return an answer that a page of `origin` may read if it is an allowed one."""
        cors = self._server.cors
        return Rendered.problem(problem, {} if cors is None else cors.headers(origin))


def _write_in_pieces(response: web.Response) -> None:
    """Have a large body written piece by piece, as the client takes it."""
    body = response.body
    if isinstance(body, bytes) and len(body) > PIECE:
        response.headers[hdrs.CONTENT_LENGTH] = str(len(body))
        response.body = _pieces_of(body)


async def _pieces_of(body: bytes) -> AsyncIterator[memoryview]:
    # Views: whoever reads slowly must not cost a copy.
    view = memoryview(body)
    for start in range(0, len(body), PIECE):
        yield view[start : start + PIECE]
