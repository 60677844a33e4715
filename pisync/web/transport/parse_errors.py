"""What is answered to bytes that are no HTTP request, or one with a head that is too large."""

import re
from http import HTTPStatus
from typing import Final

from pisync.web.contract.problems import Problem, bad_request
from pisync.web.transport.aiohttp_internals import (
    BadHttpMethod,
    HttpProcessingError,
    LineTooLong,
    limit_of,
)

MAX_REQUEST_LINE: Final = 8190
"""Bytes of a request's target."""
MAX_HEADER: Final = 16 * 1024
"""Bytes of a header: a browser sends `localhost` the cookies of all its ports."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's line and all its headers."""

_method_of = re.compile(rb"[\r\n]*([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ").match
_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
_origins = re.compile(rb"\r?\norigin:[ \t]*([!-~]+)[ \t]*\r?\n", re.IGNORECASE).findall


def problem_of(error: HttpProcessingError, head: bytes) -> Problem:
    """Return the answer to what the parser refused; `head` is what there is of the request."""
    if isinstance(error, LineTooLong):
        if limit_of(error) == MAX_HEADER:
            return headers_too_large()
        return bad_request(f"The request's target is longer than {MAX_REQUEST_LINE} bytes.")
    method = _method_of(head)
    if isinstance(error, BadHttpMethod) and method:
        return bad_request(_unknown_method(method[1].decode()))
    return bad_request("This is not a valid HTTP request.")


def headers_too_large() -> Problem:
    """Return the answer to a header, or to headers, that are too large."""
    return Problem(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"A header has more than {MAX_HEADER // 1024} KiB, or all together more than"
        f" {MAX_HEAD // 1024} KiB.",
    )


def origin_of(head: bytes) -> str | None:
    """Return the `Origin` header in bytes that no parser has read."""
    found = _origins(head)
    return found[-1].decode() if found else None


def _unknown_method(method: str) -> str:
    if method.upper() in _METHODS:
        return f"HTTP has no method {method}: {method.upper()} is written in capitals."
    return f"HTTP has no method {method}."
