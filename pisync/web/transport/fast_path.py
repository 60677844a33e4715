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
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeVar

from aiohttp import HttpVersion11, hdrs, web

from pisync.concurrency.resumed import resumed
from pisync.keys import DRAINING, IDLE_FLEETS, METRICS, SIMULATOR, RequestHandler
from pisync.model.account import DEVICES
from pisync.model.bounds import HEAD_BYTES
from pisync.model.fleet import DEFAULT_FLEET, FLEET_NAME
from pisync.model.requests.call import DEVICE, SYNC
from pisync.web.contract.headers import FLEET_HEADER, IDEMPOTENCY_KEY
from pisync.web.contract.problems import Problem
from pisync.web.contract.rendering import Rendered
from pisync.web.contract.schemas import DEVICE_ID
from pisync.web.handlers import (
    devices,
    error_logs,
)
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
from pisync.web.transport.raw_response import WRITTEN, WRITTEN_LAST, write
from pisync.web.transport.syncs.batches import Sync, SyncBatches

SCOPE: Final = DEVICES
"""What a token must have for each of these calls."""
MAX_BYTES: Final = HEAD_BYTES.size // 2
"""Bytes of header lines that are remembered, and as many of request lines."""
_OVERHEAD: Final = 512
"""Bytes that each takes besides, about."""
_MAX_SEEN: Final = 10_000
"""Of how many header lines it is known that they came once."""

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

_own_values = re.compile(
    rb"(\r\n(?:[Xx]-[Rr]equest-[Ii][Dd]|[Tt]raceparent): )([A-Za-z0-9._-]{1,128})(?=\r\n)"
)
"""Values that a client makes anew for each request; the first is as `is_request_id` has it."""

_Value = TypeVar("_Value")


class Call(NamedTuple):
    """A call: its method, its route, and what answers it, given application, fleet and an argument.

    The argument is the query of a list, or the id of a device.
    """

    method: str
    route: str
    name: str
    answer: Callable[[web.Application, str, Any], Awaitable[Rendered]]
    has_usual_query: Callable[[str], object] = bool
    """Whether a query is one that `answer` takes; all others, which may wait, are left alone."""


_is_history = re.compile(r"history=[0-9]+").fullmatch

LISTS: Final = {
    "/devices": Call("GET", "/devices", "devices", devices.page_of),
    "/errors": Call("GET", "/errors", "errors", error_logs.page_of),
    "/stats": Call("GET", "/stats", "stats", devices.stats_of, _is_history),
}
GET_DEVICE: Final = Call("GET", "/devices/{device_id}", DEVICE, devices.device_at)
SYNC_DEVICE: Final = Call("POST", "/devices/{device_id}/sync", SYNC, devices.start_sync)

_device_line = re.compile(
    rb"(GET|POST) ((?:/fleets/(%b))?/devices/(%b)(/sync)?) HTTP/1\.1"
    % (FLEET_NAME.encode(), DEVICE_ID.encode())
).fullmatch
_below_base_url = re.compile(rf"/fleets/({FLEET_NAME})(/.*)").fullmatch


class Target(NamedTuple):
    """What a request line asks for: a call, its argument, and the path as it was sent."""

    call: Call
    argument: Any
    path: str
    base_fleet: str | None
    """The fleet whose base URL the path is below."""


Caller = tuple[str, str | None]
"""A token's user, and the client's `User-Agent`."""


class Head(NamedTuple):
    """What the header lines of a request mean."""

    token: str
    fleet: str | None
    """The fleet that a header names, or that the token is bound to."""
    caller: Caller
    cors: bytes
    """Lines for the answer's head, so that pages of the request's origin may read it."""

    def fleet_for(self, target: Target) -> str | None:
        """Return the fleet that a request acts on; None where it names two."""
        if self.fleet is None:
            return target.base_fleet or DEFAULT_FLEET
        return self.fleet if target.base_fleet in (None, self.fleet) else None


class _Remembered(OrderedDict[bytes, _Value]):
    """What bytes mean; the oldest goes when there are too many."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        """Bytes that they take, about."""

    def keep(self, key: bytes, value: _Value) -> None:
        if key not in self:
            self[key] = value
            self.size += len(key) + _OVERHEAD
        while self.size > MAX_BYTES:
            self.size -= len(self.popitem(last=False)[0]) + _OVERHEAD


class FastPath:
    """Answers what is usual, and leaves everything else to the application.

    `at_once` says that answers begin without a task: what makes them must not need one.
    """

    def __init__(self, app: web.Application, *, at_once: bool) -> None:
        self._app = app
        self._at_once = at_once
        self._observer = app[REQUEST_OBSERVER]
        self._draining = app[DRAINING]
        self._guard = app[GUARD]
        self._journalist = app[JOURNALIST]
        self._acts = app[SIMULATOR].acting_reads.acts
        self._cors = app.get(CORS)
        self._heads = _Remembered[Head]()
        self._lines = _Remembered[Target]()
        self._seen: set[int] = set()
        """Hashes of header lines that came once: what comes again is worth its place."""
        self._named = app[IDLE_FLEETS].named
        self._syncs = SyncBatches(app, at_once=at_once)
        app[METRICS].bound(HEAD_BYTES, lambda: self._heads.size + self._lines.size)

    # In front of aiohttp

    def answer(self, connection: Protocol, packet: bytes) -> bool:
        """Answer what has arrived on an idle connection; return whether it could be answered."""
        began = perf_counter()
        end = packet.find(_END_OF_LINE)
        lines = packet[end:]
        head, request_id = self._heads.get(lines), None
        if head is None:
            lines, request_id = _without_own_values(lines)
            head = self._heads.get(lines)
        if head is None or not connection.is_between_requests or self._draining.is_set():
            return False
        line = packet[:end]
        target = self._lines.get(line) or _device_target(line)
        if target is None or self._guard.remembered(head.token, SCOPE) is None:
            return False
        fleet = head.fleet_for(target)
        if fleet is None or self._journalist.is_watched(fleet) or self._acts(fleet):
            return False
        request_id = request_id or new_request_id()
        if target.call is SYNC_DEVICE:
            below = target.base_fleet is not None
            self._syncs.add(
                Sync(
                    *(self._syncs, connection, fleet, target.argument, target.path, below),
                    *(head.caller, head.cors, request_id, began),
                )
            )
            return True
        answering = self._answer(
            connection, target, fleet, head.caller, head.cors, request_id, began
        )
        if not self._at_once:
            connection.answer_in_front(answering)
            return True
        try:
            waits_for = answering.send(None)
        except StopIteration as done:
            connection.answered_in_front(keep=done.value)
        except ConnectionError:
            connection.answered_in_front(keep=False)
        else:
            connection.answer_in_front(resumed(answering, waits_for))
        return True

    def _lines_to_remember(self, request: web.BaseRequest, target: Target) -> bytes:
        """Return a request's header lines if they may mean the same of another, else nothing.

        They come without the values of its own. If so, its request line is remembered, too.
        """
        headers = request.headers
        packet = connection_of(request).take_packet()
        if not packet:
            return b""
        end = packet.find(_END_OF_LINE)
        lines, request_id = _without_own_values(packet[end:])
        if self._is_new(hash(lines)):
            return b""
        line = _line(request.method, target.path, request.rel_url.raw_query_string)
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
        if _device_target(line) is None:
            self._lines.keep(line, target)
        return lines

    def _is_new(self, head_hash: int) -> bool:
        """Note header lines; return whether they came for the first time."""
        if head_hash in self._seen:
            return False
        if len(self._seen) >= _MAX_SEEN:
            self._seen.clear()
        self._seen.add(head_hash)
        return True

    # In front of the application

    def handler(self, ordinary: RequestHandler) -> RequestHandler:
        """Return what handles requests that were parsed; `ordinary` is the application's own."""

        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            began = perf_counter()
            target = _target_of(request)
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
            if self._journalist.is_watched(fleet) or self._acts(fleet):
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
            self._observer.answered_call(
                call.route, call.method, target.path, status, began, request_id
            )
            self._journalist.note_fast(
                fleet,
                request_id,
                began,
                (call.name, call.method, target.path),
                target.argument if type(target.argument) is int else None,
                caller,
                rendered,
            )
        close = self._draining.is_set()
        await write(connection, rendered, request_id, close=close, private=True, more=cors)
        return not close


FAST_PATH = web.AppKey("FAST_PATH", FastPath)
"""What stands in front of the application, if anything."""


def _is_unusual(request: web.BaseRequest) -> bool:
    headers = request.headers
    return (
        request.version is not HttpVersion11
        or not request.keep_alive
        or hdrs.IF_NONE_MATCH in headers
        or hdrs.UPGRADE in headers
        or IDEMPOTENCY_KEY in headers
    )


def _target_of(request: web.BaseRequest) -> Target | None:
    """Return what a request asks for; None if it is none of the five calls."""
    method, url = request.method, request.rel_url
    path, query = url.raw_path, url.raw_query_string
    below = None if path in LISTS else _below_base_url(path)
    base_fleet, call_path = below.groups() if below else (None, path)
    if method == hdrs.METH_GET and call_path in LISTS:
        call = LISTS[call_path]
        usual = not query or call.has_usual_query(query)
        return Target(call, query, path, base_fleet) if usual else None
    return None if query else _device_target(_line(method, path, query))


def _line(method: str, path: str, query: str) -> bytes:
    target = f"{path}?{query}" if query else path
    return f"{method} {target} HTTP/1.1".encode("utf-8", "surrogateescape")


def _without_own_values(lines: bytes) -> tuple[bytes, str | None]:
    """Return header lines without values that belong to one request, and its id, if it has one."""
    parts = _own_values.split(lines)
    if len(parts) == 1:
        return lines, None
    values = zip(parts[1::3], parts[2::3], strict=True)
    ids = [value.decode() for name, value in values if name[2:].lower() == b"x-request-id: "]
    del parts[2::3]
    # By the lengths, where values were is known: no other lines come to the same bytes.
    lengths = b" ".join([b"%d" % len(part) for part in parts])
    return lengths + b"".join(parts), ids[-1] if ids else None


def _device_target(line: bytes) -> Target | None:
    """Return what a request line asks of one device; None if it does not."""
    found = _device_line(line)
    if found is None:
        return None
    method, path, base_fleet, device_id, sync = found.groups()
    if (method == b"POST") is not (sync is not None):
        return None
    call = GET_DEVICE if sync is None else SYNC_DEVICE
    fleet = None if base_fleet is None else base_fleet.decode()
    return Target(call, int(device_id), path.decode(), fleet)
