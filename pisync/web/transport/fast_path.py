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

from pisync.keys import DRAINING, TOKENS, RequestHandler
from pisync.model.account import DEVICES
from pisync.web.contract.rendering import Rendered
from pisync.web.contract.request import fleet_of
from pisync.web.contract.schemas import DEVICE_ID
from pisync.web.handlers import (
    devices,
    error_logs,
)
from pisync.web.pipeline.auth import (
    invalid_token,
    refusal_logger,
)
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
_BEARER: Final = "Bearer "
_REFUSAL: Final = Rendered.problem(invalid_token())


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
        self._tokens = app[TOKENS]
        self._log_refusal = refusal_logger()

    def __call__(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Handle a request."""
        began = perf_counter()
        call, argument = _called(request)
        if call is None or _is_unusual(request) or self._draining.is_set():
            return self._ordinary(request)
        token, fleet = _token(request), fleet_of(request)
        claims = self._tokens.remembered(token)
        if claims is None:
            flaw = self._tokens.flaw(token)
            if flaw is not None:
                return self._refuse(request, call, flaw, began)
        elif SCOPE in claims.scopes:
            return self._answer(request, call, fleet, argument, began)
        return self._ordinary(request)

    async def _refuse(
        self, request: web.BaseRequest, call: Call, flaw: str, began: float
    ) -> web.StreamResponse:
        request_id = request_id_of(request.headers)
        self._log_refusal(reason=flaw, request_id=request_id)
        self._observer.answered(call.route, request, _REFUSAL.status, began, request_id)
        return await write(request, _REFUSAL, request_id, close=False)

    async def _answer(
        self, request: web.BaseRequest, call: Call, fleet: str, argument: Any, began: float
    ) -> web.StreamResponse:
        request_id = request_id_of(request.headers)
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
        return await write(request, rendered, request_id, close=close)


def _is_unusual(request: web.BaseRequest) -> bool:
    headers = request.headers
    return (
        request.version is not HttpVersion11
        or not request.keep_alive
        or hdrs.IF_NONE_MATCH in headers
        or hdrs.EXPECT in headers
        or hdrs.UPGRADE in headers
    )


def _token(request: web.BaseRequest) -> str:
    """Return the token that was sent; nothing if that was done in an unusual way."""
    sent = request.headers.getall(hdrs.AUTHORIZATION, ())
    if len(sent) != 1 or not sent[0].startswith(_BEARER):
        return ""
    return sent[0][len(_BEARER) :]


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
