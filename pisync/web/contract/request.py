"""Reading requests: bodies within their limits of size and time, JSON and queries, by schemas."""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson
from aiohttp import hdrs, web
from marshmallow import Schema

from pisync.concurrency.reception import Reception
from pisync.keys import BODIES, FLEET
from pisync.model.parsing.errors import InvalidValue, load
from pisync.model.parsing.fields import QueryList
from pisync.web.contract.compression import Corrupt, PieceDecompressor, TooLong, decompressed
from pisync.web.contract.long_list import NotJson
from pisync.web.contract.problems import (
    Problem,
    bad_request,
    invalid,
    invalid_value,
)
from pisync.web.transport.aiohttp_internals import is_unpacked, send_continue

T = TypeVar("T")

BODY_LIMIT = 64 * 1024
"""The largest body, in bytes, where a call sets no other limit."""
BODY_SECONDS = 30.0
"""How long a body may take to arrive."""
PARSED_AT_ONCE = 1024
"""Bytes of a body that are parsed at once; to parse a larger one, a thread is worth its cost."""
_HELD_OF_PIECES = 1024 * 1024
"""Bytes that a body in pieces counts for while it is read: some pieces, and what they came to."""
NOT_JSON = "The body is not JSON."
TOO_MANY_BODIES = "Too many bodies are under way. Try again."
CORRUPT = "The body is incomplete or corrupt."
IGNORED = "_"
"""The query parameter that libraries add so that no cache answers."""

_NUMBER_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?|-?[0-9][0-9.eE+-]*+', re.DOTALL)


def fleet_of(request: web.Request) -> str:
    """Return the fleet that a request acts on, whichever way it named it."""
    return request[FLEET]


def device_of(request: web.Request) -> int:
    """Return the device that a request's path names."""
    return int(request.match_info["device_id"])


async def read_json(request: web.Request, schema: Schema) -> Any:
    """Return what `schema` makes of the request's JSON body, which has at most `BODY_LIMIT` bytes.

    Raises:
        Problem: As in `read_body`; 400 for what is not JSON, 422 for what the schema refuses.
    """
    return await read_body(request, partial(parse_json, schema))


async def read_body(
    request: web.Request, parse: Callable[[bytes], T], limit: int = BODY_LIMIT
) -> T:
    """Return what `parse` makes of the request's body of at most `limit` bytes.

    Raises:
        Problem: 408 too slow, 413 too large, 415 not `application/json`, or compressed in another
            way than by gzip or deflate, 503 too many bodies under way; whatever `parse` raises.
    """
    # JSON is UTF-8: a `charset` beside the type changes nothing.
    if request.content_type != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
    decompress = _decompressor(request, limit)
    deadline = asyncio.timeout(None)
    with request.app[BODIES].receive(lambda: deadline.reschedule(0)) as reception:
        received = await _read(request, limit, deadline, reception)
        if len(received) <= PARSED_AT_ONCE and decompress is bytes:
            return parse(received)
        # Other requests should not wait for it.
        return await asyncio.to_thread(_parse, received, decompress, parse)


def _parse(received: bytes, decompress: Callable[[bytes], bytes], parse: Callable[[bytes], T]) -> T:
    return parse(decompress(received))


async def _read(
    request: web.Request, limit: int, deadline: asyncio.Timeout, reception: Reception
) -> bytes:
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    await send_continue(request)
    body = bytearray()
    try:
        async with deadline:
            deadline.reschedule(asyncio.get_running_loop().time() + BODY_SECONDS)
            # By chunks: it may have no Content-Length.
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > limit:
                    raise too_large(limit)
                reception.add(len(chunk))
            reception.complete()
    except TimeoutError:
        # Its frame lives on with the error, until the rest of the body has been passed over.
        body.clear()
        raise _too_slow(reception) from None
    except (web.RequestPayloadError, ValueError):
        raise _at_the_end(HTTPStatus.BAD_REQUEST, CORRUPT) from None
    return bytes(body)


def _decompressor(request: web.Request, limit: int) -> Callable[[bytes], bytes]:
    """Return the function that decompresses the body, to at most `limit` bytes.

    Our server leaves that to whoever wants to have the body. aiohttp's own, in whose place it
    stands, has done it already: it decompresses what nobody reads, too, and serves nobody else
    meanwhile.
    """
    coding = _coding(request)
    if coding is None:
        return bytes
    return partial(_decompress, is_gzip=coding != "deflate", limit=limit)


def _coding(request: web.Request) -> str | None:
    """Return how a body that is still compressed was compressed; None if it is not.

    Raises:
        Problem: 415 in another way than by gzip or deflate.
    """
    coding = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "deflate") and is_unpacked(request):
        return None
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The Content-Encoding must be gzip or deflate, or absent.",
        )
    return coding


async def body_pieces(
    request: web.Request, media_type: str, limit: int
) -> AsyncGenerator[bytes, None]:
    """Yield the request's body, decompressed, piece by piece: it may be larger than memory.

    The next piece is received when it is asked for, so that a client sends no faster than that.

    Raises:
        Problem: 400 corrupt, 408 a piece was too slow, 413 more than `limit` bytes, 415 not of
            `media_type`, or compressed in another way than by gzip or deflate, 503 too many bodies
            under way.
    """
    if request.content_type != media_type:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body must be {media_type}.")
    coding = _coding(request)
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    await send_continue(request)
    decompressor = None if coding is None else PieceDecompressor(is_gzip=coding != "deflate")
    size = 0
    try:
        async with aclosing(_received_pieces(request)) as received:
            async for sent in received:
                for piece in (sent,) if decompressor is None else decompressor.pieces(sent):
                    size += len(piece)
                    if size > limit:
                        raise too_large(limit)
                    yield piece
        if decompressor is not None:
            decompressor.finish()
    except Corrupt:
        raise _at_the_end(HTTPStatus.BAD_REQUEST, CORRUPT) from None


async def _received_pieces(request: web.Request) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives.

    Raises:
        Problem: As `body_pieces`.
    """
    waiting: list[asyncio.Timeout] = []

    def give_way() -> None:
        for deadline in waiting:
            deadline.reschedule(0)

    with request.app[BODIES].receive(give_way) as reception:
        reception.add(_HELD_OF_PIECES)
        while not reception.gave_way:
            try:
                async with asyncio.timeout(BODY_SECONDS) as deadline:
                    waiting[:] = [deadline]
                    piece = await request.content.readany()
            except TimeoutError:
                break
            except (web.RequestPayloadError, ValueError):
                raise _at_the_end(HTTPStatus.BAD_REQUEST, CORRUPT) from None
            finally:
                waiting.clear()
            if not piece:
                return
            # Of those who send, this one has stalled for the shortest time.
            reception.add(0)
            yield piece
        raise _too_slow(reception)


def _decompress(body: bytes, *, is_gzip: bool, limit: int) -> bytes:
    try:
        return decompressed(body, is_gzip=is_gzip, limit=limit)
    except Corrupt:
        raise bad_request(CORRUPT) from None
    except TooLong:
        raise too_large(limit) from None


def too_large(limit: int) -> Problem:
    """Return the answer to a body of more than `limit` bytes."""
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {limit // 1024} KiB."
    )


def _too_slow(reception: Reception) -> Problem:
    """Return the answer to a body that took too long, or gave way to others."""
    if reception.gave_way:
        return _at_the_end(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY_BODIES, {hdrs.RETRY_AFTER: "1"})
    return _at_the_end(HTTPStatus.REQUEST_TIMEOUT, "The body took too long to arrive.")


def _at_the_end(status: int, message: str, headers: Mapping[str, str] | None = None) -> Problem:
    """Return an answer that closes the connection, since the rest of a body is still on it."""
    return Problem(status, message, headers={**(headers or {}), hdrs.CONNECTION: "close"})


def parse_json(schema: Schema, text: bytes) -> Any:
    """Return what `schema` makes of a JSON text.

    Raises:
        Problem: 400 not JSON, 422 refused by the schema.
    """
    try:
        return load(schema, decode(text))
    except NotJson:
        raise bad_request(NOT_JSON) from None
    except InvalidValue as exc:
        raise invalid_value(exc) from None


def decode(text: bytes) -> Any:
    """Return the value of a JSON text.

    A number that no double can hold is valid JSON, but of no use: it is replaced by `[[]]`, which
    no schema allows, so that the error names its field.

    Raises:
        NotJson: The text is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        if "infinity" not in exc.msg:
            raise NotJson from None
    try:
        return orjson.loads(_NUMBER_OR_STRING.sub(_without_infinity, text))
    except orjson.JSONDecodeError:
        raise NotJson from None


def _without_infinity(token: re.Match[bytes]) -> bytes:
    text = token.group()
    if text.startswith(b'"'):
        return text
    try:
        return text if math.isfinite(float(text)) else b"[[]]"
    except ValueError:
        return text


def read_query(request: web.Request, schema: type[Schema]) -> Any:
    """Return what `schema` makes of the request's query.

    The value is shared between requests with the same query: leave it as it is.

    Raises:
        Problem: 422 refused by the schema.
    """
    return parse_query(request.rel_url.raw_query_string, schema)


@lru_cache(maxsize=1024)
def parse_query(query: str, schema: type[Schema]) -> Any:
    """Return what `schema` makes of a query as it was sent; see `read_query`."""
    parser = schema()
    fields = {field.data_key or name: field for name, field in parser.fields.items()}
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        list_name = name.removesuffix("[]")  # axios writes a list as `status[]=400&status[]=500`
        if isinstance(fields.get(list_name), QueryList):
            values[list_name] = f"{values[list_name]},{value}" if list_name in values else value
        elif name in fields and name in values:
            raise invalid({name: ["Must be given only once."]})
        elif name != IGNORED:
            values[name] = value
    try:
        return load(parser, values)
    except InvalidValue as exc:
        raise invalid_value(exc) from None
