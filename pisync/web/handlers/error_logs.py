"""Error logs: what failed attempts leave behind."""

from aiohttp import hdrs, web

from pisync import keys
from pisync.model import timestamp
from pisync.stores.base import ErrorFilter, ErrorPage
from pisync.web.contract import rendering
from pisync.web.contract.rendering import Rendered
from pisync.web.contract.request import (
    fleet_of,
    parse_query,
)
from pisync.web.contract.schemas import ErrorsQuery
from pisync.web.handlers.page_cache import PAGES


async def list_errors(request: web.Request) -> web.Response:
    """List error logs, newest first, a page at a time.

    The header `Link` leads to the next page, if there is one.
    """
    page = await page_of(request.app, fleet_of(request), request.rel_url.raw_query_string)
    return page.answer(request)


async def page_of(app: web.Application, fleet: str, raw_query: str) -> Rendered:
    """Return the page of a fleet's error logs that a query asks for."""
    which, limit = parse_query(raw_query, ErrorsQuery)
    cache = app[PAGES]
    asked = fleet, ErrorsQuery, raw_query
    page = await app[keys.STORE].errors(fleet, which, limit)
    rendered = cache.get(asked, page.version)
    if rendered is None:
        logs = [rendering.error_log(each) for each in page.error_logs]
        rendered = Rendered.of(logs, _page_headers(page, which, limit))
        cache.put(asked, page.version, rendered)
    return rendered


def _page_headers(page: ErrorPage, which: ErrorFilter, limit: int) -> dict[str, str]:
    if not page.more:
        return {}
    query = {
        "limit": limit,
        "before": page.error_logs[-1].error_id,
        "device_id": which.device_id,
        "status": which.status,
        "since": None if which.since is None else timestamp.render(which.since),
    }
    return {hdrs.LINK: rendering.next_page("/errors", query)}
