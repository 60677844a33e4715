"""Tokens: how they are made, and what makes one good besides its signature and its time."""

import re
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import jwt
import orjson

from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.model.account import (
    TokenRevocation,
    account_key,
)
from pisync.model.timestamp import SECOND

ALGORITHM = "HS256"
ISSUER = "pisync"
GENERATION = "gen"
"""The claim that says to which generation of its account's tokens a token belongs.

Unlike `iat` it needs no clocks that agree, and tells apart tokens of the same second.
"""

REMEMBERED = 10_000
"""How many good tokens are remembered, and as many bad ones."""

_LONGEST = 8192
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Other header parameters point at keys, or change what a token means.
_HEADERS = frozenset({"alg", "typ", "kid"})

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class InvalidToken(Exception):
    """A token is not accepted. The text says why, and repeats nothing of the token."""


class Claims(NamedTuple):
    """What a token says: whose it is, what it is good for, and until when (seconds since 1970).

    `generation` is in microseconds since 1970, as an account's `tokens_since` is. That of a token
    which names none, since a service minted it, is when it was issued.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
    generation: float = 0.0

    def are_refused_by(self, restriction: TokenRevocation) -> bool:
        """Say whether a restriction on the subject's tokens is one on this token."""
        return restriction.disabled or self.generation < restriction.tokens_since


class Tokens:
    """Issues tokens, and remembers whether those shown lately were good.

    `secret` has 32 bytes or more. `previous_secret` still verifies tokens, but signs none. `ttl` is
    in seconds.
    """

    def __init__(
        self,
        secret: str,
        ttl: int,
        *,
        previous_secret: str | None = None,
        clocks: MachineClocks = SYSTEM_CLOCKS,
    ) -> None:
        self.secret = secret
        self.previous_secret = previous_secret
        self._ttl = ttl
        self._clocks = clocks
        self._accepted = _Latest[str, Claims]()
        # By digest: else callers could fill the memory with long tokens of their own making.
        self._refused = _Latest[bytes, str]()
        self._restrictions: dict[str, TokenRevocation] = {}
        self._watched: set[tuple[Claims, Callable[[], object]]] = set()

    def issue(
        self,
        name: str,
        scopes: Iterable[str],
        ttl: int | None = None,
        *,
        generation: int | None = None,
    ) -> str:
        """Return a token for `name`, good for `ttl` seconds (None: the usual time).

        `generation` is that of an account's tokens; without one, it is nobody's in particular.
        """
        issued_at = int(self._now())
        payload: dict[str, object] = {
            "iss": ISSUER,
            "sub": name,
            "scopes": list(scopes),
            "iat": issued_at,
            "exp": issued_at + (self._ttl if ttl is None else ttl),
        }
        if generation is not None:
            payload[GENERATION] = generation
        return jwt.encode(payload, self.secret, ALGORITHM)

    def remembered(self, token: str) -> Claims | None:
        """Return the claims of a token that was accepted before and has not expired, else None."""
        claims = self._accepted.get(token)
        return claims if claims is not None and self._now() < claims.expires_at else None

    def flaw(self, token: str) -> str | None:
        """Return why a token was refused before, for good; None if it was not."""
        return self._refused.get(_digest(token))

    def check_form(self, token: str) -> None:
        """Raise InvalidToken if a token has the wrong form, or was refused before."""
        reason = self.flaw(token) or _flaw_of_form(token)
        if reason:
            raise InvalidToken(reason)

    def accept(self, token: str, payload: object) -> Claims:
        """Return the claims of a token whose signature and times are good, and remember it.

        Raises InvalidToken if claims are missing or have the wrong type, which is remembered; or
        if a restriction refuses it, which is not, as it may be lifted.
        """
        try:
            claims = claims_of(payload)
        except InvalidToken as flaw:
            self.refuse(token, str(flaw))
            raise
        if self._are_refused(claims):
            raise InvalidToken("account disabled, or token ended")
        self._accepted.keep(token, claims)
        return claims

    def refuse(self, token: str, reason: str) -> None:
        """Remember a token as bad, for a reason that will not go away."""
        self._accepted.pop(token, None)
        self._refused.keep(_digest(token), reason)

    def restrict(self, restrictions: Iterable[TokenRevocation]) -> None:
        """From now on refuse what these refuse; each replaces the one with its key."""
        changed = {each.key: each for each in restrictions}
        if not changed:
            return
        self._restrictions |= changed
        # Those that are remembered are not looked at again.
        for token in [each for each, claims in self._accepted.items() if self._are_refused(claims)]:
            del self._accepted[token]
        for claims, end in [*self._watched]:
            if self._are_refused(claims):
                end()

    @contextmanager
    def watched(self, claims: Claims, end: Callable[[], object]) -> Iterator[None]:
        """Call `end` when a token with these claims is refused, for as long as this is entered."""
        if self._are_refused(claims):
            end()
        self._watched.add((claims, end))
        try:
            yield
        finally:
            self._watched.discard((claims, end))

    def _now(self) -> float:
        """Return seconds since 1970."""
        return self._clocks.wall() / SECOND

    def _are_refused(self, claims: Claims) -> bool:
        restriction = self._restrictions.get(account_key(claims.subject))
        return restriction is not None and claims.are_refused_by(restriction)


def claims_of(payload: object) -> Claims:
    """Return the claims of a token's payload; raises InvalidToken if one is wrong.

    Scopes that are missing, or not a list of strings, count as none.
    """
    if not isinstance(payload, Mapping):
        raise InvalidToken("no claims")
    if payload.get("iss") != ISSUER:
        raise InvalidToken("iss is not pisync")
    subject = payload.get("sub")
    if not isinstance(subject, str) or not subject:
        raise InvalidToken("sub is not a name")
    return Claims(
        subject, _scopes(payload.get("scopes")), _expiry(payload.get("exp")), _generation(payload)
    )


def _expiry(exp: object) -> float:
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        raise InvalidToken("exp is not a number")
    try:
        # Whole seconds, as PyJWT compares them: being remembered must not lengthen a token's life.
        return float(int(exp))
    except (OverflowError, ValueError):
        raise InvalidToken("exp is not a time") from None


def _generation(payload: Mapping[str, Any]) -> float:
    """Return the generation that a token names; the oldest if it names none."""
    generation, issued_at = payload.get(GENERATION), payload.get("iat")
    if isinstance(generation, int) and not isinstance(generation, bool):
        return generation
    if isinstance(issued_at, int | float) and not isinstance(issued_at, bool):
        return issued_at * SECOND
    return 0


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
        return "header is not an object"
    if header.get("alg") != ALGORITHM:
        return "alg is not HS256"
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
