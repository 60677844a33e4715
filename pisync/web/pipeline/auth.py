"""Who may call what: one middleware, since each costs every request its time."""

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import jwt
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from aiohttp_jwt import JWTMiddleware
from multidict import CIMultiDictProxy

from pisync import keys
from pisync.auth.tokens import (
    ALGORITHM,
    ISSUER,
    Claims,
    Flaw,
    InvalidToken,
    Tokens,
    payload_of,
)
from pisync.telemetry.logs import get_event_logger
from pisync.web.contract.problems import (
    Problem,
    unauthorized,
)
from pisync.web.pipeline.addressed_fleet import addressed_fleet

_BEARER: Final = "Bearer "
_LEN_BEARER: Final = len(_BEARER)
Headers = CIMultiDictProxy[str]

ANY_TOKEN = ""
"""The scope that stands for none: any valid token will do."""


class Guard:
    """Decides who may call what, in the same way whichever way a request takes."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._verifier = Verifier(tokens)
        self._log_refusal = get_event_logger("token refused")

    def decide(
        self, headers: Headers, scope: str, request_id: str | None
    ) -> Claims | Problem | None:
        """Return the claims of a request that may be made, or the answer to one that may not.

        None where a token was not seen lately, so that its signature has to be verified.
        """
        sent: Sequence[str] = headers.getall(hdrs.AUTHORIZATION, ())
        # What nearly all send; what follows means the same by it.
        claims = self.remembered(sent[0][_LEN_BEARER:], scope) if len(sent) == 1 else None
        if claims is not None and sent[0].startswith(_BEARER):
            return claims
        token = bearer_token(headers)
        if isinstance(token, Problem):
            return token
        claims = self._tokens.remembered(token)
        if claims is not None:
            return _with_scope(claims, scope)
        flaw = self._tokens.flaw(token)
        return None if flaw is None else self._invalid(flaw, request_id)

    def remembered(self, token: str, scope: str) -> Claims | None:
        """Return the claims of a token with this scope that was seen lately, and is still good."""
        claims = self._tokens.remembered(token)
        return claims if claims is not None and scope in claims.scopes else None

    async def admit(self, headers: Headers, scope: str, request_id: str | None) -> Claims:
        """Return the claims of a request that may be made.

        Raises:
            Problem: 401 or 403.
        """
        decision = self.decide(headers, scope, request_id)
        if decision is None:
            try:
                claims = await self._verifier.verify(str(bearer_token(headers)))
            except InvalidToken as refusal:
                raise self._invalid(refusal.flaw, request_id) from None
            decision = _with_scope(claims, scope)
        if isinstance(decision, Problem):
            raise decision
        return decision

    def _invalid(self, flaw: Flaw, request_id: str | None) -> Problem:
        self._log_refusal(reason=flaw.reason, request_id=request_id)
        return unauthorized(
            "The token is not valid.", token_sent=True, description=flaw.description
        )


GUARD = web.AppKey("GUARD", Guard)


def guarding(
    guard: Guard, access: Mapping[Handler, str | None], named: Callable[[str], None]
) -> Middleware:
    """Return the middleware that lets requests pass to the handlers that their tokens open.

    `access` says for a handler which scope it takes, or None if it is open to all. Any other
    handler, such as the router's own for a path that is not there, takes a valid token. `named` is
    called with the fleet of each request that passes.
    """

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        # By what the router has found, not by the path: a path can be written in many ways.
        found = request.match_info
        scope = access.get(found.route.handler, ANY_TOKEN)
        claims = None
        if scope is not None:
            request_id = request.get(keys.REQUEST_ID)
            claims = await guard.admit(request.headers, scope, request_id)
        bound = None if claims is None else claims.fleet
        request[keys.FLEET] = addressed_fleet(request.headers, found.get("fleet"), bound, scope)
        if claims is not None:
            request[keys.CLAIMS] = claims
        if scope is not None or "fleet" in found:
            named(request[keys.FLEET])
        return await handler(request)

    return guarded


def bearer_token(headers: Headers) -> str | Problem:
    """Return the token in a request's headers, or the answer to a request that has none."""
    sent = headers.getall(hdrs.AUTHORIZATION, ())
    if len(sent) > 1:
        return unauthorized("Send one Authorization header, not several.", token_sent=True)
    scheme, _, token = sent[0].partition(" ") if sent else ("", "", "")
    token = token.strip(" ") if scheme.lower() == "bearer" else ""
    return token or unauthorized("Send a token: Authorization: Bearer …", token_sent=False)


def _with_scope(claims: Claims, scope: str) -> Claims | Problem:
    return claims if not scope or scope in claims.scopes else _forbidden(scope)


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
    """Has aiohttp-jwt verify signatures; whatever it makes of a bad token becomes InvalidToken."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        secrets = (tokens.secret, tokens.previous_secret)
        self._verifiers = [_middleware(secret) for secret in secrets if secret is not None]
        # It logs a traceback for every bad token.
        logging.getLogger(JWTMiddleware.__module__).setLevel(logging.CRITICAL)

    async def verify(self, token: str) -> Claims:
        """Return what a token says, and have it remembered.

        Raises:
            InvalidToken: The token is not good.
        """
        self._tokens.check_form(token)
        return self._tokens.accept(token, await self._payload(token))

    async def _payload(self, token: str) -> object:
        """Return the payload of a token whose signature is right.

        Raises:
            InvalidToken: It was signed with another secret, or not at all.
        """
        cause: BaseException | None = None
        for verify in self._verifiers:
            try:
                return await verify(_Presented(token), _payload_of)
            # It, and what it calls, raise all sorts of things for tokens that somebody made up.
            except Exception as refused:  # noqa: BLE001
                cause = refused.__context__ or refused
            if isinstance(cause, _AFTER_THE_SIGNATURE):
                # Its claims are judged where all are.
                return payload_of(token)
        flaw = Flaw(type(cause).__name__)
        self._tokens.refuse(token, flaw)
        raise InvalidToken(flaw)


_AFTER_THE_SIGNATURE: Final = (
    *(jwt.ExpiredSignatureError, jwt.ImmatureSignatureError, jwt.InvalidAudienceError),
    *(jwt.InvalidIssuedAtError, jwt.InvalidIssuerError, jwt.exceptions.InvalidJTIError),
    *(jwt.exceptions.InvalidSubjectError, jwt.MissingRequiredClaimError),
)
"""What PyJWT raises for claims, at which it looks once a signature has turned out right."""


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
