"""The calls that load is made of, answered in one function in front of the application.

A third of a request's time is aiohttp's router, its middlewares, and a response that is put
together header by header. Here a request for one of five calls, if nothing about it is unusual,
goes by all that: the same functions that its handler calls make the answer, and it is written as
bytes. Of `GET /devices` that costs 24 µs, and by the application 52. Whatever is unusual goes the
ordinary way, and may take its time: another call, a token that was not seen before, an
`If-None-Match`, HTTP/1.0, a server that is about to stop.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, NamedTuple

from aiohttp import HttpVersion11, hdrs, web

from pisync.keys import DRAINING, RequestHandler
from pisync.model.account import DEVICES
from pisync.web.contract.problems import Problem
from pisync.web.contract.rendering import Rendered
from pisync.web.contract.schemas import DEVICE_ID
from pisync.web.handlers import (
    devices,
    error_logs,
)
from pisync.web.pipeline.addressed_fleet import addressed_fleet
from pisync.web.pipeline.auth import GUARD
from pisync.web.pipeline.middleware import (
    CLIENT_GONE,
    RequestObserver,
    cancelled,
    request_id_of,
)
from pisync.web.transport.raw_response import write

SCOPE: Final = DEVICES
"""What a token must have for each of these calls."""

_device_path = re.compile(rf"/devices/({DEVICE_ID})(/sync)?").fullmatch


class Call(NamedTuple):
    """A call: its route, and what answers it, given application, fleet and an argument.

    The argument is the query of a list, or the id of a device.
    """

    route: str
    answer: Callable[[web.Application, str, Any], Awaitable[Rendered]]


LISTS: Final = {
    "/devices": Call("/devices", devices.page_of),
    "/errors": Call("/errors", error_logs.page_of),
    "/stats": Call("/stats", devices.stats_of),
}
GET_DEVICE: Final = Call("/devices/{device_id}", devices.device_at)
SYNC_DEVICE: Final = Call("/devices/{device_id}/sync", devices.start_sync)


class FastPath:
    """Answers what is usual, and hands everything else to `ordinary`."""

    def __init__(
        self, app: web.Application, observer: RequestObserver, ordinary: RequestHandler
    ) -> None:
        self._app = app
        self._observer = observer
        self._ordinary = ordinary
        self._draining = app[DRAINING]
        self._guard = app[GUARD]

    def __call__(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Handle a request."""
        began = perf_counter()
        call, argument = _called(request)
        if call is None or _is_unusual(request) or self._draining.is_set():
            return self._ordinary(request)
        request_id = request_id_of(request.headers)
        decision = self._guard.decide(request.headers, SCOPE, request_id)
        if decision is None:
            return self._ordinary(request)
        if isinstance(decision, Problem):
            return self._refuse(request, call, decision, began, request_id)
        try:
            fleet = addressed_fleet(request.headers, None, decision.fleet, SCOPE)
        except Problem as problem:
            return self._refuse(request, call, problem, began, request_id)
        return self._answer(request, call, fleet, argument, began, request_id)

    async def _refuse(
        self, request: web.BaseRequest, call: Call, problem: Problem, began: float, request_id: str
    ) -> web.StreamResponse:
        self._observer.answered(call.route, request, problem.status, began, request_id)
        return await write(
            request, Rendered.problem(problem), request_id, close=False, private=False
        )

    async def _answer(
        self,
        request: web.BaseRequest,
        call: Call,
        fleet: str,
        argument: Any,
        began: float,
        request_id: str,
    ) -> web.StreamResponse:
        status = CLIENT_GONE
        try:
            rendered = await call.answer(self._app, fleet, argument)
            status = rendered.status
        except asyncio.CancelledError:
            rendered = Rendered.problem(cancelled(request, self._draining))
            status = rendered.status
        except Exception as exc:  # noqa: BLE001 - whatever it was, it gets an answer
            rendered = Rendered.problem(self._observer.problem_of(exc, request, request_id))
            status = rendered.status
        finally:
            self._observer.answered(call.route, request, status, began, request_id)
        close = self._draining.is_set()
        return await write(request, rendered, request_id, close=close, private=True)


def _is_unusual(request: web.BaseRequest) -> bool:
    headers = request.headers
    return (
        request.version is not HttpVersion11
        or not request.keep_alive
        or hdrs.IF_NONE_MATCH in headers
        or hdrs.UPGRADE in headers
    )


def _called(request: web.BaseRequest) -> tuple[Call | None, Any]:
    """Return the call that a request makes, and its argument; None if it is none of these."""
    method, url = request.method, request.rel_url
    path, query = url.raw_path, url.raw_query_string
    if method == hdrs.METH_GET and path in LISTS:
        return LISTS[path], query
    found = None if query else _device_path(path)
    if found is None:
        return None, None
    if method == hdrs.METH_GET and found[2] is None:
        return GET_DEVICE, int(found[1])
    if method == hdrs.METH_POST and found[2] is not None:
        return SYNC_DEVICE, int(found[1])
    return None, None
