"""Reads that wait: what else is to be done for their clients."""

from collections.abc import Awaitable
from time import perf_counter
from typing import TypeVar

from aiohttp import hdrs, web
from marshmallow import Schema

from pisync.concurrency.places import NoPlaceLeft
from pisync.keys import REQUEST_ID, WAITED
from pisync.model.account import DEVICES
from pisync.web.contract.problems import too_many_streams
from pisync.web.contract.request import read_query
from pisync.web.pipeline.auth import GUARD
from pisync.web.transport.aiohttp_internals import cancel_with_client

_Value = TypeVar("_Value")


def seconds_to_wait(request: web.Request, schema: type[Schema]) -> float:
    """Return how long a request may wait; 0 if not at all, as with HEAD.

    Raises:
        Problem: 422 refused by the schema of its query.
    """
    if not request.rel_url.raw_query_string:
        return 0.0
    seconds: float = read_query(request, schema)["wait"]
    return 0.0 if request.method == hdrs.METH_HEAD else seconds


async def waiting(request: web.Request, read: Awaitable[_Value]) -> _Value:
    """Return what a read returns that may wait; not for a client that hangs up.

    Nor for one whose token has ended meanwhile, as by a change of its account.

    Raises:
        Problem: 401 the token is good no longer.
        Problem: 503 too many calls wait, or too many streams are open.
        Exception: What `read` raises.
    """
    began = perf_counter()
    try:
        with cancel_with_client(request):
            value = await read
    except NoPlaceLeft:
        raise too_many_streams() from None
    finally:
        request[WAITED] = perf_counter() - began
    await request.app[GUARD].admit(request.headers, DEVICES, request.get(REQUEST_ID))
    return value
