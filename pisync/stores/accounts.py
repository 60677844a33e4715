"""Accounts, and the count of failed guesses at their passwords, in this process's memory.

What the methods promise is written in pisync.stores.base. They are synchronous: in one event loop
nothing comes between a check and what follows from it.
"""

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import takewhile

from pisync.stores.base import (
    Account,
    AccountPage,
    Guess,
    GuessPermit,
    Restriction,
    RestrictionsNews,
)


@dataclass(slots=True)
class _Tally:
    """The guesses counted under one key. The window stands still until its first failure."""

    window: float
    under_way: int = 0
    failures: int = 0
    ends: float = 0.0


class MemoryAccounts:
    """Accounts by key, and tallies of guesses that are forgotten with their window.

    `seconds` is a clock that never steps back.
    """

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._accounts: dict[str, Account] = {}
        self._keys: list[str] = []
        """The accounts' keys, sorted."""
        self._restrictions: dict[str, tuple[Restriction, int]] = {}
        """Those that were made or changed last come last, with a number that grows."""
        self._version = 0
        self._tallies: dict[bytes, _Tally] = {}
        self._windows: list[tuple[float, bytes]] = []
        """When each open window ends, and its key: a heap."""

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

    def change_account(self, account: Account) -> None:
        """Put an account in the place of the one with its key."""
        self._accounts[account.key] = account

    def delete_account(self, key: str) -> None:
        """Delete an account that is there."""
        del self._accounts[key]
        del self._keys[bisect_left(self._keys, key)]

    def restrict(self, restriction: Restriction) -> None:
        """Keep a restriction, in the place of the one with its key."""
        self._version += 1
        self._restrictions.pop(restriction.key, None)
        self._restrictions[restriction.key] = restriction, self._version

    def restriction(self, key: str) -> Restriction:
        """Return the restriction under this key; if there is none, one that refuses nothing."""
        kept = self._restrictions.get(key)
        return kept[0] if kept else Restriction(key)

    def restrictions(self, known: int) -> RestrictionsNews:
        """Return restrictions made or changed since the version `known`."""
        newest_first = reversed(self._restrictions.values())
        news = [each for each, _ in takewhile(lambda kept: kept[1] > known, newest_first)]
        return RestrictionsNews(news, self._version)

    def ask_to_guess(self, keys: Sequence[bytes], limit: int, window: float) -> GuessPermit:
        """Ask whether a password may be tried, counted under each of `keys`."""
        now = self._seconds()
        self._close_windows(now)
        found = [tally for key in keys if (tally := self._tallies.get(key))]
        blocked = [tally.ends - now for tally in found if tally.failures >= limit]
        if blocked:
            return GuessPermit(Guess.REFUSED, max(blocked))
        if any(tally.failures + tally.under_way >= limit for tally in found):
            return GuessPermit(Guess.WAIT)
        for key in keys:
            tally = self._tallies.setdefault(key, _Tally(window))
            tally.under_way += 1
            tally.window = window
        return GuessPermit(Guess.ALLOWED)

    def guessed(self, keys: Sequence[bytes], *, failed: bool) -> None:
        """End a guess that was allowed; count it under each of `keys` if it failed."""
        now = self._seconds()
        self._close_windows(now)
        for key in keys:
            tally = self._tallies[key]
            tally.under_way -= 1
            if failed:
                self._count_failure(key, tally, now)
            self._forget_if_idle(key, tally)

    def failures(self, keys: Sequence[bytes]) -> dict[bytes, tuple[int, float]]:
        """Return the failures under each of `keys` that has some, and its window's seconds left."""
        now = self._seconds()
        found = ((key, tally) for key in keys if (tally := self._tallies.get(key)))
        return {key: (each.failures, each.ends - now) for key, each in found if each.failures}

    def restore(self, key: bytes, failures: int, left: float) -> None:
        """Take up failures under a key whose window has so many seconds left."""
        ends = self._seconds() + left
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
