"""Around every request: its id, its error answers, its metrics, its log line, its headers.

One flat middleware and one signal handler, because each further layer costs every request several
microseconds.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from itertools import count
from secrets import token_hex
from time import perf_counter
from typing import Final, NamedTuple

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from pisync.keys import CLAIMS, DRAINING, NOTE, REQUEST_ID, WAITED
from pisync.stores.errors import StoreError
from pisync.telemetry.logs import (
    get_event_logger,
    get_logger,
)
from pisync.telemetry.metrics import Metrics
from pisync.web.contract import problems
from pisync.web.contract.caching import cache_headers
from pisync.web.contract.headers import ATTEMPT_HEADER
from pisync.web.contract.problems import Problem
from pisync.web.pipeline.base_url import call_of
from pisync.web.transport.aiohttp_internals import answer_has_begun

UNMATCHED: Final = "unmatched"
"""Metric label for requests that match no route."""

PROBES: Final = frozenset({"/livez", "/readyz"})
"""Routes that orchestrators ask every second: a good answer is no line of the access log."""

CLIENT_GONE: Final = 499
"""Nobody is sent this: metrics say by it that no answer was needed any more."""

is_request_id = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch

# A request id tells requests apart; it need not be hard to guess. Random per process and counted
# from there, it costs a tenth of one that is random as a whole.
_process = token_hex(6)
_numbers = count(1)

_log = get_logger()

Note = Callable[[web.Request, float, int | None, str | None], Awaitable[None]]
"""Writes down a request: when it began (of `perf_counter`), its status, and its attempt."""
Preflight = Callable[[web.Request], web.Response | None]
"""Answers a request of a browser that asks whether it may call; None if it is none."""


def new_request_id() -> str:
    """Return an id that no other request has, here or on another replica."""
    return f"{_process}-{next(_numbers):x}"


def request_id_of(headers: Mapping[str, str]) -> str:
    """Return the id that the caller sent, if it is a good one, else a new one."""
    sent = headers.get(hdrs.X_REQUEST_ID)
    return sent if sent is not None and is_request_id(sent) else new_request_id()


def route_of(request: web.Request) -> str:
    """Return the template of a call's path: of those there are few, whatever is asked for."""
    resource = request.match_info.route.resource
    return UNMATCHED if resource is None else call_of(resource.canonical)


class AnsweredCall(NamedTuple):
    """A call that has been answered in front of the application."""

    request_id: str
    began: float
    """Of `perf_counter`."""
    call: tuple[str, str, str]
    """Its name, its method, and its path."""
    device_id: int | None
    caller: tuple[str, str | None]
    """A token's user, and the header `User-Agent`."""
    status: int | None
    """None if the client has gone."""
    attempt: str | None
    """The attempt that the answer names, if any."""


class RequestObserver:
    """Counts and logs requests; finds the answer to one that an exception has ended.

    `access_log` writes a line for each request, probes that find nothing wrong aside.
    """

    def __init__(self, metrics: Metrics, *, access_log: bool) -> None:
        self._metrics = metrics
        self._log_access = get_event_logger("request") if access_log else None

    def answered(
        self, route: str, request: web.BaseRequest, status: int, began: float, request_id: str
    ) -> None:
        """Count, and log, a request that began at `began` (of `perf_counter`)."""
        path = request.rel_url.raw_path
        self.answered_call(route, request.method, path, status, began, request_id)

    def answered_call(
        self, route: str, method: str, path: str, status: int, began: float, request_id: str
    ) -> float:
        """Do so for a request of which only this is known; return how many seconds it took."""
        seconds = perf_counter() - began
        self._metrics.request(route, method, status, seconds)
        if self._log_access is not None:
            self._log(route, method, path, status, seconds, request_id)
        return seconds

    def answered_alike(
        self, route: str, method: str, status: int, calls: Sequence[AnsweredCall]
    ) -> None:
        """Do so for calls that were answered with the same status."""
        now = perf_counter()
        self._metrics.requests(route, method, status, [now - call.began for call in calls])
        if self._log_access is not None:
            for call in calls:
                path, seconds = call.call[-1], now - call.began
                self._log(route, method, path, status, seconds, call.request_id)

    def _log(
        self, route: str, method: str, path: str, status: int, seconds: float, request_id: str
    ) -> None:
        if self._log_access is not None and (route not in PROBES or status != HTTPStatus.OK):
            self._log_access(
                method=method,
                path=path,
                status=status,
                seconds=round(seconds, 6),
                request_id=request_id,
            )

    def problem_of(
        self, exc: BaseException, transport: asyncio.Transport | None, request_id: str
    ) -> Problem:
        """Return the answer to a request that `exc` ended; log `exc` unless it was meant.

        Raises:
            ConnectionError: Nobody is there any more to be answered.
        """
        if transport is None or transport.is_closing():
            raise ConnectionError from exc
        if isinstance(exc, Problem):
            return exc
        if isinstance(exc, StoreError):
            return problems.of_store_error(exc)
        if isinstance(exc, web.HTTPException):
            return problems.of_http_exception(exc)
        _log.error("unexpected error", request_id=request_id, exc_info=exc)
        return unexpected()


REQUEST_OBSERVER = web.AppKey("REQUEST_OBSERVER", RequestObserver)
"""For what is answered before any middleware."""


def observe(
    observer: RequestObserver, note: Note | None = None, *, preflight: Preflight | None = None
) -> Middleware:
    """Return the outermost middleware. What lies within it may raise whatever it likes.

    `note` writes requests down. `preflight` is asked before anything else, so that browsers need no
    token for it.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = perf_counter()
        request_id = request[REQUEST_ID] = request_id_of(request.headers)
        status, attempt = CLIENT_GONE, None
        if note is not None:
            request[NOTE] = lambda status, attempt: note(request, began, status, attempt)
        try:
            response = (preflight and preflight(request)) or await handler(request)
            status = response.status
            attempt = response.headers.get(ATTEMPT_HEADER)
        except web.HTTPRedirection as exc:
            status = exc.status
            raise
        except asyncio.CancelledError:
            transport = None if answer_has_begun(request) else request.transport
            problem = cancelled(transport, request.app[DRAINING])
            status = problem.status
            response = problem.response()
        except Exception as exc:
            problem = observer.problem_of(exc, request.transport, request_id)
            status = problem.status
            if answer_has_begun(request):
                # A part of another answer has been sent: its client sees it cut off.
                raise ConnectionError from exc
            response = problem.response()
        finally:
            try:
                if note is not None:
                    await note(request, began, None if status == CLIENT_GONE else status, attempt)
            except StoreError as exc:
                # The call has done what it does, but no answer may be missing in the journal.
                problem = problems.of_store_error(exc)
                status = problem.status if status != CLIENT_GONE else status
                response = problem.response()
            finally:
                # What a client asked to wait for says nothing of how fast it is answered.
                woken = began + request.get(WAITED, 0.0)
                observer.answered(route_of(request), request, status, woken, request_id)
        return response

    return middleware


def cancelled(transport: asyncio.Transport | None, draining: asyncio.Event) -> Problem:
    """Return the answer to a request that is cancelled because the server can't wait any longer.

    `transport` is None if it can't be answered any more.

    Raises:
        CancelledError: It was for another reason, or can't be answered any more.
    """
    task = asyncio.current_task()
    is_gone = transport is None or transport.is_closing()
    if is_gone or task is None or not draining.is_set():
        raise asyncio.CancelledError
    task.uncancel()  # or whatever waits in sending the answer would give up, too
    return shutting_down()


def shutting_down() -> Problem:
    """Return the answer to a request that the server can't wait for because it stops."""
    return problems.unavailable("The server is shutting down. Try again.")


def unexpected() -> Problem:
    """Return the answer to a request that met a mistake of ours."""
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side.")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer, streams too, the headers that all have (`on_response_prepare`)."""
    headers = response.headers
    # What the middleware has not seen has no id yet: an Expect header that can't be met.
    headers[hdrs.X_REQUEST_ID] = request.get(REQUEST_ID) or request_id_of(request.headers)
    headers[hdrs.X_CONTENT_TYPE_OPTIONS] = "nosniff"
    headers.popall(hdrs.SERVER, None)
    if hdrs.CACHE_CONTROL not in headers:
        headers.update(cache_headers(tagged=hdrs.ETAG in headers, private=CLAIMS in request))
