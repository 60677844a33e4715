"""Restrictions on accounts, handed on from the store: other replicas make some, too."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from pisync.model.account import TokenRevocation
from pisync.stores.base import AccountStore, StoreUnavailable

_EVERY = 2.0
"""Seconds between looks at the store. Tokens that are ended anywhere are refused here 5 s later."""


class RevocationFeed:
    """Tells `restrict` of every restriction in a store, when it is made or changed."""

    def __init__(
        self, accounts: AccountStore, restrict: Callable[[Iterable[TokenRevocation]], object]
    ) -> None:
        self._accounts = accounts
        self._restrict = restrict
        self._known = 0
        # What was read first must be told first.
        self._turn = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Tell of all there are, and go on until `close`."""
        await self.catch_up()
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """End what `start` began."""
        if self._following:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def catch_up(self) -> None:
        """Tell of those made or changed until now; if the store is away, `start` goes on trying."""
        async with self._turn:
            with suppress(StoreUnavailable):
                newer = await self._accounts.revocations(self._known)
                self._known = newer.version
                self._restrict(newer.revocations)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            await self.catch_up()
