"""The event stream: server-sent events, as defined by the HTML standard."""

import asyncio

import orjson
from aiohttp import hdrs, web
from aiohttp_sse import EventSourceResponse

from pisync import keys
from pisync.model.device import Device
from pisync.model.timestamp import SECOND
from pisync.simulation.events import (
    Event,
    Overrun,
    Subscription,
    TooManySubscribers,
)
from pisync.web.contract import rendering
from pisync.web.contract.problems import unavailable
from pisync.web.contract.request import (
    fleet_of,
)
from pisync.web.transport.aiohttp_internals import close_with_client

COMMENT_SECONDS = 15
"""How often a comment goes out, so that proxies do not take the stream for dead."""
STUCK_SECONDS = 30
"""How long a reader may take nothing at all before it is cut off."""


def encode(event: Event) -> bytes:
    """Return an event as it goes over the wire."""
    what = event.what
    if what is None:
        name, data = b"resync", b"{}"
    elif isinstance(what, Device):
        name = b"sync"
        data = orjson.dumps({"device": rendering.device(what), "attempt": what.attempt})
    else:
        name, data = b"error", orjson.dumps(rendering.error_log(what))
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.event_id.encode(), name, data)


async def events(request: web.Request) -> web.StreamResponse:
    """Stream a fleet's events until the token expires or ends.

    `sync`: an attempt started or finished. `error`: the error log of a failed attempt. `resync`:
    events may have been missed, so read `/devices` again. With `Last-Event-ID`, the stream resumes
    after that event. A comment every 15 seconds keeps the connection open through proxies.
    """
    fleet = fleet_of(request)
    await request.app[keys.STORE].fleet(fleet)
    response = EventSourceResponse(
        sep="\n",
        ping_interval=COMMENT_SECONDS,
        send_timeout=STUCK_SECONDS,
    )
    # Not among its arguments: the response would put its own in the place of it.
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    if request.method == hdrs.METH_HEAD:
        return web.Response(headers=response.headers)
    try:
        subscription = request.app[keys.BROKER].subscribe(
            fleet, request.headers.get(hdrs.LAST_EVENT_ID)
        )
    except TooManySubscribers:
        raise unavailable("Too many event streams are open. Try again.") from None
    close_with_client(request)
    with subscription, request.app[keys.TOKENS].watched(request[keys.CLAIMS], subscription.close):
        await response.prepare(request)
        async with response:
            await _stream(request, response, subscription)
    return response


async def _stream(
    request: web.Request, response: EventSourceResponse, subscription: Subscription
) -> None:
    """Send events until the token expires, the reader goes or fails to keep up, or the end."""
    transport = request.transport
    if transport is None:
        return
    # A reader that takes nothing leaves the sender stuck in a write: only this frees it.
    subscription.on_overrun = transport.abort
    left = request[keys.CLAIMS].expires_at - request.app[keys.CLOCKS].wall() / SECOND
    try:
        async with asyncio.timeout(left):
            while (batch := await _next(response, subscription)) is not None:
                await response.write(b"".join(event.encoded(encode) for event in batch))
    except (TimeoutError, Overrun, ConnectionError):
        pass


async def _next(response: EventSourceResponse, subscription: Subscription) -> list[Event] | None:
    """Wait for events; None at the end, or when the reader has gone."""
    while response.is_connected():
        try:
            async with asyncio.timeout(COMMENT_SECONDS):
                return await subscription.next()
        except TimeoutError:
            continue
    return None
