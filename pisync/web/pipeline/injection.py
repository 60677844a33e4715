"""Faults done to answers: what each kind sends, or does to the connection, in place of one."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from pisync.model.requests.fault import (
    HANG_SECONDS,
    CloseFault,
    DelayFault,
    DripFault,
    Fault,
    GarbageFault,
    HangFault,
    ResetFault,
    StatusFault,
    TruncateFault,
)
from pisync.model.requests.fault_draw import MetFault
from pisync.web.contract.headers import FAULT_HEADER, RETRY_AFTER
from pisync.web.contract.problems import Problem
from pisync.web.transport.aiohttp_internals import cancel_with_client

GARBAGE: Final = b"\x16\x03\x01 this is no HTTP \xff\xfe\r\n\r\n"
_WITH_RETRY_AFTER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_DEFAULT_RETRY_AFTER: Final = 1

Note = Callable[[int | None], Awaitable[None]]
"""Notes the status of an answer that is about to be sent; None where there will be none.

If it raises StoreError, nothing may be sent.
"""


async def inject(
    request: web.Request, met: MetFault, response: web.Response | None, note: Note
) -> web.StreamResponse:
    """Return the answer to a request as a fault leaves it.

    Args:
        request: The request.
        met: The fault.
        response: What the answer would be; kinds that send nothing of it need none.
        note: Is called before anything is sent that is not returned.

    Raises:
        ConnectionError: There is no answer: the connection is closed, or reset.
        StoreError: What `note` raises.
    """
    fault = met.fault
    match fault:
        case DelayFault():
            await delay(request, met.delay)
        case StatusFault():
            response = _status_answer(fault)
        case TruncateFault() | DripFault():
            if response is not None:
                return await _in_part(request, fault, response, note)
        case ResetFault() | CloseFault() | GarbageFault() | HangFault():
            await note(None)
            await break_connection(request, fault)
    if response is None:
        raise ConnectionError
    response.headers[FAULT_HEADER] = fault.kind
    return response


async def delay(request: web.Request, seconds: float) -> None:
    """Wait before an answer is sent; not for a client that gives up."""
    with cancel_with_client(request):
        await asyncio.sleep(seconds)


async def break_connection(
    request: web.Request, fault: ResetFault | CloseFault | GarbageFault | HangFault
) -> None:
    """Do to the connection what a fault does that leaves no answer.

    Raises:
        ConnectionError: Always: it has gone.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionError
    match fault:
        case ResetFault():
            reset(transport)
        case GarbageFault():
            transport.write(GARBAGE)
        case HangFault():
            await delay(request, HANG_SECONDS)
    transport.close()
    raise ConnectionError


def reset(transport: asyncio.Transport) -> None:
    """Close a connection by a RST: what is written to it, or waits to be read, is lost."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        # To linger for no time at all is what makes the kernel send it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _status_answer(fault: StatusFault) -> web.Response:
    retry_after = fault.retry_after
    if retry_after is None and fault.status in _WITH_RETRY_AFTER:
        retry_after = _DEFAULT_RETRY_AFTER
    headers = {} if retry_after is None else {RETRY_AFTER: str(retry_after)}
    message = "The fleet's rules for faults answer this request so."
    return Problem(fault.status, message, headers=headers).response()


async def _in_part(
    request: web.Request, fault: TruncateFault | DripFault, response: web.Response, note: Note
) -> web.StreamResponse:
    """Send an answer in pieces, or a part of it."""
    body = response.body
    content = body if isinstance(body, bytes) else b""
    headers = {name: value for name, value in response.headers.items() if name != hdrs.DATE}
    headers[FAULT_HEADER] = fault.kind
    sent = web.StreamResponse(status=response.status, headers=headers)
    if response.status != HTTPStatus.NOT_MODIFIED:
        sent.content_length = len(content)
    await note(response.status)
    await sent.prepare(request)
    if request.method == hdrs.METH_HEAD:
        content = b""
    if isinstance(fault, DripFault):
        for start in range(0, len(content), fault.bytes):
            await sent.write(content[start : start + fault.bytes])
            await asyncio.sleep(fault.every)
        await sent.write_eof()
        return sent
    part = content[: int(len(content) * fault.share)]
    await sent.write(part)
    sent.force_close()
    if request.transport is not None:
        request.transport.close()
    raise ConnectionError


def is_for_streams(fault: Fault) -> bool:
    """Return whether a fault shows in a stream as it goes on, and not in its place."""
    return isinstance(fault, DelayFault | TruncateFault | DripFault)
