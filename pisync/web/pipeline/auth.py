"""Who may call what: one middleware, since each costs every request its time."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import jwt
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from aiohttp_jwt import JWTMiddleware

from pisync import keys
from pisync.auth.tokens import (
    ALGORITHM,
    ISSUER,
    Claims,
    InvalidToken,
    Tokens,
)
from pisync.telemetry.logs import get_event_logger
from pisync.web.contract.problems import (
    Problem,
    unauthorized,
)

ANY_TOKEN = ""
"""The scope that stands for none: any valid token will do."""


def guard(tokens: Tokens, access: Mapping[Handler, str | None]) -> Middleware:
    """Return the middleware that lets requests pass to the handlers that their tokens open.

    `access` says for a handler which scope it takes, or None if it is open to all. Any other
    handler, such as the router's own for a path that is not there, takes a valid token.
    """
    verifier = Verifier(tokens)
    log_refusal = refusal_logger()

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        # By what the router has found, not by the path: a path can be written in many ways.
        scope = access.get(request.match_info.route.handler, ANY_TOKEN)
        if scope is None:
            return await handler(request)
        token = _bearer_token(request)
        try:
            claims = tokens.remembered(token) or await verifier.verify(token)
        except InvalidToken as flaw:
            log_refusal(reason=str(flaw), request_id=request.get(keys.REQUEST_ID))
            raise invalid_token() from None
        if scope and scope not in claims.scopes:
            raise _forbidden(scope)
        request[keys.CLAIMS] = claims
        return await handler(request)

    return guarded


def refusal_logger() -> Callable[..., None]:
    """Return what writes the line, `reason` and `request_id`, of a token that is not accepted."""
    return get_event_logger("token refused")


def invalid_token() -> Problem:
    """Return the answer to a token that is not accepted."""
    return unauthorized("The token is not valid.", token_sent=True)


def _bearer_token(request: web.Request) -> str:
    sent = request.headers.getall(hdrs.AUTHORIZATION, ())
    if len(sent) > 1:
        raise unauthorized("Send one Authorization header, not several.", token_sent=True)
    scheme, _, token = sent[0].partition(" ") if sent else ("", "", "")
    token = token.strip(" ")
    if not token or scheme.lower() != "bearer":
        raise unauthorized("Send a token: Authorization: Bearer …", token_sent=False)
    return token


def _forbidden(scope: str) -> Problem:
    challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
    return Problem(
        HTTPStatus.FORBIDDEN,
        f"The token lacks the scope {scope}.",
        headers={hdrs.WWW_AUTHENTICATE: challenge},
    )


class _Presented(dict[str, Any]):
    """What aiohttp-jwt gets to see in the place of a request: a token, and a place for its claims.

    The request itself would make it look at more: it lets any OPTIONS pass unverified.
    """

    method = hdrs.METH_GET

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token


class Verifier:
    """Has aiohttp-jwt verify tokens; whatever it makes of a bad one becomes InvalidToken."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        secrets = (tokens.secret, tokens.previous_secret)
        self._verifiers = [_middleware(secret) for secret in secrets if secret is not None]
        # It logs a traceback for every bad token.
        logging.getLogger(JWTMiddleware.__module__).setLevel(logging.CRITICAL)

    async def verify(self, token: str) -> Claims:
        """Return what a token says, and have it remembered. Raises InvalidToken."""
        self._tokens.check_form(token)
        return self._tokens.accept(token, await self._payload(token))

    async def _payload(self, token: str) -> object:
        flaws = []
        for verify in self._verifiers:
            try:
                return await verify(_Presented(token), _payload_of)
            # It, and what it calls, raise all sorts of things for tokens that somebody made up.
            except Exception as refused:  # noqa: BLE001
                flaws.append(refused.__context__ or refused)
        # Of a token that is signed with one of the secrets, what else is wrong with it.
        cause = min(flaws, key=lambda flaw: isinstance(flaw, jwt.InvalidSignatureError))
        reason = type(cause).__name__
        # A token from the future becomes good one day; the others stay bad.
        if not isinstance(cause, jwt.ImmatureSignatureError):
            self._tokens.refuse(token, reason)
        raise InvalidToken(reason)


def _middleware(secret: str) -> Any:
    return JWTMiddleware(
        secret,
        algorithms=[ALGORITHM],
        issuer=ISSUER,
        request_property="payload",
        token_getter=lambda presented: presented.token,
    )


async def _payload_of(presented: _Presented) -> object:
    return presented["payload"]
