"""Pages for browsers: the dashboard and this documentation, with all that they load.

Files are read when this module is imported, and compressed once: an upgrade of the package while it
runs changes nothing of what is served.
"""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from pisync.web.contract.compression import accepts_gzip
from pisync.web.contract.problems import JSON_TYPE
from pisync.web.contract.rendering import Headers, Rendered, tag_of, to_json
from pisync.web.pipeline.base_url import is_below_base_url

_CACHING = {
    # To be asked for each time: tomorrow's may be of another version.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
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
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    **_CACHING,
}

MakeDocument = Callable[[], Mapping[str, Any]]

OPENAPI: web.AppKey[MakeDocument] = web.AppKey("OPENAPI")
"""Makes the OpenAPI document."""
FLEETS_SCHEMA: web.AppKey[MakeDocument] = web.AppKey("FLEETS_SCHEMA")
"""Makes the JSON Schema of fleet files."""

_FOLDER = Path(__file__).parent.parent


class Content:
    """A body for browsers, as it is and compressed; each has an ETag of its own."""

    def __init__(self, body: bytes, content_type: str, headers: Headers) -> None:
        self._plain = Rendered(body, tag_of(body), content_type, headers)

    @cached_property
    def _compressed(self) -> Rendered:
        plain = self._plain
        body = gzip.compress(plain.body, mtime=0)
        if len(body) >= len(plain.body):
            return plain
        headers = {**(plain.headers or {}), hdrs.CONTENT_ENCODING: "gzip"}
        return Rendered(body, tag_of(body), plain.content_type, headers)

    def compress(self) -> None:
        """Compress the body, so that no request has to wait for it."""
        _ = self._compressed

    def answer(self, request: web.Request) -> web.Response:
        """Return the answer, compressed if the client takes that."""
        accepted = ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ()))
        return (self._compressed if accepts_gzip(accepted) else self._plain).answer(request)


def _read(name: str, content_type: str) -> Content:
    return Content(_FOLDER.joinpath(name).read_bytes(), content_type, _HEADERS)


_HTML = "text/html; charset=utf-8"
_DASHBOARD = _read("dashboard/index.html", _HTML)
_DOCS = _read("docs/index.html", _HTML)


def _below_base_url(page: bytes) -> bytes:
    """Return a page of `/` as it is at `/fleets/{fleet}/`: what it refers to is further up."""
    return re.sub(rb'(href|src)="(?=\w)', rb'\1="../../', page)


_DASHBOARD_OF_FLEET = Content(
    _below_base_url(_FOLDER.joinpath("dashboard/index.html").read_bytes()), _HTML, _HEADERS
)


async def get_dashboard(request: web.Request) -> web.Response:
    """Return the dashboard, a page that shows a fleet."""
    page = _DASHBOARD_OF_FLEET if is_below_base_url(request) else _DASHBOARD
    return page.answer(request)


async def get_docs(request: web.Request) -> web.Response:
    """Return this documentation, a page on which every call can be tried."""
    return _DOCS.answer(request)


async def get_openapi(request: web.Request) -> web.Response:
    """Return the OpenAPI document of all calls."""
    document = await asyncio.to_thread(_document, request.app[OPENAPI])
    return document.answer(request)


async def get_fleets_schema(request: web.Request) -> web.Response:
    """Return the JSON Schema of fleet files, by which editors complete them."""
    document = await asyncio.to_thread(_document, request.app[FLEETS_SCHEMA])
    return document.answer(request)


@cache
def _document(make: MakeDocument) -> Content:
    return Content(to_json(make()), JSON_TYPE, _CACHING)


async def prepare_pages(app: web.Application) -> AsyncIterator[None]:
    """Make documents and compress all pages while the application starts (for `cleanup_ctx`)."""
    preparing = asyncio.create_task(asyncio.to_thread(prepare, app[OPENAPI], app[FLEETS_SCHEMA]))
    yield
    await preparing


def prepare(*make_documents: MakeDocument) -> None:
    """Make documents and compress all pages."""
    documents = map(_document, make_documents)
    for content in (_DASHBOARD, _DASHBOARD_OF_FLEET, _DOCS, *_CONTENTS.values(), *documents):
        content.compress()


def _file(content: Content) -> Handler:
    async def file(request: web.Request) -> web.Response:
        return content.answer(request)

    return file


_JAVASCRIPT = "text/javascript; charset=utf-8"
_CSS = "text/css; charset=utf-8"

# A request's path is only ever looked up among these names.
_MODULES = sorted(
    path.relative_to(_FOLDER).as_posix() for path in (_FOLDER / "dashboard").rglob("*.js")
)

_DASHBOARD_FILES: Mapping[str, Content] = {
    **{f"/{name}": _read(name, _JAVASCRIPT) for name in _MODULES},
    "/dashboard/style.css": _read("dashboard/style.css", _CSS),
    "/dashboard/icon.svg": _read("dashboard/icon.svg", "image/svg+xml"),
    "/dashboard/preact.js": _read("vendor/htm/standalone.module.js", _JAVASCRIPT),
    "/dashboard/eventsource-parser/parse.js": _read(
        "vendor/eventsource-parser/parse.js", _JAVASCRIPT
    ),
    "/dashboard/eventsource-parser/errors.js": _read(
        "vendor/eventsource-parser/errors.js", _JAVASCRIPT
    ),
    "/dashboard/uplot.js": _read("vendor/uplot/uPlot.esm.js", _JAVASCRIPT),
    "/dashboard/uplot.css": _read("vendor/uplot/uPlot.min.css", _CSS),
    "/dashboard/pico.css": _read("vendor/pico/pico.indigo.min.css", _CSS),
}

_DOCS_FILES: Mapping[str, Content] = {
    "/docs/docs.js": _read("docs/docs.js", _JAVASCRIPT),
    "/docs/docs.css": _read("docs/docs.css", _CSS),
    "/docs/swagger-ui.js": _read("vendor/swagger-ui/swagger-ui-bundle.js", _JAVASCRIPT),
    "/docs/swagger-ui.css": _read("vendor/swagger-ui/swagger-ui.css", _CSS),
    "/docs/icon.png": _read("vendor/swagger-ui/favicon-32x32.png", "image/png"),
}

_CONTENTS = {**_DASHBOARD_FILES, **_DOCS_FILES}

DASHBOARD = frozenset(_DASHBOARD_FILES)
"""The paths that the dashboard loads."""
DOCS = frozenset(_DOCS_FILES)
"""The paths that the documentation's page loads."""
FILES: Mapping[str, Handler] = {path: _file(content) for path, content in _CONTENTS.items()}
"""What pages load, by path. No other file can be had."""
