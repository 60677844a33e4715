"""The fence: no other file uses members of aiohttp that are private or undocumented.

`INTERNALS` names them all. A test compares it with this file, with the rest of `pisync` and with
the aiohttp that is installed; `pyproject.toml` admits no aiohttp that has not been tried.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from types import ModuleType
from typing import Any, ClassVar, Final

from aiohttp import http_exceptions, http_parser, web, web_protocol
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

__all__ = ["BadHttpMessage", "HttpProcessingError", "LineTooLong"]

INTERNALS: Final[Mapping[type | ModuleType, tuple[str, ...]]] = {
    web.AppRunner: ("_make_server",),
    web.Server: ("__call__", "pre_shutdown", "request_factory", "request_handler"),
    web.RequestHandler: (
        *("_current_request", "_messages", "_request_count", "_request_in_progress"),
        *("_task_handler", "_waiter"),
        *("close", "data_received", "finish_response", "handle_error", "log_exception"),
    ),
    web.BaseRequest: ("protocol", "writer"),
    AbstractStreamWriter: ("output_size",),
    http_exceptions: ("BadHttpMessage", "HttpProcessingError", "LineTooLong"),
    http_parser: ("HttpRequestParser", "HttpRequestParserPy", "RawRequestMessage"),
    web_protocol: ("RequestHandler",),
}
"""The members used here, by their owners."""

RawRequest = http_parser.RawRequestMessage
"""The head of a request, as the parser makes it."""
RequestHandler = Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]
Finished = Coroutine[Any, Any, tuple[web.StreamResponse, bool]]
"""Ends with the answer sent, and whether the client was gone before its end."""


def parser_is_compiled() -> bool:
    """Return whether requests are parsed by llhttp, and not by aiohttp's parser in Python."""
    return http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy


def writer_of(request: web.BaseRequest) -> AbstractStreamWriter:
    """Return the writer of the answer to a request."""
    return request.writer


def answer_has_begun(request: web.BaseRequest) -> bool:
    """Return whether a part of the answer has been written already."""
    return request.writer.output_size > 0


def is_unpacked(request: web.BaseRequest) -> bool:
    """Return whether `request.content` undoes the body's Content-Encoding.

    The connections of our server leave that to those who read the body.
    """
    return not isinstance(request.protocol, Protocol)


class Runner(web.AppRunner):
    """Runs an application with a server of one's own: `make_server` gets the one aiohttp made."""

    def __init__(
        self,
        app: web.Application,
        make_server: Callable[[web.Server], web.Server],
        *,
        shutdown_timeout: float,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self.__make_server = make_server

    async def _make_server(self) -> web.Server:
        return self.__make_server(await super()._make_server())


class Server(web.Server):
    """Handles the requests of another server's application on connections of its own class."""

    connection_class: ClassVar[type["Protocol"]]

    def __init__(self, handle: Any, other: web.Server, **options: Any) -> None:
        super().__init__(handle, request_factory=other.request_factory)
        self.__options = options

    def __call__(self) -> web.RequestHandler:
        return self.connection_class(self, loop=asyncio.get_running_loop(), **self.__options)

    def pre_shutdown(self) -> None:
        """Leave all connections open: from here on aiohttp would drop what they receive.

        A request under way may still wait for the rest of its body.
        """

    def stop_receiving(self) -> None:
        """Drop what connections receive from now on, and close those that are idle."""
        super().pre_shutdown()


class Protocol(web.RequestHandler):
    """A connection, in terms of requests and answers. A subclass decides about both."""

    __slots__ = ()

    # What a subclass decides.

    def request_arrived(self, data: bytes) -> None:
        """Take the beginning of a request, or the next part of its head; see `parse`."""
        raise NotImplementedError

    def answer_ready(
        self, request: web.BaseRequest, response: web.StreamResponse
    ) -> web.StreamResponse | None:
        """Return the answer to send in place of `response`; None if it has been written."""
        raise NotImplementedError

    async def give_way(self) -> None:
        """Let others have their turn before the request that waits behind an answered one."""
        raise NotImplementedError

    def error_answer(
        self, request: web.BaseRequest, exc: BaseException | None
    ) -> web.StreamResponse:
        """Return the answer to what is no HTTP, or to an error that no middleware handled."""
        raise NotImplementedError

    # What it may use.

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._request_in_progress

    @property
    def next_request(self) -> RawRequest | None:
        """The request that waits behind the one under way, unless it is no HTTP."""
        message = self._messages[0][0] if self._messages else None
        return message if isinstance(message, http_parser.RawRequestMessage) else None

    def parse(self, data: bytes) -> bool:
        """Parse what has arrived; return whether it completes the head of a request."""
        count = self._request_count
        super().data_received(data)
        return self._request_count != count

    def cancel_request(self) -> None:
        """Cancel the request under way."""
        if self._task_handler is not None:
            self._task_handler.cancel()

    # What aiohttp calls.

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            super().data_received(data)
        else:
            self.request_arrived(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the rest of an answer that has begun: a stream has lost its only reader.

        A request without an answer yet goes on: what it was to change, it changes.
        """
        request, handler = self._current_request, self._task_handler
        super().connection_lost(exc)
        if request is not None and handler is not None and answer_has_begun(request):
            handler.cancel()

    # Returns the coroutine of aiohttp's own: one of ours around it would cost each request more.
    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Finished:
        """Send an answer."""
        response = self.answer_ready(request, resp)
        finishing = (
            _written(resp)
            if response is None
            else super().finish_response(request, response, start_time)
        )
        return self._finish_and_give_way(finishing) if self._messages else finishing

    async def _finish_and_give_way(self, finishing: Finished) -> tuple[web.StreamResponse, bool]:
        finished = await finishing
        await self.give_way()
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to an error.

        Raises:
            ConnectionError: no answer can be sent any more; this closes the connection.
        """
        if isinstance(exc, ConnectionError) or answer_has_begun(request):
            raise ConnectionError from exc
        return self.error_answer(request, exc)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what aiohttp did not expect, but no broken body that nobody reads."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


async def _written(response: web.StreamResponse) -> tuple[web.StreamResponse, bool]:
    return response, False
