"""The calls that load is made of, answered in front of aiohttp and of the application.

Most of a request's time goes into aiohttp's parser, its request, its router and its response. But a
client sends the same header lines with every request. So the bytes of header lines that aiohttp has
parsed, and that passed all checks, are remembered with what they mean. Where a packet is one whole
request for one of five calls, and its header lines are remembered ones, byte for byte, nothing is
parsed again: the functions that the application's handlers call make the answer, and it is written
as bytes. That holds no second opinion of what HTTP is: equal bytes mean equal things.

Two headers differ with each request of many a client: `X-Request-ID` and `traceparent`. A value of
theirs that holds nothing but letters, digits, dots, underscores and hyphens is left out of what is
compared: whatever it is, it ends no line and begins none.

Where aiohttp's parser was needed, a request for one of the five still goes by router, middlewares
and response, if nothing about it is unusual. All else is left to the application: another call, a
token that was not seen before, an `If-None-Match`, HTTP/1.0, a server that is about to stop.
"""

import asyncio
from collections.abc import Awaitable
from time import perf_counter
from typing import Final

from aiohttp import HttpVersion11, hdrs, web

from pisync.concurrency.resumed import resumed
from pisync.keys import DRAINING, IDLE_FLEETS, METRICS, SIMULATOR, TOKENS, RequestHandler
from pisync.model.account import DEVICES
from pisync.model.bounds import HEAD_BYTES
from pisync.web.contract.headers import ATTEMPT_HEADER, FLEET_HEADER, IDEMPOTENCY_KEY
from pisync.web.contract.problems import Problem
from pisync.web.contract.rendering import Rendered
from pisync.web.handlers.page_cache import PAGES
from pisync.web.pipeline.addressed_fleet import addressed_fleet
from pisync.web.pipeline.auth import GUARD, bearer_token
from pisync.web.pipeline.cors import CORS
from pisync.web.pipeline.middleware import (
    CLIENT_GONE,
    REQUEST_OBSERVER,
    cancelled,
    new_request_id,
    request_id_of,
)
from pisync.web.pipeline.requests import JOURNALIST, user_agent_of
from pisync.web.transport.aiohttp_internals import Protocol, connection_of
from pisync.web.transport.raw_response import (
    WRITTEN,
    WRITTEN_LAST,
    begin_to_write,
    head_of,
    write,
    write_rest,
)
from pisync.web.transport.recognition.heads import (
    Caller,
    Head,
    Remembered,
    SeenOnce,
    without_own_values,
)
from pisync.web.transport.recognition.targets import (
    SYNC_DEVICE,
    Target,
    device_target,
    line_of,
    target_of,
)
from pisync.web.transport.syncs.batches import Sync, SyncBatches

SCOPE: Final = DEVICES
"""What a token must have for each of these calls."""
_MAX_UNKNOWN: Final = 16
"""After so many unknown header lines, one after the other on a connection, one in so many is looked
up: a client that makes some anew for each request shall not pay for being remembered."""
_END_OF_LINE: Final = b"\r\n"
_END_OF_HEAD: Final = b"\r\n\r\n"
_UNUSUAL: Final = (
    hdrs.IF_NONE_MATCH,
    hdrs.UPGRADE,
    hdrs.EXPECT,
    hdrs.TRANSFER_ENCODING,
    IDEMPOTENCY_KEY,
)
"""Headers that say something of one request, and not of all of a client's."""


class FastPath:
    """Answers what is usual, and leaves everything else to the application.

    `at_once` says that answers begin without a task: what makes them must not need one.
    """

    def __init__(self, app: web.Application, *, at_once: bool) -> None:
        self._app = app
        self._at_once = at_once
        self._observer = app[REQUEST_OBSERVER]
        self._answered = self._observer.answered_call
        self._draining = app[DRAINING]
        self._guard = app[GUARD]
        self._claims = app[TOKENS].remembered
        self._journal_of, self._now = app[JOURNALIST].journal_of, app[JOURNALIST].now
        self._is_watched = app[SIMULATOR].requests.is_watched
        self._acts = app[SIMULATOR].acting_reads.acts
        self._cors = app.get(CORS)
        self._heads = Remembered[Head]()
        self._lines = Remembered[Target]()
        self._pages = app[PAGES]
        self._seen = SeenOnce()
        self._named = app[IDLE_FLEETS].named
        self._syncs = SyncBatches(app, at_once=at_once)
        app[METRICS].bound(HEAD_BYTES, lambda: self._heads.size + self._lines.size)

    # In front of aiohttp

    def answer(self, connection: Protocol, packet: bytes) -> bool:
        """Answer what has arrived on an idle connection; return whether it could be answered."""
        began, unknown = perf_counter(), connection.unknown_heads
        if unknown and not _is_looked_up(unknown):
            connection.unknown_heads = unknown + 1
            return False
        end = packet.find(_END_OF_LINE)
        lines = packet[end:]
        head, request_id = self._heads.get(lines), None
        if head is None:
            lines, request_id = without_own_values(lines)
            head = self._heads.get(lines)
        connection.unknown_heads = unknown + 1 if head is None else 0
        if head is None or not connection.is_between_requests or self._draining.is_set():
            return False
        line = packet[:end]
        target = self._lines.get(line) or device_target(line)
        if target is None or self._claims(head.token) is None:
            return False
        fleet = head.fleet_for(target)
        if fleet is None or self._is_watched(fleet) or self._acts(fleet):
            return False
        self._begin_answer(connection, target, fleet, head, request_id or new_request_id(), began)
        return True

    def _begin_answer(
        self,
        connection: Protocol,
        target: Target,
        fleet: str,
        head: Head,
        request_id: str,
        began: float,
    ) -> None:
        """Answer a request at once, or have it answered as soon as may be."""
        if target.call is SYNC_DEVICE:
            path, below = target.called[-1], target.base_fleet is not None
            self._syncs.add(
                tuple.__new__(  # a named tuple's own constructor takes twice as long
                    Sync,
                    (
                        *(self._syncs, connection, fleet, target.argument, path, below),
                        *(head.caller, head.cors, request_id, began),
                    ),
                )
            )
            return
        page = self._pages.current((fleet, target.call.route, target.argument))
        if page is not None:
            self._answer_page(connection, page, target, fleet, head, request_id, began)
            return
        answering = self._answer(
            connection, target, fleet, head.caller, head.cors, request_id, began
        )
        if not self._at_once:
            connection.answer_in_front(answering)
            return
        try:
            waits_for = answering.send(None)
        except StopIteration as done:
            connection.answered_in_front(keep=done.value)
        except ConnectionError:
            connection.answered_in_front(keep=False)
        else:
            connection.answer_in_front(resumed(answering, waits_for))

    def _answer_page(
        self,
        connection: Protocol,
        page: Rendered,
        target: Target,
        fleet: str,
        head: Head,
        request_id: str,
        began: float,
    ) -> None:
        """Answer with a page that is known: nothing has to be waited for."""
        self._named(fleet)
        self._note(target, fleet, head.caller, page.status, None, request_id, began)
        if target.base_fleet is not None:
            page = page.below_base_url(target.call.route)
        start = head_of(page, request_id, close=False, private=True, more=head.cors)
        try:
            is_whole = not begin_to_write(connection, start, page.body)
        except ConnectionError:
            connection.answered_in_front(keep=False)
            return
        if is_whole:
            connection.answered_in_front(keep=True)
        else:
            connection.answer_in_front(_rest_of(connection, page.body))

    def _lines_to_remember(self, request: web.BaseRequest, target: Target) -> bytes:
        """Return a request's header lines if they may mean the same of another, else nothing.

        They come without the values of its own. If so, its request line is remembered, too.
        """
        headers = request.headers
        connection = connection_of(request)
        packet = connection.take_packet()
        if not packet or not _is_looked_up(connection.unknown_heads - 1):
            return b""
        end = packet.find(_END_OF_LINE)
        lines, request_id = without_own_values(packet[end:])
        if self._seen.is_new(lines):
            return b""
        line = line_of(request.method, target.called[-1], request.rel_url.raw_query_string)
        is_usual = (
            packet[:end] == line
            and lines.find(_END_OF_HEAD) == len(lines) - len(_END_OF_HEAD)
            and not any(name in headers for name in _UNUSUAL)
            and {*map(str.lower, headers.getall(hdrs.CONNECTION, ()))} <= {"keep-alive"}
            and headers.get(hdrs.CONTENT_LENGTH, "0") == "0"
            and headers.getall(hdrs.X_REQUEST_ID, []) == ([request_id] if request_id else [])
        )
        if not is_usual:
            return b""
        if device_target(line) is None:
            self._lines.keep(line, target)
        return lines

    # In front of the application

    def handler(self, ordinary: RequestHandler) -> RequestHandler:
        """Return what handles requests that were parsed; `ordinary` is the application's own."""

        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            began = perf_counter()
            target = target_of(request)
            if target is None or _is_unusual(request) or self._draining.is_set():
                return ordinary(request)
            request_id = request_id_of(request.headers)
            decision = self._guard.decide(request.headers, SCOPE, request_id)
            if decision is None:
                return ordinary(request)
            cors = self._cors.lines(request.headers.get(hdrs.ORIGIN)) if self._cors else b""
            if isinstance(decision, Problem):
                return self._refuse(request, target, decision, cors, request_id, began)
            try:
                fleet = addressed_fleet(request.headers, target.base_fleet, decision.fleet, SCOPE)
            except Problem as problem:
                return self._refuse(request, target, problem, cors, request_id, began)
            if self._is_watched(fleet) or self._acts(fleet):
                return ordinary(request)
            caller = decision.subject, user_agent_of(request.headers)
            lines = self._lines_to_remember(request, target)
            if lines:
                is_named = decision.fleet is not None or FLEET_HEADER in request.headers
                token = str(bearer_token(request.headers))
                self._heads.keep(lines, Head(token, fleet if is_named else None, caller, cors))
            return self._answer_parsed(request, target, fleet, caller, cors, request_id, began)

        return handle

    async def _refuse(
        self,
        request: web.BaseRequest,
        target: Target,
        problem: Problem,
        cors: bytes,
        request_id: str,
        began: float,
    ) -> web.StreamResponse:
        self._observer.answered(target.call.route, request, problem.status, began, request_id)
        connection, rendered = connection_of(request), Rendered.problem(problem)
        await write(connection, rendered, request_id, close=False, private=False, more=cors)
        return WRITTEN

    async def _answer_parsed(
        self,
        request: web.BaseRequest,
        target: Target,
        fleet: str,
        caller: Caller,
        cors: bytes,
        request_id: str,
        began: float,
    ) -> web.StreamResponse:
        connection = connection_of(request)
        keep = await self._answer(connection, target, fleet, caller, cors, request_id, began)
        return WRITTEN if keep else WRITTEN_LAST

    # In either place

    async def _answer(
        self,
        connection: Protocol,
        target: Target,
        fleet: str,
        caller: Caller,
        cors: bytes,
        request_id: str,
        began: float,
    ) -> bool:
        """Answer a request; return whether to keep the connection.

        Raises:
            ConnectionError: The client has gone.
        """
        call = target.call
        status, rendered = CLIENT_GONE, None
        try:
            self._named(fleet)
            rendered = await call.answer(self._app, fleet, target.argument)
            status = rendered.status
            if target.base_fleet is not None:
                rendered = rendered.below_base_url(call.route)
        except asyncio.CancelledError:
            rendered = Rendered.problem(cancelled(connection.transport, self._draining))
            status = rendered.status
        except Exception as exc:  # noqa: BLE001 - whatever it was, it gets an answer
            problem = self._observer.problem_of(exc, connection.transport, request_id)
            rendered = Rendered.problem(problem)
            status = rendered.status
        finally:
            headers = None if rendered is None else rendered.headers
            attempt = headers.get(ATTEMPT_HEADER) if headers else None
            self._note(target, fleet, caller, status, attempt, request_id, began)
        close = self._draining.is_set()
        start = head_of(rendered, request_id, close=close, private=True, more=cors)
        if begin_to_write(connection, start, rendered.body):
            await write_rest(connection, rendered.body)
        return not close

    def _note(
        self,
        target: Target,
        fleet: str,
        caller: Caller,
        status: int,
        attempt: str | None,
        request_id: str,
        began: float,
    ) -> None:
        """Count, log and write down a request."""
        call, argument, called, _ = target
        _, method, path = called
        seconds = self._answered(call.route, method, path, status, began, request_id)
        journal = self._journal_of(fleet)
        if journal is not None:
            journal.append(
                (
                    *(request_id, self._now(), seconds, called),
                    argument if type(argument) is int else None,
                    caller,
                    None if status == CLIENT_GONE else status,
                    attempt,
                )
            )


FAST_PATH = web.AppKey("FAST_PATH", FastPath)
"""What stands in front of the application, if anything."""


def _is_looked_up(unknown: int) -> bool:
    """Return whether to look at header lines after so many unknown ones on their connection."""
    return unknown < _MAX_UNKNOWN or unknown % _MAX_UNKNOWN == 0


async def _rest_of(connection: Protocol, body: bytes) -> bool:
    await write_rest(connection, body)
    return True


def _is_unusual(request: web.BaseRequest) -> bool:
    headers = request.headers
    return (
        request.version is not HttpVersion11
        or not request.keep_alive
        or hdrs.IF_NONE_MATCH in headers
        or hdrs.UPGRADE in headers
        or IDEMPOTENCY_KEY in headers
    )
