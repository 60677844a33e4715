"""Accounts, for admins: list, disable, enable and delete them, and change their scopes."""

from http import HTTPStatus

from aiohttp import hdrs, web

from pisync import keys
from pisync.telemetry.logs import get_logger
from pisync.web.contract import rendering
from pisync.web.contract.headers import (
    TOTAL_HEADER,
)
from pisync.web.contract.request import (
    read_json,
    read_query,
)
from pisync.web.contract.schemas import (
    AccountBody,
    AccountsQuery,
)

_ACCOUNT = AccountBody()

_log = get_logger()


def _username(request: web.Request) -> str:
    return request.match_info["username"]


async def list_accounts(request: web.Request) -> web.Response:
    """List accounts by name, ignoring case, a page at a time.

    The header `Link` leads to the next page, if there is one.
    """
    query = read_query(request, AccountsQuery)
    limit = query["limit"]
    page = await request.app[keys.ACCOUNTS].page(query["after"] or "", limit)
    headers = {TOTAL_HEADER: str(page.total)}
    if page.more:
        after = page.accounts[-1].key
        headers[hdrs.LINK] = rendering.next_page(
            "/admin/accounts", {"limit": limit, "after": after}
        )
    return rendering.answer(
        [rendering.account(account) for account in page.accounts], headers=headers
    )


async def get_account(request: web.Request) -> web.Response:
    """Return an account."""
    account = await request.app[keys.ACCOUNTS].account(_username(request))
    return rendering.answer(rendering.account(account))


async def patch_account(request: web.Request) -> web.Response:
    """Disable or enable an account, or change its scopes.

    A change ends all tokens of the account, on every replica within 5 seconds. The account `admin`
    can't be changed.
    """
    changes = await read_json(request, _ACCOUNT)
    account = await request.app[keys.ACCOUNTS].change(_username(request), **changes)
    _audit("account changed", request, **rendering.account(account))
    return rendering.answer(rendering.account(account))


async def delete_account(request: web.Request) -> web.Response:
    """Delete an account, and end its tokens.

    Whoever registers the name afterwards gets a new account. The account `admin` can't be deleted.
    """
    await request.app[keys.ACCOUNTS].delete(_username(request))
    _audit("account deleted", request, username=_username(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _audit(event: str, request: web.Request, **account: object) -> None:
    """Log who changed an account."""
    _log.info(
        event, **account, by=request[keys.CLAIMS].subject, request_id=request[keys.REQUEST_ID]
    )
