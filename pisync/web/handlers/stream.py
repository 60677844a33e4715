"""The event stream: server-sent events, as defined by the HTML standard."""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import HttpVersion11, hdrs, web
from aiohttp_sse import EventSourceResponse

from pisync import keys
from pisync.concurrency.places import NoPlaceLeft
from pisync.model.device import Device
from pisync.simulation.events import (
    Batch,
    Event,
    Overrun,
    Resync,
    Subscription,
)
from pisync.web.contract import rendering
from pisync.web.contract.headers import FAULT_HEADER
from pisync.web.contract.problems import too_many_streams
from pisync.web.contract.request import fleet_of, read_query
from pisync.web.contract.schemas import EventsQuery
from pisync.web.pipeline.requests import sending, stream_fault
from pisync.web.transport.aiohttp_internals import close_with_client

COMMENT_SECONDS = 15
"""How often a comment goes out, so that proxies do not take the stream for dead."""
STUCK_SECONDS = 30
"""How long a reader may take nothing at all before it is cut off."""


_FIRST_COMMENT = b": connected\n\n"
"""Proxies and `fetch` hold back a head until something follows it."""


def encode(event: Event) -> bytes:
    """Return an event as it goes over the wire."""
    if isinstance(event, Resync):
        name, data = b"resync", b"{}"
    elif isinstance(event.what, Device):
        name = b"sync"
        value = {"device": rendering.device(event.what), "attempt": event.what.attempt}
        data = orjson.dumps(value)
    else:
        # Not `error`: that is EventSource's own name for a connection that broke.
        name, data = b"error_log", orjson.dumps(rendering.error_log(event.what))
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.event_id.encode(), name, data)


async def events(request: web.Request) -> web.StreamResponse:
    """Stream a fleet's events until the token expires or ends.

    `sync`: an attempt started or finished. `error_log`: the error log of a failed attempt.
    `resync`: events may have been missed, so read `/devices` again. With `Last-Event-ID`, or
    `lastEventId` in the query, the stream resumes after that event. A comment every 15 seconds
    keeps the connection open through proxies.
    """
    query_id = read_query(request, EventsQuery)["last_event_id"]
    last_event_id = request.headers.get(hdrs.LAST_EVENT_ID, query_id)
    fleet = fleet_of(request)
    await request.app[keys.SIMULATOR].queries.fleet(fleet)
    response = _response(request)
    if request.method == hdrs.METH_HEAD:
        return web.Response(headers=response.headers)
    try:
        subscription = request.app[keys.BROKER].subscribe(fleet, last_event_id)
    except NoPlaceLeft:
        raise too_many_streams() from None
    close_with_client(request)
    with subscription, request.app[keys.TOKENS].watched(request[keys.CLAIMS], subscription.close):
        fault = await stream_fault(request)
        if fault is not None:
            response.headers[FAULT_HEADER] = fault.kind
        await request[keys.NOTE](response.status, None)
        await response.prepare(request)
        async with response:
            await _stream(request, response, subscription, sending(request, response, fault))
    return response


def _response(request: web.Request) -> EventSourceResponse:
    response = EventSourceResponse(
        sep="\n",
        ping_interval=COMMENT_SECONDS,
        send_timeout=STUCK_SECONDS,
    )
    # Not among its arguments: the response would put its own in the place of it.
    response.headers[hdrs.CACHE_CONTROL] = "no-store, no-transform"
    if request.version < HttpVersion11:
        # Without chunks, the end of the connection is the end of the stream.
        response.headers[hdrs.CONNECTION] = "close"
        response.force_close()
    return response


async def _stream(
    request: web.Request,
    response: EventSourceResponse,
    subscription: Subscription,
    send: Callable[[bytes], Awaitable[None]],
) -> None:
    """Send events until the token expires, the reader goes or fails to keep up, or the end."""
    transport = request.transport
    if transport is None:
        return
    # A reader that takes nothing leaves the sender stuck in a write: only this frees it.
    subscription.on_overrun = transport.abort
    left = request.app[keys.TOKENS].seconds_left(request[keys.CLAIMS])
    try:
        async with asyncio.timeout(left):
            await response.write(_FIRST_COMMENT)
            while (batches := await _next(response, subscription)) is not None:
                await send(b"".join(batch.encoded(encode) for batch in batches))
    except TimeoutError:
        if transport.get_write_buffer_size():
            # The end of the stream would get stuck in the same place.
            transport.abort()
    except (Overrun, ConnectionError):
        pass


async def _next(response: EventSourceResponse, subscription: Subscription) -> list[Batch] | None:
    """Wait for events; None at the end, or when the reader has gone."""
    while response.is_connected():
        try:
            async with asyncio.timeout(COMMENT_SECONDS):
                return await subscription.next()
        except TimeoutError:
            continue
    return None
