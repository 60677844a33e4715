"""Sends what commits have left in the outbox: one `NOTIFY` transaction for many commits.

PostgreSQL lets transactions with a `NOTIFY` commit one after the other, whatever they are about. So
it is not in the way of those that change fleets.
"""

import asyncio
from contextlib import suppress

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres.database import Database

_SENT_AT_ONCE = 1000
_GATHERING = 0.02
"""Seconds between two transactions, at most: what is committed in between shares the second one."""
_GATHERING_A_NOTICE = 0.004
"""Seconds of it for each notice in the first: where little happens, somebody may wait for it."""
_NEXT_LOOK = 1.0
"""Seconds until another look is taken at what a replica may have left over."""


class Relay:
    """Sends what is in the outbox, in the order in which each fleet's changes were committed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._has_notices = asyncio.Event()

    def send_soon(self) -> None:
        """Let what has just been committed be sent."""
        self._has_notices.set()

    async def send_all(self) -> int:
        """Send all that is in the outbox now; return how many notices that were.

        Raises:
            StoreUnavailable: The database can't be reached, or refused a statement.
        """
        total = 0
        while (sent := await self._database.fetchval("SELECT send_notices($1)", _SENT_AT_ONCE)) > 0:
            total += sent
        return total

    async def run(self) -> None:
        """Send what is committed, until cancelled; all replicas send for each other."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_NEXT_LOOK):
                    await self._has_notices.wait()
            self._has_notices.clear()
            # If not, they are in the outbox still: the next look is for them, too.
            sent = 0
            with suppress(StoreUnavailable):
                sent = await self.send_all()
            await asyncio.sleep(min(_GATHERING, sent * _GATHERING_A_NOTICE))

    async def close(self) -> None:
        """Send what is left; if that fails, another replica will."""
        with suppress(StoreUnavailable):
            await self.send_all()
