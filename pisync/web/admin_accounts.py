"""Accounts, for admins: who there is, who may do what, who may not any more."""

from http import HTTPStatus

from aiohttp import hdrs, web

from pisync import keys
from pisync.logs import get_logger
from pisync.web import render
from pisync.web.devices import TOTAL_HEADER
from pisync.web.parsing import read_json, read_query
from pisync.web.schemas import AccountBody, AccountsQuery

_ACCOUNT = AccountBody()

_log = get_logger()


def _username(request: web.Request) -> str:
    return request.match_info["username"]


async def list_accounts(request: web.Request) -> web.Response:
    """List a page of accounts, by their names in lower case.

    The header `Link` leads to the next page, and is there while one follows.
    """
    query = read_query(request, AccountsQuery)
    limit = query["limit"]
    page = await request.app[keys.ACCOUNTS].page(query["after"] or "", limit)
    headers = {TOTAL_HEADER: str(page.total)}
    if page.more:
        after = page.accounts[-1].key
        headers[hdrs.LINK] = render.next_page("/admin/accounts", {"limit": limit, "after": after})
    return render.answer([render.account(each) for each in page.accounts], headers=headers)


async def get_account(request: web.Request) -> web.Response:
    """Look at an account."""
    account = await request.app[keys.ACCOUNTS].account(_username(request))
    return render.answer(render.account(account))


async def patch_account(request: web.Request) -> web.Response:
    """Disable an account, enable it, or change its scopes.

    A change ends all tokens of the account: within 5 s they are refused on every replica. The
    account `admin` stays as it is.
    """
    given = await read_json(request, _ACCOUNT)
    account = await request.app[keys.ACCOUNTS].change(_username(request), **given)
    _audit("account changed", request, **render.account(account))
    return render.answer(render.account(account))


async def delete_account(request: web.Request) -> web.Response:
    """Delete an account, and end its tokens.

    Whoever registers the name after that gets another account. The account `admin` stays.
    """
    await request.app[keys.ACCOUNTS].delete(_username(request))
    _audit("account deleted", request, username=_username(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _audit(what: str, request: web.Request, **account: object) -> None:
    """Write down who did it."""
    _log.info(what, **account, by=request[keys.CLAIMS].subject, request_id=request[keys.REQUEST_ID])
