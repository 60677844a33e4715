"""Tokens: made here, and what is asked of one beside its signature and its time."""

import re
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import jwt
import orjson

ALGORITHM = "HS256"
ISSUER = "pisync"

REMEMBERED = 10_000
"""How many tokens are remembered; the same number again of bad ones."""

_LONGEST = 8192
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Other header parameters point at keys, or change what a token means.
_HEADERS = frozenset({"alg", "typ", "kid"})

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class InvalidToken(Exception):
    """A token that is not accepted. Its text says why, and tells nothing of the token itself."""


class Claims(NamedTuple):
    """What a token says: whose it is, what it is good for, and until when (seconds since 1970)."""

    subject: str
    scopes: frozenset[str]
    expires_at: float


class Tokens:
    """Issues tokens, and remembers how those turned out that were shown last.

    `secret` has 32 bytes or more; `ttl` is in seconds; `now` gives seconds since 1970.
    """

    def __init__(self, secret: str, ttl: int, *, now: Callable[[], float] = time.time) -> None:
        self.secret = secret
        self._ttl = ttl
        self._now = now
        self._accepted = _Latest[str, Claims]()
        # By digest: whoever calls could else fill the memory with long tokens of their own making.
        self._refused = _Latest[bytes, str]()

    def issue(self, name: str, scopes: Iterable[str], ttl: int | None = None) -> str:
        """Return a token for `name`, good for `ttl` seconds (if None: as long as is usual here)."""
        issued_at = int(self._now())
        payload = {
            "iss": ISSUER,
            "sub": name,
            "scopes": list(scopes),
            "iat": issued_at,
            "exp": issued_at + (self._ttl if ttl is None else ttl),
        }
        return jwt.encode(payload, self.secret, ALGORITHM)

    def remembered(self, token: str) -> Claims | None:
        """Return what a token says that was accepted before and has not expired, else None."""
        claims = self._accepted.get(token)
        return claims if claims is not None and self._now() < claims.expires_at else None

    def check_form(self, token: str) -> None:
        """Raise InvalidToken if a token has the wrong form, or was refused before."""
        reason = self._refused.get(_digest(token)) or _flaw_of_form(token)
        if reason:
            raise InvalidToken(reason)

    def accept(self, token: str, payload: object) -> Claims:
        """Return what a token says whose signature and times are good, and remember it.

        Raises InvalidToken if claims are missing or have the wrong type, and remembers that.
        """
        try:
            claims = claims_of(payload)
        except InvalidToken as flaw:
            self.refuse(token, str(flaw))
            raise
        self._accepted.keep(token, claims)
        return claims

    def refuse(self, token: str, reason: str) -> None:
        """Remember a token as bad, for a reason that will not go away."""
        self._accepted.pop(token, None)
        self._refused.keep(_digest(token), reason)


def claims_of(payload: object) -> Claims:
    """Return the claims of a token's payload; raises InvalidToken where one is not as it must be.

    Scopes that are missing, or no list of strings, count as none.
    """
    if not isinstance(payload, Mapping):
        raise InvalidToken("no claims")
    if payload.get("iss") != ISSUER:
        raise InvalidToken("iss is another")
    subject = payload.get("sub")
    if not isinstance(subject, str) or not subject:
        raise InvalidToken("sub is no name")
    return Claims(subject, _scopes(payload.get("scopes")), _expiry(payload.get("exp")))


def _expiry(exp: object) -> float:
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        raise InvalidToken("exp is no number")
    try:
        # Whole seconds, as PyJWT compares them: being remembered lengthens no token's life.
        return float(int(exp))
    except (OverflowError, ValueError):
        raise InvalidToken("exp is no time") from None


def _scopes(scopes: object) -> frozenset[str]:
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return frozenset()
    return frozenset(scopes)


def _flaw_of_form(token: str) -> str | None:
    """Say what is wrong with a token's shape or header, before a library believes either."""
    if len(token) > _LONGEST:
        return "too long"
    form = _FORM.fullmatch(token)
    if form is None:
        return "not three parts of base64url"
    header = _decode(form[1])
    if not isinstance(header, dict):
        return "header is no object"
    if header.get("alg") != ALGORITHM:
        return "alg is another"
    if not header.keys() <= _HEADERS:
        return "header has more than alg, typ and kid"
    return None


def _decode(part: str) -> Any:
    try:
        return orjson.loads(urlsafe_b64decode(part + "=="))
    except ValueError:
        return None


def _digest(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Latest(OrderedDict[_Key, _Value]):
    """The values that were kept last; the oldest goes when there are too many."""

    def keep(self, key: _Key, value: _Value) -> None:
        self[key] = value
        if len(self) > REMEMBERED:
            self.popitem(last=False)
