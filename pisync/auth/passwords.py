"""Passwords, hashed by bcrypt in threads of their own, so that the event loop stays free."""

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hmac import compare_digest
from time import perf_counter
from typing import Protocol

import bcrypt

from pisync.concurrency.queues import (
    LONGEST,
    Busy,
)
from pisync.model.password_policy import is_hashable, normalized

# Niceness: requests that need no hash must not wait for one.
_STEPS_BACK = 10


class Meter(Protocol):
    """Who is told of the hashing."""

    def hashing(self, queued: int) -> None:
        """So many passwords are hashed at this moment or wait for it."""

    def hashed(self, seconds: float) -> None:
        """A password was hashed in so many seconds."""


class Passwords:
    """Hashes passwords at a cost (the logarithm of bcrypt's rounds), as many at once as `threads`.

    `threads` defaults to one for each core. At most `longest` passwords wait for one.
    """

    def __init__(
        self,
        cost: int,
        meter: Meter | None = None,
        *,
        threads: int | None = None,
        longest: int = LONGEST,
    ) -> None:
        self._cost = cost
        self._meter = meter
        threads = threads or _cores()
        self._most = threads + longest
        self._under_way = 0
        self._pool = ThreadPoolExecutor(threads, "bcrypt", initializer=_step_back)
        # A salt alone: hashing with it takes as long, and no hash is ever equal to it.
        self._nobodys = bcrypt.gensalt(cost)
        self._dearest = cost
        """The highest cost of any hash seen: some may date from when it was set higher."""

    async def hash(self, password: str) -> bytes:
        """Return the hash of a password.

        Raises Busy, or ValueError if bcrypt can't take it: see `is_hashable`.
        """
        if not is_hashable(password):
            raise ValueError("bcrypt can't take this password")
        return await self._hash(normalized(password).encode(), bcrypt.gensalt(self._cost))

    async def matches(self, password: str, password_hash: bytes | None) -> bool:
        """Say whether a hash is this password's; None never is, and takes as long to check.

        So does a hash of any cost: else, after a change of the setting, the time would tell who has
        an account. Raises Busy.
        """
        expected = password_hash or self._nobodys
        self._dearest = max(self._dearest, _cost_of(expected))
        possible = is_hashable(password)
        attempt = normalized(password).encode() if possible else b""
        actual = await self._hash(attempt, expected, self._dearest)
        return compare_digest(actual, expected) and possible

    async def _hash(self, password: bytes, salt: bytes, cost: int = 0) -> bytes:
        if self._under_way >= self._most:
            raise Busy
        self._add_under_way(1)
        try:
            loop = asyncio.get_running_loop()
            result, seconds = await loop.run_in_executor(self._pool, _timed, password, salt, cost)
        finally:
            self._add_under_way(-1)
        if self._meter:
            self._meter.hashed(seconds)
        return result

    def _add_under_way(self, count: int) -> None:
        self._under_way += count
        if self._meter:
            self._meter.hashing(self._under_way)

    def close(self) -> None:
        """Give up what still waits, and let the threads finish what they are doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _timed(password: bytes, salt: bytes, cost: int) -> tuple[bytes, float]:
    """Hash a password, with as much work as at `cost`; return the hash, and the seconds it took."""
    started = perf_counter()
    result = bcrypt.hashpw(password, salt)
    # Each cost is twice the one before: 2^a, and 2^a + 2^(a+1) + … + 2^(b-1), are 2^b.
    for each in range(_cost_of(salt), cost):
        bcrypt.hashpw(password, bcrypt.gensalt(each))
    return result, perf_counter() - started


def _cost_of(salt: bytes) -> int:
    """Return the cost that a salt or a hash names: `$2b$12$…`."""
    return int(salt.split(b"$", 3)[2])


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS, nor on Windows
        return os.cpu_count() or 1


def _step_back() -> None:
    # Only Linux has a niceness for each thread, and a sandbox may forbid changing it.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, niceness + _STEPS_BACK)
