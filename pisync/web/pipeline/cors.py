"""Lets pages of other origins call the service from a browser.

Written out here, because the headers belong on every answer: what the router does not know, what
the guard refuses and what fails must be as readable to a page as a device is, and a preflight is
answered at any path. A list of routes that take part, as libraries keep it, covers none of these.

No `Access-Control-Allow-Credentials`: a page sends its token itself, never a cookie.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

_ANY: Final = "*"
_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_EXPOSED: Final = (
    "Link, X-Total-Count, Location, Pisync-Attempt, ETag, Retry-After, X-Request-ID,"
    " WWW-Authenticate, Allow, Idempotency-Replayed"
)
_are_header_names = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,8192}").fullmatch
_ANY_PORT: Final = ":*"
_MAX_AGE: Final = "7200"  # seconds; Chromium remembers a preflight for no longer


class Cors:
    """The rules for pages of `origins`: each as a browser names it, or `*` for all.

    One that ends in `:*` stands for its host at any port.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)
        self._any = _ANY in self._origins

    def preflight(self, request: web.Request) -> web.Response | None:
        """Return the answer to an allowed page that asks whether it may call; else None.

        `add` gives it the headers that every answer to that page has.
        """
        asks = (
            request.method == hdrs.METH_OPTIONS
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        )
        if not asks or self._allowed(request.headers.get(hdrs.ORIGIN)) is None:
            return None
        return web.Response(
            status=HTTPStatus.NO_CONTENT,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
                # Whatever is asked for: libraries for tracing and caching add headers of their own.
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _requested_headers(request),
                hdrs.ACCESS_CONTROL_MAX_AGE: _MAX_AGE,
            },
        )

    async def add(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let allowed pages read an answer (`on_response_prepare`)."""
        response.headers.extend(self.headers(request.headers.get(hdrs.ORIGIN)))

    def headers(self, origin: str | None) -> dict[str, str]:
        """Return the headers of an answer to a page of `origin`, or to nobody's page (None)."""
        # Vary also where no page asked: a cache must not hand that answer to one.
        headers: dict[str, str] = {} if self._any else {hdrs.VARY: hdrs.ORIGIN}
        allowed = self._allowed(origin)
        if allowed is not None:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
        return headers

    def lines(self, origin: str | None) -> bytes:
        """Return these headers as the lines of an answer's head."""
        headers = self.headers(origin).items()
        return "".join(f"{name}: {value}\r\n" for name, value in headers).encode()

    def _allowed(self, origin: str | None) -> str | None:
        """Return what Access-Control-Allow-Origin is to say; None if the page is not allowed."""
        if origin is None:
            return None
        if self._any:
            return _ANY
        if origin in self._origins or _at_any_port(origin) in self._origins:
            return origin
        return None


def _at_any_port(origin: str) -> str:
    scheme, _, host = origin.partition("://")
    return f"{scheme}://{re.sub(r':[0-9]{1,5}$', '', host)}{_ANY_PORT}"


def _requested_headers(request: web.Request) -> str:
    names = ", ".join(request.headers.getall(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, ()))
    return names if _are_header_names(names) else hdrs.AUTHORIZATION


CORS = web.AppKey("CORS", Cors)
"""The rules, if pages of other origins may call."""
