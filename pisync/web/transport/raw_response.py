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
from pisync.web.transport.aiohttp_internals import Protocol, connection_of

PIECE: Final = 128 * 1024
"""Bytes of a body that are written at once: the rest waits until the client has taken them."""


def _last_lines(*, tagged: bool, private: bool, close: bool) -> bytes:
    """Return the end of a head, from the request id on."""
    lines = ["", *(["Connection: close"] if close else []), "X-Content-Type-Options: nosniff"]
    headers = cache_headers(tagged=tagged, private=private)
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "")).encode()


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


WRITTEN: Final = WrittenResponse(keep_alive=True)
WRITTEN_LAST: Final = WrittenResponse(keep_alive=False)


async def write(
    connection: Protocol,
    rendered: Rendered,
    request_id: str,
    *,
    close: bool,
    private: bool,
    more: bytes = b"",
) -> None:
    """Write an answer; wait while the client does not keep up.

    Args:
        connection: Where to write it.
        rendered: The answer.
        request_id: The request's id.
        close: Whether the connection is closed behind it.
        private: Whether a token bought it.
        more: More lines of its head.

    Raises:
        ConnectionError: The client has gone.
    """
    head = head_of(rendered, request_id, close=close, private=private, more=more)
    if begin_to_write(connection, head, rendered.body):
        await write_rest(connection, rendered.body)


def begin_to_write(connection: Protocol, head: bytes, body: bytes) -> bool:
    """Write head and body of an answer; return whether `write_rest` has something left to do.

    Raises:
        ConnectionError: The client has gone.
    """
    if len(body) <= PIECE:
        # To copy it costs less than a second call.
        return connection.write(head + body)
    connection.write(b"".join((head, memoryview(body)[:PIECE])))
    return True


async def write_rest(connection: Protocol, body: bytes) -> None:
    """Write what `begin_to_write` has left of a body, as the client takes it.

    Raises:
        ConnectionError: The client has gone.
    """
    await connection.drain()
    view = memoryview(body)
    for start in range(PIECE, len(view), PIECE):
        if connection.write(view[start : start + PIECE]):
            await connection.drain()


def head_of(
    rendered: Rendered, request_id: str, *, close: bool, private: bool, more: bytes = b""
) -> bytes:
    """Return the head of an answer."""
    last = last_lines(tagged=rendered.tag is not None, private=private, close=close)
    return b"".join((rendered.head, date_lines(), request_id.encode(), last, more, b"\r\n"))


def date_lines() -> bytes:
    """Return the lines of a head that say when it is written, as far as the request's id."""
    return _date(int(time()))


def last_lines(*, tagged: bool, private: bool, close: bool) -> bytes:
    """Return the lines of a head from the request's id on."""
    return _LAST_LINES[tagged, private, close]


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
            connection_of(request).write(head)
        else:
            connection = connection_of(request)
            await write(connection, rendered, self._request_id, close=self._closes, private=False)
        return None

    async def write_eof(self, _data: bytes = b"") -> None:
        """Do nothing: all has been written."""
