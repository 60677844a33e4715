"""Token revocations, handed on from the store: other replicas make some, too."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from pisync.model.account import TokenRevocation
from pisync.stores.base import AccountStore
from pisync.stores.errors import StoreUnavailable

_INTERVAL = 2.0
"""Seconds between two reads. Tokens that were revoked anywhere are refused here within 5 s."""


class RevocationFeed:
    """Calls `revoke` with every revocation in a store, when it is made or changed."""

    def __init__(
        self,
        accounts: AccountStore,
        revoke: Callable[[Iterable[TokenRevocation]], object],
        *,
        interval: float = _INTERVAL,
    ) -> None:
        self._accounts = accounts
        self._revoke = revoke
        self._interval = interval
        self._known = 0
        # What was read first must be handed on first.
        self._turn = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Hand on all there are, and go on until `close`."""
        await self.catch_up()
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """End what `start` began."""
        if self._following:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def catch_up(self) -> None:
        """Hand on those made or changed until now; if the store is away, `start` goes on trying."""
        async with self._turn:
            with suppress(StoreUnavailable):
                newer = await self._accounts.revocations(self._known)
                self._known = newer.version
                self._revoke(newer.revocations)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.catch_up()
