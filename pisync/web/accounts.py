"""Registering and logging in."""

from http import HTTPStatus

import orjson
from aiohttp import hdrs, web

from pisync.accounts import NameTaken, WrongCredentials
from pisync.keys import ACCOUNTS, METRICS, SETTINGS, TOKENS
from pisync.lines import Busy
from pisync.metrics import Login
from pisync.stores.base import Account
from pisync.throttle import TooManyFailures
from pisync.web.client_address import client_address
from pisync.web.parsing import read_json
from pisync.web.problems import (
    JSON_TYPE,
    Problem,
    conflict,
    too_many,
    unauthorized,
    unavailable,
)
from pisync.web.schemas import LoginBody, RegisterBody

_REGISTER = RegisterBody()
_LOGIN = LoginBody()


async def register(request: web.Request) -> web.Response:
    """Add an account, and answer with a token for it."""
    given = await read_json(request, _REGISTER)
    try:
        account = await request.app[ACCOUNTS].register(given["username"], given["password"])
    except NameTaken:
        raise conflict("This username is taken.") from None
    except Busy:
        raise _busy() from None
    return _welcome(request, account, HTTPStatus.CREATED, "User registered successfully.")


async def login(request: web.Request) -> web.Response:
    """Answer with a token, if name and password belong together."""
    given = await read_json(request, _LOGIN)
    address = client_address(request, request.app[SETTINGS].trusted_proxies)
    count = request.app[METRICS].login
    try:
        account = await request.app[ACCOUNTS].login(given["username"], given["password"], address)
    except WrongCredentials:
        count(Login.WRONG)
        raise unauthorized("Invalid username or password.", token_sent=False) from None
    except TooManyFailures as refused:
        count(Login.THROTTLED)
        raise too_many("Too many failed logins.", refused.retry_after) from None
    except Busy:
        raise _busy() from None
    count(Login.OK)
    return _welcome(request, account, HTTPStatus.OK, "Login successful.")


def _welcome(
    request: web.Request, account: Account, status: HTTPStatus, message: str
) -> web.Response:
    token = request.app[TOKENS].issue(account.name, account.scopes)
    body = orjson.dumps({"message": message, "token": token})
    return web.Response(status=status, body=body, headers={hdrs.CONTENT_TYPE: JSON_TYPE})


def _busy() -> Problem:
    return unavailable("Too many passwords wait to be checked.")
