"""Sends what commits have left in the outbox: one `NOTIFY` transaction for many commits.

PostgreSQL lets transactions with a `NOTIFY` commit one after the other, whatever they are about. So
it is not in the way of those that change fleets.
"""

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres.database import Database

_SENT_AT_ONCE = 1000
_GATHERING = 0.02
"""Seconds between two transactions, at most: what is committed in between shares the second one."""
_GATHERING_A_CHANGE = 0.004
"""Seconds of it for each change in the first: where little happens, somebody may wait for it."""
_LENGTH_OF_A_CHANGE = 200
"""Characters of a notice that are taken for one; a commit tells all its changes in few notices."""
_MAX_DEFERRING = 0.1
"""Seconds for which a replica lets others send, at most."""
_NEXT_LOOK = 1.0
"""Seconds until another look is taken at what a replica may have left over."""


class Relay:
    """Sends what is in the outbox, in the order in which each fleet's changes were committed.

    Who sends does it for all. So a replica that hears what another has sent waits longer than that
    one before it sends itself, and does not if its own notices were heard by then.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._has_notices = asyncio.Event()
        self._unheard: set[str] = set()
        """Notices of this replica's commits that it has not heard yet, and has not sent itself."""
        self._is_sending = False
        """Whether it sends, or gathers what it sends next."""
        self._defers_until = 0.0
        # Later than that one sends again; each replica at another moment.
        self._deferring = random.uniform(1.5, 2)  # noqa: S311 - guards no secret

    def send_soon(self, notices: Iterable[str] = ("",)) -> None:
        """Let what has just been committed be sent: with these notices, if they are known."""
        self._unheard.update(notices)
        self._has_notices.set()

    def heard(self, notice: str) -> None:
        """Take note that a notice was sent, by this replica or another."""
        # A notice is some kilobytes long, and so takes long to look for.
        if self._unheard:
            # The database has put the id of an error log before it.
            self._unheard.discard(notice.partition(",")[2])
        if not self._is_sending:
            now = asyncio.get_running_loop().time()
            gathering = _GATHERING_A_CHANGE * _changes(notice) * self._deferring
            later = max(self._defers_until, now) + gathering
            self._defers_until = min(later, now + _GATHERING * self._deferring)

    async def send_all(self) -> int:
        """Send all that is in the outbox now; return how many notices that were.

        Raises:
            StoreUnavailable: The database can't be reached, or refused a statement.
        """
        unheard, self._unheard = self._unheard, set()
        total = 0
        try:
            while True:
                sent: int = await self._database.fetchval("SELECT send_notices($1)", _SENT_AT_ONCE)
                total += sent
                if sent < _SENT_AT_ONCE:
                    return total
        except BaseException:
            self._unheard |= unheard
            raise

    async def run(self) -> None:
        """Send what is committed, until cancelled; all replicas send for each other."""
        while True:
            is_told = True
            try:
                async with asyncio.timeout(_NEXT_LOOK):
                    await self._has_notices.wait()
            except TimeoutError:
                is_told = False
            first = set(self._unheard)
            await self._let_others_send()
            if not is_told or first & self._unheard:
                self._has_notices.clear()
                await self._send_and_gather()
            elif not self._unheard:
                self._has_notices.clear()

    async def _let_others_send(self) -> None:
        now = asyncio.get_running_loop().time
        end = now() + _MAX_DEFERRING
        while (wait := min(self._defers_until, end) - now()) > 0:  # noqa: ASYNC110 - it may move
            await asyncio.sleep(wait)

    async def _send_and_gather(self) -> None:
        self._is_sending = True
        changes = sum(map(_changes, self._unheard))
        # If not, they are in the outbox still: the next look is for them, too.
        with suppress(StoreUnavailable):
            changes = max(changes, await self.send_all())
        await asyncio.sleep(min(_GATHERING, changes * _GATHERING_A_CHANGE))
        self._is_sending = False

    async def close(self) -> None:
        """Send what is left; if that fails, another replica will."""
        with suppress(StoreUnavailable):
            await self.send_all()


def _changes(notice: str) -> int:
    """Return about how many changes a notice tells."""
    return max(len(notice) // _LENGTH_OF_A_CHANGE, 1)
