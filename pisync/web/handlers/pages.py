"""Pages for browsers: the dashboard and this documentation, with all that they load."""

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from pisync.web.contract.rendering import (
    Rendered,
    tag_of,
)

_HEADERS = {
    # Nothing from another host, and nothing that is written into the page itself.
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    # To be asked for each time: tomorrow's may be of another version.
    "Cache-Control": "no-cache",
}

OPENAPI: web.AppKey[Callable[[], Mapping[str, Any]]] = web.AppKey("OPENAPI")
"""Makes the OpenAPI document."""

_FOLDER = Path(__file__).parent.parent


async def get_dashboard(request: web.Request) -> web.Response:
    """Return the dashboard, a page that shows a fleet."""
    return _content("dashboard/index.html", "text/html; charset=utf-8").answer(request)


async def get_docs(request: web.Request) -> web.Response:
    """Return this documentation, a page on which every call can be tried."""
    return _content("docs/index.html", "text/html; charset=utf-8").answer(request)


async def get_openapi(request: web.Request) -> web.Response:
    """Return the OpenAPI document of all calls."""
    document = request.app[OPENAPI]
    return (await asyncio.to_thread(_tagged, document)).answer(request)


@cache
def _tagged(document: Callable[[], Mapping[str, Any]]) -> Rendered:
    return Rendered.tagged(document())


def _file(name: str, content_type: str) -> Handler:
    async def file(request: web.Request) -> web.Response:
        return _content(name, content_type).answer(request)

    return file


@cache
def _content(name: str, content_type: str) -> Rendered:
    body = _FOLDER.joinpath(name).read_bytes()
    return Rendered(body, tag_of(body), content_type, _HEADERS)


_JAVASCRIPT = "text/javascript; charset=utf-8"
_CSS = "text/css; charset=utf-8"

# Listed once, at the start: a request's path is only ever looked up among these names.
_MODULES = sorted(
    path.relative_to(_FOLDER).as_posix() for path in (_FOLDER / "dashboard").rglob("*.js")
)

DASHBOARD: Mapping[str, Handler] = {
    **{f"/{name}": _file(name, _JAVASCRIPT) for name in _MODULES},
    "/dashboard/style.css": _file("dashboard/style.css", _CSS),
    "/dashboard/icon.svg": _file("dashboard/icon.svg", "image/svg+xml"),
    "/dashboard/preact.js": _file("vendor/htm/standalone.module.js", _JAVASCRIPT),
    "/dashboard/eventsource-parser/parse.js": _file(
        "vendor/eventsource-parser/parse.js", _JAVASCRIPT
    ),
    "/dashboard/eventsource-parser/errors.js": _file(
        "vendor/eventsource-parser/errors.js", _JAVASCRIPT
    ),
    "/dashboard/uplot.js": _file("vendor/uplot/uPlot.esm.js", _JAVASCRIPT),
    "/dashboard/uplot.css": _file("vendor/uplot/uPlot.min.css", _CSS),
    "/dashboard/pico.css": _file("vendor/pico/pico.indigo.min.css", _CSS),
}
"""What the dashboard loads, by path."""

DOCS: Mapping[str, Handler] = {
    "/docs/docs.js": _file("docs/docs.js", _JAVASCRIPT),
    "/docs/docs.css": _file("docs/docs.css", _CSS),
    "/docs/swagger-ui.js": _file("vendor/swagger-ui/swagger-ui-bundle.js", _JAVASCRIPT),
    "/docs/swagger-ui.css": _file("vendor/swagger-ui/swagger-ui.css", _CSS),
    "/docs/icon.png": _file("vendor/swagger-ui/favicon-32x32.png", "image/png"),
}
"""What the documentation's page loads."""

FILES: Mapping[str, Handler] = {**DASHBOARD, **DOCS}
"""What pages load. No other file can be had."""
