"""Reading requests: bodies within their limits of size and time, JSON, queries, by schemas."""

import asyncio
import math
import re
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import hdrs, web
from marshmallow import Schema, ValidationError

from pisync.model.fleet import DEFAULT_FLEET
from pisync.web.contract.headers import FLEET_HEADER
from pisync.web.contract.problems import (
    Problem,
    bad_request,
    invalid,
)
from pisync.web.transport.aiohttp_internals import is_unpacked

BODY_LIMIT = 64 * 1024
"""The largest body, in bytes, where a call sets no other limit."""
BODY_SECONDS = 30.0
"""How long a body may take to arrive."""
_GZIP = zlib.MAX_WBITS | 16
_BROKEN = "The body is incomplete or corrupt."

_NUMBER_OR_STRING = re.compile(
    rb'"(?:[^"\\]|\\.)*+"?|-?(?:NaN|Infinity|[0-9][0-9.eE+-]*+)', re.DOTALL
)


def fleet_of(request: web.BaseRequest) -> str:
    """Return the fleet that a request acts on; of several, one that is not there."""
    return ", ".join(request.headers.getall(FLEET_HEADER, (DEFAULT_FLEET,)))


def device_of(request: web.Request) -> int:
    """Return the device that a request's path names."""
    return int(request.match_info["device_id"])


async def read_json(request: web.Request, schema: Schema, limit: int = BODY_LIMIT) -> Any:
    """Return what `schema` makes of the request's JSON body of at most `limit` bytes.

    Raises Problem: 400 not JSON, 408 too slow, 413 too large, 415 not `application/json` or packed
    in another way than by gzip or deflate, 422 refused by the schema.
    """
    if request.content_type != "application/json" or not _is_utf8(request.charset):
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
    unpack = _unpacker(request, limit)
    packed = await _read(request, limit)
    if limit <= BODY_LIMIT or (len(packed) <= BODY_LIMIT and unpack is bytes):
        return load(schema, decode(unpack(packed)))
    # A large body takes longer than other requests should wait for.
    return await asyncio.to_thread(lambda: load(schema, decode(unpack(packed))))


def _is_utf8(charset: str | None) -> bool:
    return charset is None or charset.lower() in ("utf-8", "utf8")


async def _read(request: web.Request, limit: int) -> bytes:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            # By chunks: it may have no Content-Length.
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise _at_the_end(HTTPStatus.REQUEST_TIMEOUT, "The body took too long to arrive.") from None
    except (web.RequestPayloadError, ValueError):
        raise _at_the_end(HTTPStatus.BAD_REQUEST, _BROKEN) from None
    return bytes(body)


def _unpacker(request: web.Request, limit: int) -> Callable[[bytes], bytes]:
    """Return what makes of a body, as it came, one of at most `limit` bytes.

    Our server leaves that to who wants to have the body; aiohttp's own, in whose place it stands,
    has done it already: it unpacks what nobody reads, too, and serves nobody else meanwhile.
    """
    if is_unpacked(request):
        return bytes
    coding = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).strip().lower()
    if coding in ("", "identity"):
        return bytes
    if coding not in ("gzip", "deflate"):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "The Content-Encoding must be gzip or deflate, or absent.",
        )
    return partial(_unpacked, coding=coding, limit=limit)


def _unpacked(body: bytes, coding: str, limit: int) -> bytes:
    packing = zlib.decompressobj(_GZIP if coding == "gzip" else _deflate_of(body))
    try:
        unpacked = packing.decompress(body, limit + 1)
    except zlib.error:
        raise _broken() from None
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not packing.eof or packing.unused_data:
        raise _broken()
    return unpacked


def _deflate_of(body: bytes) -> int:
    # Some send what the name says, and not what RFC 9110 does: without zlib's head.
    has_head = bool(body) and body[0] & 0x0F == zlib.DEFLATED
    return zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS


def _broken() -> Problem:
    return bad_request(_BROKEN)


def _at_the_end(status: int, message: str) -> Problem:
    """Return an answer after which the connection is of no more use, since a body is left on it."""
    return Problem(status, message, headers={"Connection": "close"})


def _too_large(limit: int) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {limit // 1024} KiB."
    )


def decode(body: bytes) -> Any:
    """Return the value of a JSON text; raises Problem 400 where it is none.

    NaN, infinities and numbers that no double can hold are not JSON's, or not ours, but people send
    them: the schema gets to see `[[]]` there, which it allows nowhere, so that it names the field.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return orjson.loads(_NUMBER_OR_STRING.sub(_without_infinity, body))
    except orjson.JSONDecodeError:
        pass
    raise bad_request("The body is not JSON.")


def _without_infinity(token: re.Match[bytes]) -> bytes:
    text = token.group()
    if text.startswith(b'"'):
        return text
    try:
        return text if math.isfinite(float(text)) else b"[[]]"
    except ValueError:
        return text


def load(schema: Schema, value: object) -> Any:
    """Return what `schema` makes of a value; raises Problem 422 with the fields at fault."""
    try:
        # marshmallow's types speak of mappings alone; it takes lists for `many`.
        return schema.load(value)  # type: ignore[arg-type]
    except ValidationError as refused:
        raise invalid(by_field(refused.messages)) from None


def by_field(messages: object, path: str = "") -> dict[str, list[str]]:
    """Flatten marshmallow's nested messages: `{"profile.outcomes.0.weight": ["…"]}`."""
    if isinstance(messages, Mapping):
        flat: dict[str, list[str]] = {}
        for name, below in messages.items():
            inner = path if name == "_schema" else f"{path}.{name}" if path else str(name)
            for field, found in by_field(below, inner).items():
                flat.setdefault(field, []).extend(found)
        return flat
    texts: list[object] = messages if isinstance(messages, list) else [messages]
    return {path or "body": [str(text) for text in texts]}


def read_query(request: web.Request, schema: type[Schema]) -> Any:
    """Return what `schema` makes of the request's query.

    The value is shared between requests with the same query: leave it as it is. Raises Problem 422.
    """
    return parse_query(request.rel_url.raw_query_string, schema)


@lru_cache(maxsize=1024)
def parse_query(query: str, schema: type[Schema]) -> Any:
    """Return what `schema` makes of a query as it was sent; see `read_query`."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in values:
            raise invalid({name: ["Given more than once."]})
        values[name] = value
    return load(schema(), values)
