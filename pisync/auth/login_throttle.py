"""How many logins may fail: a few for each account and each client address."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Network, ip_address
from secrets import token_hex
from typing import TypeVar

from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.concurrency.keyed_queue import (
    Busy,
    KeyedQueue,
)
from pisync.model.account import LoginDecision
from pisync.model.timestamp import from_seconds
from pisync.stores.base import LoginAttempts

_MAX_WAIT = 30.0
"""Seconds that a login attempt may wait for others to end."""
_INTERVAL = 0.25
"""Seconds between two requests for a permit: other replicas' attempts end unheard."""

_Result = TypeVar("_Result")


class TooManyFailures(Exception):
    """No password may be tried for `retry_after` seconds, not even the right one."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many failed logins.")
        self.retry_after = retry_after


class LoginThrottle:
    """Allows `limit` failures within `window` seconds, and counts them in the store.

    That holds however many attempts are made at once: while those under way could reach the limit
    by failing, others wait for them to end.
    """

    def __init__(
        self,
        attempts: LoginAttempts,
        limit: int,
        window: float,
        *,
        clocks: MachineClocks = SYSTEM_CLOCKS,
    ) -> None:
        self._attempts = attempts
        self._limit = limit
        self._window = window
        self._salt = ""
        self._now = clocks.monotonic
        # Without it, all who wait would ask the store again whenever an attempt ends.
        self._queue = KeyedQueue(limit)
        self._ended = asyncio.Event()

    def forget(self) -> None:
        """Count failures anew, under other keys; the store forgets the old ones by itself."""
        self._salt = token_hex(8)

    async def try_login(
        self, account_key: str, address: str, attempt: Callable[[], Awaitable[_Result | None]]
    ) -> _Result | None:
        """Return what `attempt` returns; None is a failure, and counts.

        An attempt that raises, or is cancelled, has told nobody anything and does not count.

        Args:
            account_key: The account that the attempt is about.
            address: The client's; in IPv6, all addresses of a /64 are one client's.
            attempt: Tries a password.

        Raises:
            TooManyFailures: The account or the address has too many.
            Busy: Too many callers are waiting, or for too long.
        """
        keys = (
            _key(f"{self._salt}account", account_key),
            _key(f"{self._salt}address", _counted_address(address)),
        )
        async with self._queue.turn(*keys):
            await self._wait_for_permit(keys)
            failed = False
            try:
                result = await attempt()
                failed = result is None
            finally:
                await self._attempts.record(keys, failed=failed)
                self._ended.set()
                self._ended = asyncio.Event()
        return result

    async def _wait_for_permit(self, keys: tuple[bytes, ...]) -> None:
        deadline = self._now() + from_seconds(_MAX_WAIT)
        while True:
            # Taken before asking: an attempt may end while the store answers.
            ended = self._ended
            permit = await self._attempts.acquire(keys, self._limit, self._window)
            if permit.decision is LoginDecision.ALLOWED:
                return
            if permit.decision is LoginDecision.REFUSED:
                raise TooManyFailures(permit.retry_after)
            if self._now() > deadline:
                raise Busy
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await ended.wait()


def _counted_address(address: str) -> str:
    """Return what a client's failures count for: of IPv6, whoever has one address has its /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return address
    return str(IPv6Network((int(parsed), 64), strict=False))


def _key(kind: str, value: str) -> bytes:
    # A digest: names and addresses may be of any length, and a store should keep neither.
    return blake2b(f"{kind}\0{value}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
