"""Tokens: how they are made, and what makes one good besides its signature."""

import math
import re
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar

import jwt
import orjson

from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.model.account import (
    TokenRevocation,
    account_key,
)
from pisync.model.bounds import REMEMBERED_TOKENS
from pisync.model.fleet import FLEET_NAME
from pisync.model.timestamp import SECOND

ALGORITHM = "HS256"
ISSUER = "pisync"
GENERATION = "gen"
"""The claim that says to which generation of its account's tokens a token belongs.

Unlike `iat` it needs no clocks that agree, and tells apart tokens of the same second.
"""
FLEET = "fleet"
"""The claim that binds a token to a fleet."""

LEEWAY: Final = 30.0
"""Seconds that `iat` and `nbf` may lie in the future: clocks differ. `exp` has no leeway."""
ALWAYS: Final = -math.inf

REMEMBERED = REMEMBERED_TOKENS.size // 2
"""How many good tokens are remembered, and as many bad ones."""

_MAX_LENGTH = 8192
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Other header parameters point at keys, or change what a token means.
_HEADERS = frozenset({"alg", "typ", "kid"})
_is_fleet_name = re.compile(FLEET_NAME).fullmatch
_is_subject = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,256}").fullmatch

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Flaw(NamedTuple):
    """What is wrong with a token.

    `reason`, for the log, repeats nothing of the token. `description` is for whoever sent it, and
    there is one only where the signature is right. `since` is the moment (seconds since 1970) from
    which on the token is refused, since a clock may be wrong; None if the flaw may go away.
    """

    reason: str
    description: str | None = None
    since: float | None = ALWAYS


class InvalidToken(Exception):
    """A token is not accepted."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.reason)
        self.flaw = flaw


def _flawed_claim(description: str, *, since: float | None = ALWAYS) -> InvalidToken:
    return InvalidToken(Flaw(description, description, since))


class Claims(NamedTuple):
    """What a token says: whose it is, what it is good for, and until when (seconds since 1970).

    `generation` is in microseconds since 1970, as an account's `tokens_since` is. That of a token
    which names none, since a service minted it, is when it was issued. `fleet` is the one that the
    token is bound to, if it is to one.
    """

    subject: str
    scopes: frozenset[str]
    expires_at: float
    generation: float = 0.0
    fleet: str | None = None

    def are_revoked_by(self, revocation: TokenRevocation) -> bool:
        """Return whether a revocation of the subject's tokens is one of this token."""
        return revocation.disabled or self.generation < revocation.tokens_since


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
        self._wall = clocks.wall
        self._accepted = _Latest[str, Claims]()
        # By digest: else callers could fill the memory with long tokens of their own making.
        self._refused = _Latest[bytes, Flaw]()
        self._revocations: dict[str, TokenRevocation] = {}
        self._watched: set[tuple[Claims, Callable[[], object]]] = set()

    def __len__(self) -> int:
        """Return how many tokens are remembered."""
        return len(self._accepted) + len(self._refused)

    def issue(
        self,
        name: str,
        scopes: Iterable[str],
        ttl: int | None = None,
        *,
        generation: int | None = None,
        fleet: str | None = None,
    ) -> str:
        """Return a token for `name`, good for `ttl` seconds (None: the usual time).

        `generation` is that of an account's tokens; without one, it is nobody's in particular.
        `fleet` is the only one that it is good for.
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
        if fleet is not None:
            payload[FLEET] = fleet
        return jwt.encode(payload, self.secret, ALGORITHM)

    def remembered(self, token: str) -> Claims | None:
        """Return the claims of a token that was accepted before and has not expired, else None."""
        claims = self._accepted.get(token)
        # In microseconds, as the clock has them: every request comes here.
        if claims is None or self._wall() >= claims.expires_at * SECOND:
            return None
        return claims

    def flaw(self, token: str) -> Flaw | None:
        """Return why a token was refused before, if that still holds."""
        flaw = self._refused.get(_digest(token))
        if flaw is None or flaw.since is None or self._now() < flaw.since:
            return None
        return flaw

    def check_form(self, token: str) -> None:
        """Check what can be checked without a secret.

        Raises:
            InvalidToken: The token has the wrong form, or was refused before.
        """
        flaw = self.flaw(token) or _flaw_of_form(token)
        if flaw is not None:
            raise InvalidToken(flaw)

    def accept(self, token: str, payload: object) -> Claims:
        """Return the claims of a token whose signature is right, and remember it.

        Raises:
            InvalidToken: Claims are missing or wrong, or the token has expired, which is
                remembered; or its time has not come yet, or it was revoked, which is not, as that
                may change.
        """
        try:
            claims = claims_of(payload)
            self._check_times(payload, claims)
        except InvalidToken as refusal:
            self.refuse(token, refusal.flaw)
            raise
        self._accepted.keep(token, claims)
        return claims

    def _check_times(self, payload: Any, claims: Claims) -> None:
        now = self._now()
        if now >= claims.expires_at:
            raise _flawed_claim("The token has expired", since=claims.expires_at)
        for claim in ("iat", "nbf"):
            if _time(payload, claim, default=ALWAYS) > now + LEEWAY:
                raise _flawed_claim(f"{claim} lies in the future", since=None)
        if self._are_revoked(claims):
            raise _flawed_claim("The account is disabled, or its tokens were ended", since=None)

    def refuse(self, token: str, flaw: Flaw) -> None:
        """Remember what is wrong with a token, unless that may go away."""
        self._accepted.pop(token, None)
        if flaw.since is not None:
            self._refused.keep(_digest(token), flaw)

    def revoke(self, revocations: Iterable[TokenRevocation]) -> None:
        """From now on refuse the tokens that these revoke; each replaces the one with its key."""
        changed = {revocation.key: revocation for revocation in revocations}
        if not changed:
            return
        self._revocations |= changed
        # Those that are remembered are not looked at again.
        revoked = [token for token, claims in self._accepted.items() if self._are_revoked(claims)]
        for token in revoked:
            del self._accepted[token]
        for claims, end in [*self._watched]:
            if self._are_revoked(claims):
                end()

    @contextmanager
    def watched(self, claims: Claims, end: Callable[[], object]) -> Iterator[None]:
        """Call `end` when a token with these claims is refused, for as long as this is entered."""
        if self._are_revoked(claims):
            end()
        self._watched.add((claims, end))
        try:
            yield
        finally:
            self._watched.discard((claims, end))

    def seconds_left(self, claims: Claims) -> float:
        """Return for how many seconds a token with these claims is good."""
        return claims.expires_at - self._now()

    def _now(self) -> float:
        """Return seconds since 1970."""
        return self._wall() / SECOND

    def _are_revoked(self, claims: Claims) -> bool:
        revocation = self._revocations.get(account_key(claims.subject))
        return revocation is not None and claims.are_revoked_by(revocation)


def claims_of(payload: object) -> Claims:
    """Return the claims of a token's payload, whatever the time is.

    Scopes that are missing, or not a list of strings, count as none.

    Raises:
        InvalidToken: A claim is missing or wrong.
    """
    if not isinstance(payload, Mapping):
        raise _flawed_claim("The payload is not an object")
    if payload.get("iss") != ISSUER:
        raise _flawed_claim(f"iss is not {ISSUER}")
    subject = payload.get("sub")
    if not isinstance(subject, str) or not _is_subject(subject):
        raise _flawed_claim("sub is not a name of 1 to 256 characters")
    if "aud" in payload and not _names_us(payload["aud"]):
        raise _flawed_claim(f"aud does not name {ISSUER}")
    # Whole seconds, as PyJWT compares them: being remembered must not lengthen a token's life.
    expires_at = float(int(_time(payload, "exp")))
    return Claims(
        subject,
        _scopes(payload.get("scopes")),
        expires_at,
        _generation(payload),
        _fleet(payload),
    )


def payload_of(token: str) -> object:
    """Return what a token says, without a look at its signature; None if it is not JSON."""
    return _decode(token.split(".")[1])


def _names_us(audience: object) -> bool:
    return audience == ISSUER or (isinstance(audience, list) and ISSUER in audience)


def _time(payload: Mapping[str, Any], claim: str, *, default: float | None = None) -> float:
    if default is not None and claim not in payload:
        return default
    seconds = payload.get(claim)
    if not isinstance(seconds, bool) and isinstance(seconds, int | float):
        with suppress(OverflowError):
            if math.isfinite(seconds):
                return float(seconds)
    raise _flawed_claim(f"{claim} is not a time")


def _generation(payload: Mapping[str, Any]) -> float:
    """Return the generation that a token names; the oldest if it names none."""
    generation, issued_at = payload.get(GENERATION), payload.get("iat")
    if isinstance(generation, int) and not isinstance(generation, bool):
        return generation
    if isinstance(issued_at, int | float) and not isinstance(issued_at, bool):
        return issued_at * SECOND
    return 0


def _fleet(payload: Mapping[str, Any]) -> str | None:
    """Return the fleet that a token is bound to.

    Raises:
        InvalidToken: The claim is not the name of a fleet: to ignore it would let the token go
            anywhere.
    """
    if FLEET not in payload:
        return None
    fleet = payload[FLEET]
    if isinstance(fleet, str) and _is_fleet_name(fleet):
        return fleet
    raise _flawed_claim("fleet is not the name of a fleet")


def _scopes(scopes: object) -> frozenset[str]:
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        return frozenset()
    return frozenset(scopes)


def _flaw_of_form(token: str) -> Flaw | None:
    """Return what is wrong with a token's shape or header, before a library believes either."""
    if len(token) > _MAX_LENGTH:
        return Flaw("too long")
    form = _FORM.fullmatch(token)
    if form is None:
        return Flaw("not three parts of base64url")
    header = _decode(form[1])
    if not isinstance(header, dict):
        return Flaw("header is not an object")
    if header.get("alg") != ALGORITHM:
        return Flaw("alg is not HS256")
    if not header.keys() <= _HEADERS:
        return Flaw("header has more than alg, typ and kid")
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
