"""Passwords that are tried, and the failures among them, counted in this process's memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from pisync.clocks import MachineClocks
from pisync.model.account import LoginDecision, LoginPermit
from pisync.model.timestamp import SECOND
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer


@dataclass(slots=True)
class _KeyCount:
    """What is counted under one key. The window starts with its first failure."""

    window: float
    under_way: int = 0
    failures: int = 0
    ends: float = 0.0


class EmbeddedLoginAttempts:
    """What the methods promise is written in pisync.stores.base.

    Windows run by the monotonic clock of `clocks`; what was counted is forgotten with its window.
    """

    def __init__(self, writer: Writer, clocks: MachineClocks) -> None:
        self._writer = writer
        self._clocks = clocks
        self._counts: dict[bytes, _KeyCount] = {}
        self._windows: list[tuple[float, bytes]] = []
        """When each open window ends, and its key: a heap."""

    def restore(self, failures: Mapping[bytes, tuple[int, float]]) -> None:
        """Take over failures by key, with the seconds that are left of their window."""
        for key, (number, left) in failures.items():
            ends = self._now() + left
            self._counts[key] = _KeyCount(left, failures=number, ends=ends)
            heappush(self._windows, (ends, key))

    async def acquire(self, keys: Sequence[bytes], limit: int, window: float) -> LoginPermit:
        now = self._now()
        self._close_windows(now)
        found = [count for key in keys if (count := self._counts.get(key))]
        blocked = [count.ends - now for count in found if count.failures >= limit]
        if blocked:
            return LoginPermit(LoginDecision.REFUSED, max(blocked))
        if any(count.failures + count.under_way >= limit for count in found):
            return LoginPermit(LoginDecision.WAIT)
        for key in keys:
            count = self._counts.setdefault(key, _KeyCount(window))
            count.under_way += 1
            count.window = window
        return LoginPermit(LoginDecision.ALLOWED)

    async def record(self, keys: Sequence[bytes], *, failed: bool) -> None:
        # Counted at once: a failure that can't be written is still one.
        now = self._now()
        self._close_windows(now)
        for key in keys:
            count = self._counts[key]
            count.under_way -= 1
            if failed:
                self._count_failure(key, count, now)
            self._forget_if_idle(key, count)
        if failed:
            await self._writer.write(lambda transaction: self._enter(transaction, keys))

    def _enter(self, transaction: Transaction, keys: Sequence[bytes]) -> None:
        now = self._now()
        for key in keys:
            count = self._counts.get(key)
            if count and count.failures:
                transaction.login_failures[key] = count.failures, count.ends - now

    def _now(self) -> float:
        return self._clocks.monotonic() / SECOND

    def _count_failure(self, key: bytes, count: _KeyCount, now: float) -> None:
        if count.failures == 0:
            count.ends = now + count.window
            heappush(self._windows, (count.ends, key))
        count.failures += 1

    def _close_windows(self, now: float) -> None:
        while self._windows and self._windows[0][0] <= now:
            key = heappop(self._windows)[1]
            count = self._counts[key]
            count.failures = 0
            self._forget_if_idle(key, count)

    def _forget_if_idle(self, key: bytes, count: _KeyCount) -> None:
        if count.failures == count.under_way == 0:
            del self._counts[key]
