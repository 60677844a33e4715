"""Answers as bytes, as aiohttp would write them, with the headers that every answer has."""

from email.utils import formatdate
from functools import lru_cache
from itertools import product
from time import time
from typing import Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from pisync.web.contract.caching import cache_headers
from pisync.web.contract.rendering import Rendered
from pisync.web.transport.aiohttp_internals import writer_of

PIECE: Final = 128 * 1024
"""Bytes of a body that are written at once: the rest waits until the client has taken them."""


def _last_lines(*, tagged: bool, private: bool, close: bool) -> bytes:
    """Return the end of a head, from the request id on."""
    lines = ["", *(["Connection: close"] if close else []), "X-Content-Type-Options: nosniff"]
    headers = cache_headers(tagged=tagged, private=private)
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode()


_LAST_LINES: Final = {
    (tagged, private, close): _last_lines(tagged=tagged, private=private, close=close)
    for tagged, private, close in product((True, False), repeat=3)
}


class WrittenResponse(web.StreamResponse):
    """Stands for an answer that has been written: there is nothing left to send."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keeps_alive = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection is kept."""
        return self._keeps_alive


_WRITTEN: Final = WrittenResponse(keep_alive=True)
_WRITTEN_LAST: Final = WrittenResponse(keep_alive=False)


async def write(
    request: web.BaseRequest, rendered: Rendered, request_id: str, *, close: bool, private: bool
) -> WrittenResponse:
    """Write an answer; wait while the client does not keep up.

    Args:
        request: What it is the answer to.
        rendered: The answer.
        request_id: The request's id.
        close: Whether the connection is closed behind it.
        private: Whether a token bought it.

    Raises:
        ConnectionError: The client has gone.
    """
    writer = writer_of(request)
    head = head_of(rendered, request_id, close=close, private=private)
    if len(rendered.body) <= PIECE:
        # To copy it costs less than a second call.
        await writer.write_eof(head + rendered.body)
    else:
        body = memoryview(rendered.body)
        await writer.write(b"".join((head, body[:PIECE])))
        for start in range(PIECE, len(body), PIECE):
            await writer.write(body[start : start + PIECE])
        await writer.write_eof()
    return _WRITTEN_LAST if close else _WRITTEN


def head_of(rendered: Rendered, request_id: str, *, close: bool, private: bool) -> bytes:
    """Return the head of an answer."""
    last = _LAST_LINES[rendered.tag is not None, private, close]
    return b"".join((rendered.head, _date(int(time())), request_id.encode(), last))


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}\r\nX-Request-ID: ".encode()


class ErrorResponse(web.StreamResponse):
    """An error answer that no middleware and no signal sees: it has all its headers."""

    def __init__(self, rendered: Rendered, request_id: str, *, close: bool) -> None:
        super().__init__(status=rendered.status)
        self._rendered = rendered
        self._request_id = request_id
        self._closes = close

    @property
    def keep_alive(self) -> bool:
        """Whether the connection is kept."""
        return not self._closes

    def force_close(self) -> None:
        """Close the connection behind the answer."""
        self._closes = True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write the answer."""
        rendered = self._rendered
        if request.method == hdrs.METH_HEAD:
            head = head_of(rendered, self._request_id, close=self._closes, private=False)
            await writer_of(request).write_eof(head)
        else:
            await write(request, rendered, self._request_id, close=self._closes, private=False)
        return None

    async def write_eof(self, _data: bytes = b"") -> None:
        """Do nothing: all has been written."""
