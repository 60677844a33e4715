"""Error logs."""

from aiohttp import hdrs, web

from pisync import keys
from pisync.model import timestamp
from pisync.web import render
from pisync.web.devices import fleet_of
from pisync.web.parsing import read_query
from pisync.web.schemas import ErrorsQuery


async def list_errors(request: web.Request) -> web.Response:
    """List a page of error logs, newest first.

    The header `Link` leads to the next page, and is there while one follows.
    """
    which, limit = read_query(request, ErrorsQuery)
    page = await request.app[keys.STORE].errors(fleet_of(request), which, limit)
    headers = {}
    if page.more:
        headers[hdrs.LINK] = render.next_page(
            "/errors",
            {
                "limit": limit,
                "before": page.error_logs[-1].error_id,
                "device_id": which.device_id,
                "status": which.status,
                "since": None if which.since is None else timestamp.render(which.since),
            },
        )
    return render.answer([render.error_log(each) for each in page.error_logs], headers=headers)
