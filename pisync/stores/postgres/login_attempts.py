"""Guesses at passwords, which all replicas count together."""

import secrets
from collections import defaultdict
from collections.abc import Sequence

from pisync.model.timestamp import SECOND, from_seconds
from pisync.stores.base import (
    LoginDecision,
    LoginPermit,
)
from pisync.stores.postgres.database import Database

_LONGEST = 60.0
"""Seconds after which a guess has ended, whatever became of the process that made it."""

_ASK = "SELECT refused_for, allowed FROM ask_to_guess($1, $2, $3, $4)"
_END = "SELECT end_guess($1, $2, $3, $4)"


class PostgresLoginAttempts:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # The guesses of this process that are under way: number and window of each.
        self._under_way = defaultdict[tuple[bytes, ...], list[tuple[int, int]]](list)

    async def ask(self, keys: Sequence[bytes], limit: int, window: float) -> LoginPermit:
        """Ask whether a password may be tried, counted under each of `keys`."""
        number = secrets.randbits(63)
        refused_for, allowed = await self._database.call(
            lambda connection: connection.fetchrow(
                _ASK, number, keys, limit, from_seconds(_LONGEST)
            )
        ) or (None, False)
        if allowed:
            self._under_way[tuple(keys)].append((number, from_seconds(window)))
            return LoginPermit(LoginDecision.ALLOWED)
        if refused_for is None:
            return LoginPermit(LoginDecision.WAIT)
        return LoginPermit(LoginDecision.REFUSED, refused_for / SECOND)

    async def ended(self, keys: Sequence[bytes], *, failed: bool) -> None:
        """End a guess that was allowed; count it under each of `keys` if it failed."""
        under_way = self._under_way[tuple(keys)]
        number, window = under_way.pop()
        if not under_way:
            del self._under_way[tuple(keys)]
        await self._database.fetchval(_END, number, keys, window, failed)
