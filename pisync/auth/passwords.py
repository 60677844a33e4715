"""Passwords, hashed by bcrypt in threads of their own, so that the event loop stays free."""

import asyncio
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from hmac import compare_digest
from time import perf_counter
from typing import Protocol

import bcrypt

from pisync.concurrency.cpus import cpu_limit
from pisync.concurrency.keyed_queue import Busy
from pisync.model.bounds import WAITING_PASSWORDS
from pisync.model.password_policy import is_hashable, normalized

MAX_THREADS = 8
"""How many passwords are hashed at the same time at most, however many processors there are."""
_NICENESS = 10
"""Requests that need no hash must not wait for one."""


class HashMetrics(Protocol):
    """What counts hashes."""

    def hashing(self, queued: int) -> None:
        """Note how many passwords are being hashed or wait for it."""

    def hashed(self, seconds: float) -> None:
        """Note that a password was hashed, and how long that took."""


class _Job:
    """A password to hash."""

    def __init__(self, password: bytes, salt: bytes, cost: int) -> None:
        self.password = password
        self.salt = salt
        self.cost = cost
        self.is_abandoned = False


class Passwords:
    """Hashes passwords in threads.

    Args:
        cost: The logarithm of bcrypt's rounds.
        metrics: What counts hashes.
        threads: How many passwords are hashed at the same time; by default one for each processor
            that this process may use, at most `MAX_THREADS`.
        max_waiting: How many passwords may wait for a thread.
    """

    def __init__(
        self,
        cost: int,
        metrics: HashMetrics | None = None,
        *,
        threads: int | None = None,
        max_waiting: int = WAITING_PASSWORDS.size,
    ) -> None:
        self._cost = cost
        self._metrics = metrics
        self._threads = threads or min(cpu_limit(), MAX_THREADS)
        self._max_under_way = self._threads + max_waiting
        self._under_way = 0
        self._pool = self._new_pool()
        # A salt alone: hashing with it takes as long, and no hash is ever equal to it.
        self._dummy_hash = bcrypt.gensalt(cost)
        self._max_cost_seen = cost
        """The highest cost of any hash seen: some may date from when it was set higher."""

    @property
    def waiting(self) -> int:
        """How many passwords wait for a thread."""
        return max(0, self._under_way - self._threads)

    async def hash(self, password: str) -> bytes:
        """Return the hash of a password.

        Raises:
            Busy: Too many passwords are waiting, or no thread can be made.
            ValueError: bcrypt can't take the password; see `is_hashable`.
        """
        if not is_hashable(password):
            raise ValueError("bcrypt can't take this password")
        return await self._hash(normalized(password).encode(), bcrypt.gensalt(self._cost))

    async def matches(self, password: str, password_hash: bytes | None) -> bool:
        """Return whether a hash is this password's.

        Missing accounts (None) are checked against a dummy hash, and hashes of a lower cost than
        the highest seen take as long as that one, so timing reveals nothing.

        Raises:
            Busy: Too many passwords are waiting, or no thread can be made.
        """
        expected = password_hash or self._dummy_hash
        self._max_cost_seen = max(self._max_cost_seen, _cost_of(expected))
        possible = is_hashable(password)
        attempt = normalized(password).encode() if possible else b""
        actual = await self._hash(attempt, expected, self._max_cost_seen)
        return compare_digest(actual, expected) and possible

    async def _hash(self, password: bytes, salt: bytes, cost: int = 0) -> bytes:
        if self._under_way >= self._max_under_way:
            raise Busy
        self._add_under_way(1)
        try:
            result, seconds = await asyncio.wrap_future(self._submit(_Job(password, salt, cost)))
        finally:
            self._add_under_way(-1)
        if self._metrics:
            self._metrics.hashed(seconds)
        return result

    def _submit(self, job: _Job) -> "Future[tuple[bytes, float]]":
        try:
            return self._pool.submit(_timed, job)
        except RuntimeError as exc:  # the system allows no more threads
            # The pool has queued it all the same.
            job.is_abandoned = True
            if self._under_way == 1:  # it may have no thread at all, to empty its queue
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._pool = self._new_pool()
            raise Busy from exc

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, "bcrypt", initializer=_lower_priority)

    def _add_under_way(self, count: int) -> None:
        self._under_way += count
        if self._metrics:
            self._metrics.hashing(self._under_way)

    def close(self) -> None:
        """Give up what still waits, and let the threads finish what they are doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _timed(job: _Job) -> tuple[bytes, float]:
    """Hash a password, with as much work as its cost; return the hash, and the seconds it took."""
    if job.is_abandoned:
        return b"", 0.0
    started = perf_counter()
    result = bcrypt.hashpw(job.password, job.salt)
    # Each cost is twice the one before: 2^a, and 2^a + 2^(a+1) + … + 2^(b-1), are 2^b.
    for cost in range(_cost_of(job.salt), job.cost):
        bcrypt.hashpw(job.password, bcrypt.gensalt(cost))
    return result, perf_counter() - started


def _cost_of(salt: bytes) -> int:
    """Return the cost that a salt or a hash names: `$2b$12$…`."""
    return int(salt.split(b"$", 3)[2])


def _lower_priority() -> None:
    # Only Linux has a niceness for each thread, and a sandbox may forbid changing it.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            niceness = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, niceness + _NICENESS)
