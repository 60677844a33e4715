"""The journal: what the clients of a fleet have done, to read and to verify."""

import asyncio
from http import HTTPStatus

from aiohttp import hdrs, web

from pisync import keys
from pisync.model import timestamp
from pisync.model.requests.expectation import verify
from pisync.model.requests.journal import MAX_JOURNAL, JournalPage, RequestFilter
from pisync.web.contract import rendering
from pisync.web.contract.request import read_json, read_query
from pisync.web.contract.requests.schemas import RequestsQuery, VerifyBody

_VERIFY = VerifyBody()


async def list_requests(request: web.Request) -> web.Response:
    """List the requests in a fleet's journal, newest first, a page at a time.

    Those are the requests of the calls that faults know, too, with a good token, whatever came of
    them. The header `Link` leads to the next page, if there is one.
    """
    name = request.match_info["fleet"]
    which, limit = read_query(request, RequestsQuery)
    page = await request.app[keys.SIMULATOR].requests.journal(name, which, limit)
    found = [rendering.journaled(each) for each in page.requests]
    return rendering.answer(found, headers=_page_headers(name, page, which, limit))


def _page_headers(name: str, page: JournalPage, which: RequestFilter, limit: int) -> dict[str, str]:
    if not page.more:
        return {}
    query = {
        "limit": limit,
        "before": page.requests[-1].number,
        "call": which.calls and ",".join(sorted(which.calls)),
        "device_id": which.device_id,
        "user": which.user,
        "status": which.statuses and ",".join(map(str, sorted(which.statuses))),
        "fault": which.faults and ",".join(sorted(which.faults)),
        "since": None if which.since is None else timestamp.render(which.since),
    }
    return {hdrs.LINK: rendering.next_page(f"/admin/fleets/{name}/requests", query)}


async def clear_requests(request: web.Request) -> web.Response:
    """Empty a fleet's journal. Numbers go on."""
    await request.app[keys.SIMULATOR].requests.clear_journal(request.match_info["fleet"])
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def verify_requests(request: web.Request) -> web.Response:
    """Check that a fleet's journal has the requests that are expected.

    For what is not as expected, the answer has the requests that come closest.
    """
    body = await read_json(request, _VERIFY)
    requests = request.app[keys.SIMULATOR].requests
    page = await requests.journal(request.match_info["fleet"], RequestFilter(), MAX_JOURNAL)
    # A long journal takes longer than other requests should wait for.
    problems = await asyncio.to_thread(
        verify, body["requests"], page.requests, in_order=body["in_order"]
    )
    return rendering.answer(rendering.verification(problems))
