"""Error logs: what failed attempts leave behind."""

from aiohttp import hdrs, web

from pisync import keys
from pisync.model import timestamp
from pisync.model.device import ErrorFilter, ErrorPage
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
    cache, key = app[PAGES], (fleet, "/errors", raw_query)
    current = cache.current(key)
    if current is not None:
        return current
    error_filter, limit = parse_query(raw_query, ErrorsQuery)
    page = await app[keys.SIMULATOR].queries.errors(fleet, error_filter, limit)
    logs = [rendering.error_log(log) for log in page.error_logs]
    rendered = Rendered.of(logs, _page_headers(page, error_filter, limit))
    cache.put(key, page.version, rendered)
    return rendered


def _page_headers(page: ErrorPage, error_filter: ErrorFilter, limit: int) -> dict[str, str]:
    if not page.more:
        return {}
    query = {
        "limit": limit,
        "before": page.error_logs[-1].error_id,
        "device_id": error_filter.device_id,
        "status": error_filter.statuses and ",".join(map(str, sorted(error_filter.statuses))),
        "since": None if error_filter.since is None else timestamp.render(error_filter.since),
    }
    return {hdrs.LINK: rendering.next_page("/errors", query)}
