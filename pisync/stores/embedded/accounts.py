"""Accounts, and the count of failed guesses at their passwords, in this process's memory.

What the methods promise is written in pisync.stores.base. They are synchronous: in one event loop
nothing comes between a check and what follows from it. Those whose name ends in `_in` enter a
change in a batch, on top of what earlier jobs entered there; it is true once the batch is applied.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import takewhile

from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.model.account import (
    Account,
    TokenRevocation,
)
from pisync.model.timestamp import SECOND
from pisync.stores.base import (
    AccountPage,
    LoginDecision,
    LoginPermit,
    NoSuchAccount,
    TokenRevocations,
)
from pisync.stores.embedded.transaction import Transaction


@dataclass(slots=True)
class _Tally:
    """The guesses counted under one key. The window starts with its first failure."""

    window: float
    under_way: int = 0
    failures: int = 0
    ends: float = 0.0


class AccountState:
    """Accounts by key, and tallies of guesses that are forgotten with their window.

    Windows run by the monotonic clock of `clocks`.
    """

    def __init__(self, clocks: MachineClocks = SYSTEM_CLOCKS) -> None:
        self._clocks = clocks
        self._accounts: dict[str, Account] = {}
        self._keys: list[str] = []
        """The accounts' keys, sorted."""
        self._restrictions: dict[str, tuple[TokenRevocation, int]] = {}
        """In the order in which they were last changed, each with a number that grows."""
        self._version = 0
        self._tallies: dict[bytes, _Tally] = {}
        self._windows: list[tuple[float, bytes]] = []
        """When each open window ends, and its key: a heap."""

    def _now(self) -> float:
        return self._clocks.monotonic() / SECOND

    def add_account(self, account: Account) -> bool:
        """Add an account unless one with its key is there; say whether it was added."""
        if account.key in self._accounts:
            return False
        self._accounts[account.key] = account
        insort(self._keys, account.key)
        return True

    def account(self, key: str) -> Account | None:
        """Return the account with this key, if any."""
        return self._accounts.get(key)

    def page(self, after: str, limit: int) -> AccountPage:
        """Return accounts whose key is above `after`."""
        start = bisect_right(self._keys, after)
        chosen = self._keys[start : start + limit]
        more = len(self._keys) > start + limit
        return AccountPage([self._accounts[key] for key in chosen], len(self._keys), more)

    def add_in(self, batch: Transaction, account: Account) -> bool:
        """Add an account unless one with its key is there; say whether it was added."""
        key = account.key
        if self._account_in(batch, key):
            return False
        left = batch.restrictions.get(key) or self.revocation(key)
        added = batch.accounts[key] = account.with_revocation(left)
        batch.tell(lambda: self.add_account(added))
        return True

    def change_in(
        self, batch: Transaction, key: str, change: Callable[[Account], Account]
    ) -> Account:
        """Apply a change to an account and return it. Raises NoSuchAccount."""
        old = self._account_in(batch, key)
        if old is None:
            raise NoSuchAccount
        new = batch.accounts[key] = change(old)
        batch.tell(lambda: self._replace(new))
        if new.revocation != old.revocation:
            self._restrict_in(batch, new.revocation)
        return new

    def delete_in(self, batch: Transaction, key: str, now: int) -> None:
        """Delete an account; its tokens are ended `now`. Raises NoSuchAccount."""
        account = self._account_in(batch, key)
        if account is None:
            raise NoSuchAccount
        batch.accounts[key] = None
        batch.tell(lambda: self._delete(key))
        tokens_since = account.with_tokens_ended(now).tokens_since
        self._restrict_in(batch, TokenRevocation(key, tokens_since=tokens_since))

    def _account_in(self, batch: Transaction, key: str) -> Account | None:
        """Return an account as the batch so far leaves it, if any."""
        return batch.accounts[key] if key in batch.accounts else self._accounts.get(key)

    def _restrict_in(self, batch: Transaction, restriction: TokenRevocation) -> None:
        batch.restrictions[restriction.key] = restriction
        batch.tell(lambda: self.restrict(restriction))

    def _replace(self, account: Account) -> None:
        self._accounts[account.key] = account

    def _delete(self, key: str) -> None:
        del self._accounts[key]
        del self._keys[bisect_left(self._keys, key)]

    def restrict(self, restriction: TokenRevocation) -> None:
        """Keep a restriction, in the place of the one with its key."""
        self._version += 1
        self._restrictions.pop(restriction.key, None)
        self._restrictions[restriction.key] = restriction, self._version

    def revocation(self, key: str) -> TokenRevocation:
        """Return the restriction under this key; if there is none, one that refuses nothing."""
        kept = self._restrictions.get(key)
        return kept[0] if kept else TokenRevocation(key)

    def revocations(self, known: int) -> TokenRevocations:
        """Return restrictions made or changed since the version `known`."""
        newest_first = reversed(self._restrictions.values())
        news = [each for each, _ in takewhile(lambda kept: kept[1] > known, newest_first)]
        return TokenRevocations(news, self._version)

    def acquire_login_permit(self, keys: Sequence[bytes], limit: int, window: float) -> LoginPermit:
        """Ask whether a password may be tried, counted under each of `keys`."""
        now = self._now()
        self._close_windows(now)
        found = [tally for key in keys if (tally := self._tallies.get(key))]
        blocked = [tally.ends - now for tally in found if tally.failures >= limit]
        if blocked:
            return LoginPermit(LoginDecision.REFUSED, max(blocked))
        if any(tally.failures + tally.under_way >= limit for tally in found):
            return LoginPermit(LoginDecision.WAIT)
        for key in keys:
            tally = self._tallies.setdefault(key, _Tally(window))
            tally.under_way += 1
            tally.window = window
        return LoginPermit(LoginDecision.ALLOWED)

    def record_login(self, keys: Sequence[bytes], *, failed: bool) -> None:
        """End a guess that was allowed; count it under each of `keys` if it failed."""
        now = self._now()
        self._close_windows(now)
        for key in keys:
            tally = self._tallies[key]
            tally.under_way -= 1
            if failed:
                self._count_failure(key, tally, now)
            self._forget_if_idle(key, tally)

    def failures(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, float]]:
        """Return the failures under each of `keys` with any, and the seconds left of its window."""
        now = self._now()
        found = ((key, tally) for key in keys if (tally := self._tallies.get(key)))
        return {key: (each.failures, each.ends - now) for key, each in found if each.failures}

    def restore(self, key: bytes, failures: int, left: float) -> None:
        """Restore the failures under a key whose window has `left` seconds left."""
        ends = self._now() + left
        self._tallies[key] = _Tally(left, failures=failures, ends=ends)
        heappush(self._windows, (ends, key))

    def _count_failure(self, key: bytes, tally: _Tally, now: float) -> None:
        if tally.failures == 0:
            tally.ends = now + tally.window
            heappush(self._windows, (tally.ends, key))
        tally.failures += 1

    def _close_windows(self, now: float) -> None:
        while self._windows and self._windows[0][0] <= now:
            key = heappop(self._windows)[1]
            tally = self._tallies[key]
            tally.failures = 0
            self._forget_if_idle(key, tally)

    def _forget_if_idle(self, key: bytes, tally: _Tally) -> None:
        if tally.failures == tally.under_way == 0:
            del self._tallies[key]
