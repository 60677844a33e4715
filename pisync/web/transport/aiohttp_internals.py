"""The fence: no other file uses members of aiohttp that are private or undocumented.

`INTERNALS` names them all. A test compares it with this file, with the rest of `pisync` and with
the aiohttp that is installed; `pyproject.toml` admits no aiohttp that has not been tried.
"""

import asyncio
import typing
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from types import ModuleType
from typing import Any, ClassVar, Final

from aiohttp import StreamReader, hdrs, http_exceptions, http_parser, streams, web, web_protocol
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    HttpProcessingError,
    LineTooLong,
)
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

__all__ = ["BadHttpMessage", "BadHttpMethod", "HttpProcessingError", "LineTooLong"]

INTERNALS: Final[Mapping[type | ModuleType, tuple[str, ...]]] = {
    web.AppRunner: ("_make_server",),
    web.Server: ("__call__", "pre_shutdown", "request_factory", "request_handler"),
    web.RequestHandler: (
        *("_current_request", "_messages", "_request_count", "_request_in_progress"),
        *("_buffer_paused", "_task_handler", "_upgraded", "_waiter", "_handler_waiter"),
        *("_close", "_force_close", "_loop", "_drain_helper", "_paused"),
        *("_keepalive_handle", "_next_keepalive_close_time", "_process_keepalive"),
        *("close", "data_received", "eof_received", "finish_response", "force_close"),
        *("handle_error", "keep_alive", "keepalive_timeout", "log_exception", "shutdown"),
    ),
    web.BaseRequest: ("_cache", "_headers", "_rel_url", "protocol", "writer"),
    AbstractStreamWriter: ("output_size",),
    http_exceptions: ("BadHttpMessage", "BadHttpMethod", "HttpProcessingError", "LineTooLong"),
    http_parser: ("HttpRequestParser", "HttpRequestParserPy", "RawRequestMessage"),
    streams: ("EMPTY_PAYLOAD",),
    web_protocol: ("RequestHandler",),
}
"""The members used here, by their owners."""

RawRequest = http_parser.RawRequestMessage
"""The head of a request, as the parser makes it."""
RequestHandler = Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]
_END_OF_HEAD: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_LAST_LOOK_SECONDS: Final = 1.0
_END_WITH_REQUEST_SECONDS: Final = 0.1
"""How much later than a request its client may say that it sends no more, and still wait."""
MAX_PACKET: Final = 8 * 1024
"""Bytes of a request that are kept until it is handled."""

Finished = Coroutine[Any, Any, tuple[web.StreamResponse, bool]]
"""Ends with the answer sent, and whether the client was gone before its end."""


def parser_is_compiled() -> bool:
    """Return whether requests are parsed by llhttp, and not by aiohttp's parser in Python."""
    return http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy


def connection_of(request: web.BaseRequest) -> "Protocol":
    """Return the connection, one of our server's, that a request has arrived on."""
    connection: Protocol = request.protocol  # type: ignore[assignment] # our server has no others
    return connection


def answer_has_begun(request: web.BaseRequest) -> bool:
    """Return whether a part of the answer has been written already."""
    return request.writer.output_size > 0


def is_unpacked(request: web.BaseRequest) -> bool:
    """Return whether `request.content` undoes the body's Content-Encoding.

    The connections of our server leave that to those who read the body.
    """
    return not isinstance(request.protocol, Protocol)


def limit_of(error: LineTooLong) -> int:
    """Return how many bytes the line was allowed to have."""
    return int(error.args[1])


def target_root(request: web.BaseRequest) -> None:
    """Let a request mean the path `/`, with its query."""
    url = URL.build(path="/", query_string=request.rel_url.raw_query_string, encoded=True)
    request._rel_url = request._cache["rel_url"] = url  # noqa: SLF001


CONTINUE: Final = "100-continue"
"""The only expectation that there is."""
_EXPECTS_CONTINUE = web.RequestKey("_EXPECTS_CONTINUE", bool)


def take_expectation(request: web.BaseRequest) -> str:
    """Return the header `Expect`, and hide it from aiohttp, which would meet it at once.

    `send_continue` meets it, once all is known that the head can tell.
    """
    headers = request.headers
    expectation = headers[hdrs.EXPECT]
    rest = CIMultiDict((name, value) for name, value in headers.items() if name != hdrs.EXPECT)
    request._headers = request._cache["headers"] = CIMultiDictProxy(rest)  # noqa: SLF001
    if expectation.lower() == CONTINUE:
        request[_EXPECTS_CONTINUE] = True
    return expectation


def expects_continue(request: web.BaseRequest) -> bool:
    """Return whether the client still waits for a "100 Continue" before it sends the body."""
    return _EXPECTS_CONTINUE in request


async def send_continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send the body."""
    if request.pop(_EXPECTS_CONTINUE, False):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # This is no part of an answer.
        request.writer.output_size = 0


def close_with_client(request: web.BaseRequest) -> None:
    """Take it for the end when the client sends no more: what is answered has no end itself."""
    if isinstance(request.protocol, Protocol):
        request.protocol.answer_is_endless = True


@contextmanager
def cancel_with_client(request: web.BaseRequest) -> Iterator[None]:
    """Within this block, cancel a request whose client goes, though its answer has not begun.

    One that sends no more has gone, too, unless it said so with its request, as `nc -N` does.
    """
    protocol = request.protocol
    if isinstance(protocol, Protocol):
        protocol.gives_up_from = asyncio.get_running_loop().time() + _END_WITH_REQUEST_SECONDS
    try:
        yield
    finally:
        if isinstance(protocol, Protocol):
            protocol.gives_up_from = inf


class Cancellable(typing.Protocol):
    """What makes an answer, and can be told to give up: a task, or a part of one."""

    def cancel(self) -> object:
        """Answer that the server is about to stop, or, if that is too late, not at all."""


_parse = web.RequestHandler.data_received
"""Bound here: `super()` is looked up anew with each packet."""


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

    __slots__ = (
        "_answering",
        "_client_ended",
        "_last_body",
        "_packet",
        "_parked_waiter",
        "answer_is_endless",
        "gives_up_from",
        "is_between_requests",
        "is_turned_away",
        "unknown_heads",
    )

    def __init__(self, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._client_ended = False
        self._last_body: StreamReader = EMPTY_PAYLOAD
        self._packet = b""
        self._answering: Cancellable | None = None
        """Writes the answer to a request that aiohttp knows nothing of."""
        self._parked_waiter: asyncio.Future[None] | None = None
        """What aiohttp waits for meanwhile."""
        self.answer_is_endless = False
        self.gives_up_from = inf
        """From when on, by the loop's clock, a client that sends no more has gone."""
        self.is_between_requests = True
        """Whether the parser is sure to have read requests to their ends, and nothing more."""
        self.is_turned_away = False
        self.unknown_heads = 0
        """How many requests had header lines that were not known, since one had known ones."""

    # What a subclass decides.

    def request_arrived(self, data: bytes) -> None:
        """Take the beginning of a request, or the next part of its head; see `parse`."""
        raise NotImplementedError

    def not_parsed(self, data: bytes) -> None:
        """Note what was no HTTP; `error_answer` is called for it when its turn has come."""
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

    @property
    def is_alone(self) -> bool:
        """Whether no other request is likely to arrive in this turn of the event loop."""
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
        count, waiter = self._request_count, self._waiter
        is_alone = waiter is not None and not waiter.done()
        _parse(self, data)
        arrived = self._request_count - count
        was_between, self.is_between_requests = self.is_between_requests, False
        self._packet = b""
        if not arrived:
            return False
        message, self._last_body = self._messages[-1]
        if type(message) is not RawRequest:
            self.not_parsed(data)
        elif message.upgrade:
            if not self._upgraded:
                self._parse_dropped(data, arrived)
        elif arrived == 1 and self._last_body is EMPTY_PAYLOAD and data.endswith(_END_OF_HEAD):
            self.is_between_requests = not self._buffer_paused
            # With another under way, that would be taken for the one which these bytes are.
            if is_alone and was_between and len(data) <= MAX_PACKET:
                self._packet = data
        return True

    def take_packet(self) -> bytes:
        """Return the bytes of the request under way if they came alone, and as a whole; once."""
        packet, self._packet = self._packet, b""
        return packet

    def _parse_dropped(self, data: bytes, arrived: int) -> None:
        """Parse what follows a request with an `Upgrade` that aiohttp does not know.

        Its parser stops behind such a request, and drops the rest of what has arrived.
        """
        while arrived and not self._buffer_paused:
            place = 0
            for message, _ in [*self._messages][-arrived:]:
                place = _end_of_request(message, data, place)
            data = data[place:]
            count = self._request_count
            super().data_received(data)
            arrived = self._request_count - count
            if arrived:
                message, self._last_body = self._messages[-1]
                if type(message) is not RawRequest:
                    self.not_parsed(data)
                    return
                if not message.upgrade:
                    return

    def stop_idle_timer(self) -> None:
        """Keep the connection, though no request is under way, until the next was answered."""
        self.keep_alive(True)

    def cancel_request(self) -> None:
        """Cancel the request under way."""
        task = self._answering or self._task_handler
        if task is not None:
            task.cancel()

    def write(self, data: bytes | memoryview) -> bool:
        """Write a part of an answer; return whether to wait, by `drain`, before the next.

        Raises:
            ConnectionError: The client has gone.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        transport.write(data)
        return self._paused

    async def drain(self) -> None:
        """Wait until the client has taken what was written.

        Raises:
            ConnectionError: The client has gone.
        """
        await self._drain_helper()

    # For requests that are answered in front of aiohttp, which takes the connection for idle.

    def answered_in_front(self, *, keep: bool) -> None:
        """Wait for the next request, or `keep` the connection no longer."""
        has_ended = self._client_ended and not self._messages
        if not keep or has_ended or self._close or self._force_close:
            self.force_close()  # what has been written is sent all the same
            return
        end = self._loop.time() + self.keepalive_timeout
        self._next_keepalive_close_time = end
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(end, self._process_keepalive)

    def answer_in_front(self, answering: Coroutine[Any, Any, bool]) -> None:
        """Hold the connection while a coroutine writes an answer; it returns whether to keep it."""
        self.hold(self._loop.create_task(self._answer_in_front(answering)))

    def hold(self, answering: Cancellable) -> None:
        """Wait, until `let_go`, for the answer that `answering` makes.

        Until then the connection looks to aiohttp as one with a request under way: what arrives is
        parsed and waits, as ever.
        """
        self._parked_waiter, self._waiter = self._waiter, None
        self._request_in_progress = True
        self._answering = answering

    def is_held_for(self, answering: Cancellable) -> bool:
        """Return whether the answer that `answering` makes is still waited for."""
        return self._answering is answering

    def let_go_with(self, answer: bytes, *, keep: bool) -> None:
        """End what `hold` began: write the answer, unless the client has gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            keep = False
        else:
            transport.write(answer)
        self.let_go(keep=keep)

    def let_go(self, *, keep: bool) -> None:
        """End what `hold` began: the answer has been written, if not yet taken by the client."""
        if (self._paused or self._messages) and keep:
            self._answering = self._loop.create_task(self._answer_in_front(self._drained()))
        else:
            self._let_go(keep=keep)

    async def _drained(self) -> bool:
        await self.drain()
        return True

    async def _answer_in_front(self, answering: Coroutine[Any, Any, bool]) -> None:
        keep = False
        try:
            keep = await answering
            if self._messages:
                await self.give_way()
        except ConnectionError:
            keep = False
        finally:
            self._let_go(keep=keep)

    def _let_go(self, *, keep: bool) -> None:
        self._answering = None
        self._request_in_progress = False
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)
        waiter = self._waiter = self._parked_waiter
        self._parked_waiter = None
        self.answered_in_front(keep=keep)
        if self._messages and waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What aiohttp calls.

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        waiter = self._waiter
        # Nothing waits yet for the first data of a connection that has just been made.
        if (waiter is None or waiter.done()) and not self.is_turned_away:
            self.parse(data)
        else:
            self.request_arrived(data)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio looks at what it returns
        """Keep the connection of a client that sends no more, until it has its answers."""
        transport = self.transport
        if transport is None or not transport.can_write_eof() or not self._waits_for_answer():
            return False
        self._client_ended = True
        asyncio.get_running_loop().call_later(_LAST_LOOK_SECONDS, self._close_if_idle)
        return True

    def _waits_for_answer(self) -> bool:
        """Return whether a request has arrived as a whole, and its answer may come to an end."""
        if self._waiter is not None and not self._waiter.done():
            return False
        is_patient = self._loop.time() < self.gives_up_from
        return self._last_body.is_eof() and is_patient and not self.answer_is_endless

    def _close_if_idle(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self.force_close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's
        """Close the connection; what is not answered within `timeout` seconds is cancelled."""
        await super().shutdown(timeout)
        if self._answering is not None:
            self._answering.cancel()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the rest of an answer that has begun: a stream has lost its only reader.

        A request without an answer yet goes on, unless it only waits: what it was to change, it
        changes.
        """
        request, handler = self._current_request, self._task_handler
        super().connection_lost(exc)
        if request is None or handler is None:
            return
        if self.gives_up_from < inf or answer_has_begun(request):
            handler.cancel()

    # Returns the coroutine of aiohttp's own: one of ours around it would cost each request more.
    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Finished:
        """Send an answer."""
        self._packet = b""
        response = self.answer_ready(request, resp)
        if self._client_ended and not self._messages:
            self.close()
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


def _end_of_request(message: Any, data: bytes, place: int) -> int:
    """Return where in `data` a request ends of which a part, at least, begins at `place`."""
    end_of_head = data.find(_END_OF_HEAD, place)
    if end_of_head < 0 or not isinstance(message, http_parser.RawRequestMessage):
        return len(data)
    body = end_of_head + len(_END_OF_HEAD)
    if message.chunked:
        # The end of the head is taken in, as the first chunk may be the last.
        last = data.find(_LAST_CHUNK, body - 2)
        return len(data) if last < 0 else last + len(_LAST_CHUNK)
    return body + int(message.headers.get(hdrs.CONTENT_LENGTH, 0))


async def _written(response: web.StreamResponse) -> tuple[web.StreamResponse, bool]:
    return response, False
