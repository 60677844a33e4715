"""Answers as bytes, as aiohttp would write them, with the headers that every answer has."""

from email.utils import formatdate
from functools import lru_cache
from time import time
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from pisync.web.contract.rendering import Rendered

_COPIED: Final = 32 * 1024
"""Bytes: a larger body is written by itself, since to copy it costs more than a second call."""

_LAST: Final = b"\r\nX-Content-Type-Options: nosniff\r\n\r\n"
_LAST_AND_CLOSE: Final = b"\r\nConnection: close" + _LAST


class RawResponse(web.StreamResponse):
    """Stands for an answer that has been written: there is nothing left to send."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    async def prepare(self, _request: web.BaseRequest) -> None:
        """Do nothing."""

    async def write_eof(self, _data: bytes = b"") -> None:
        """Do nothing."""


_SENT: Final = RawResponse(keep_alive=True)
_SENT_LAST: Final = RawResponse(keep_alive=False)


async def write(
    writer: AbstractStreamWriter, rendered: Rendered, request_id: str, *, close: bool
) -> RawResponse:
    """Write an answer, the connection's last if `close`; wait while the client does not keep up.

    Raises ConnectionError if it has gone.
    """
    last = _LAST_AND_CLOSE if close else _LAST
    head = b"".join((rendered.head, _date(int(time())), request_id.encode(), last))
    if len(rendered.body) <= _COPIED:
        await writer.write_eof(head + rendered.body)
    else:
        await writer.write(head)
        await writer.write_eof(rendered.body)
    return _SENT_LAST if close else _SENT


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}\r\nX-Request-ID: ".encode()
