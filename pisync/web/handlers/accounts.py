"""Register, log in, and change a password."""

from http import HTTPStatus

import orjson
from aiohttp import hdrs, web

from pisync.auth.accounts import (
    NameTaken,
    WrongCredentials,
)
from pisync.auth.login_throttle import TooManyFailures
from pisync.concurrency.keyed_queue import Busy
from pisync.keys import ACCOUNTS, CLAIMS, METRICS, SETTINGS, TOKENS
from pisync.model.account import Account
from pisync.telemetry.metrics import Login
from pisync.web.contract.problems import (
    JSON_TYPE,
    Problem,
    conflict,
    invalid,
    too_many,
    unauthorized,
    unavailable,
)
from pisync.web.contract.request import read_json
from pisync.web.contract.schemas import (
    LoginBody,
    PasswordBody,
    RegisterBody,
)
from pisync.web.pipeline.client_address import client_address

_REGISTER = RegisterBody()
_LOGIN = LoginBody()
_PASSWORD = PasswordBody()


async def register(request: web.Request) -> web.Response:
    """Create an account, and return a token for it."""
    body = await read_json(request, _REGISTER)
    try:
        account = await request.app[ACCOUNTS].register(body["username"], body["password"])
    except NameTaken:
        raise conflict("This username is taken.") from None
    except Busy:
        raise _busy() from None
    return _welcome(request, account, HTTPStatus.CREATED, "User registered successfully.")


async def login(request: web.Request) -> web.Response:
    """Return a token for a username and its password."""
    body = await read_json(request, _LOGIN)
    address = client_address(request, request.app[SETTINGS].trusted_proxies)
    count = request.app[METRICS].login
    try:
        account = await request.app[ACCOUNTS].login(body["username"], body["password"], address)
    except WrongCredentials:
        count(Login.WRONG)
        raise unauthorized("Invalid username or password.", token_sent=False) from None
    except TooManyFailures as refused:
        count(Login.THROTTLED)
        raise _throttled(refused) from None
    except Busy:
        raise _busy() from None
    count(Login.OK)
    return _welcome(request, account, HTTPStatus.OK, "Login successful.")


async def change_password(request: web.Request) -> web.Response:
    """Change the password of the account that the token is for.

    The answer has a new token; all others of the account end. A wrong password counts as a failed
    login.
    """
    body = await read_json(request, _PASSWORD)
    address = client_address(request, request.app[SETTINGS].trusted_proxies)
    try:
        account = await request.app[ACCOUNTS].change_password(
            request[CLAIMS].subject, body["password"], body["new_password"], address
        )
    except WrongCredentials:
        raise invalid({"password": ["Must be the account's current password."]}) from None
    except TooManyFailures as refused:
        raise _throttled(refused) from None
    except Busy:
        raise _busy() from None
    return _welcome(request, account, HTTPStatus.OK, "Password changed.")


def _welcome(
    request: web.Request, account: Account, status: HTTPStatus, message: str
) -> web.Response:
    # No more claims than promised while there is no need for them.
    generation = account.tokens_since or None
    # Whoever was let into one fleet gets no token for all.
    bound = request[CLAIMS].fleet if CLAIMS in request else None
    token = request.app[TOKENS].issue(
        account.name, account.scopes, generation=generation, fleet=bound
    )
    body = orjson.dumps({"message": message, "token": token})
    return web.Response(status=status, body=body, headers={hdrs.CONTENT_TYPE: JSON_TYPE})


def _throttled(refused: TooManyFailures) -> Problem:
    return too_many("Too many failed logins.", refused.retry_after)


def _busy() -> Problem:
    return unavailable("Too many passwords are waiting to be hashed. Try again.")
