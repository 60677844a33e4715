"""Accounts: who may log in, what their tokens open, and which tokens are refused."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple

DEVICES: Final = "devices"
"""Devices, their error logs and their events."""
ADMIN: Final = "admin"
"""Fleets, the simulator, and accounts."""
SCOPES: Final = (DEVICES, ADMIN)
"""Every scope, in the order in which they are listed."""


class TokenRevocation(NamedTuple):
    """Which tokens in an account's name are refused: all, or those of an older generation.

    It stays when the account is deleted: nobody who takes the name then gets its tokens back.
    """

    key: str
    disabled: bool = False
    tokens_since: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Who may log in. `name` is as first registered; its `key` is the same whatever the case.

    `tokens_since` is the generation of its tokens: the wall clock, in microseconds, when those
    before it were ended; 0 if none ever were.
    """

    name: str
    password_hash: bytes
    scopes: tuple[str, ...]
    disabled: bool = False
    tokens_since: int = 0

    @property
    def key(self) -> str:
        """What the account is found by."""
        return account_key(self.name)

    @property
    def revocation(self) -> TokenRevocation:
        """Which tokens in its name are refused."""
        return TokenRevocation(self.key, self.disabled, self.tokens_since)

    def with_tokens_ended(self, now: int) -> "Account":
        """Return the account with a new generation of tokens, from `now` (wall clock).

        If that is not above the last generation, it is the number after that instead.
        """
        return replace(self, tokens_since=max(now, self.tokens_since + 1))

    def with_revocation(self, revocation: TokenRevocation) -> "Account":
        """Return the account with a revocation in the place of its own."""
        _, disabled, tokens_since = revocation
        return replace(self, disabled=disabled, tokens_since=tokens_since)


def account_key(name: str) -> str:
    """Return the key of an account of this name, whatever its case."""
    return name.lower()


class AccountPage(NamedTuple):
    """Accounts by key, how many there are on all pages, and whether a page follows."""

    accounts: Sequence[Account]
    total: int
    more: bool


class TokenRevocations(NamedTuple):
    """Revocations that were made or changed, and the version to ask with for later ones."""

    revocations: Sequence[TokenRevocation]
    version: int


class LoginDecision(Enum):
    """Whether a password may be tried now."""

    ALLOWED = "allowed"
    WAIT = "wait"
    """As many attempts are under way as failures are left; ask again when one has ended."""
    REFUSED = "refused"


class LoginPermit(NamedTuple):
    """Whether a password may be tried now; if refused, `retry_after` real seconds from now."""

    decision: LoginDecision
    retry_after: float = 0.0
