"""Accounts, revoked tokens and login attempts, the same on all replicas."""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from pisync.model.account import (
    Account,
    AccountPage,
    LoginDecision,
    LoginPermit,
    TokenRevocation,
    TokenRevocations,
)
from pisync.model.timestamp import SECOND, from_seconds
from pisync.stores.errors import NoSuchAccount
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import PATIENCE, Database
from pisync.stores.schema.rows import account_row, read_scopes

_OVERLAP = round(2 * PATIENCE * SECOND)
"""Microseconds for which a revocation may be on its way without being seen by anyone."""

_ADD = "INSERT INTO accounts VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING true"
_ACCOUNTS = """
    SELECT name, password_hash, scopes, coalesce(disabled, false), coalesce(tokens_since, 0)
    FROM accounts LEFT JOIN restrictions USING (key)"""
_FIND = f"{_ACCOUNTS} WHERE key = $1"
_LOCK = "SELECT FROM accounts WHERE key = $1 FOR UPDATE"
_PAGE = f"""{_ACCOUNTS}
    WHERE key COLLATE "C" > $1 ORDER BY key COLLATE "C" LIMIT $2"""
_CHANGE = "UPDATE accounts SET name = $2, password_hash = $3, scopes = $4 WHERE key = $1"
_REVOKE = """
    INSERT INTO restrictions VALUES ($1, $2, $3, steady_now())
    ON CONFLICT (key) DO UPDATE SET
        disabled = excluded.disabled,
        tokens_since = excluded.tokens_since,
        changed_at = excluded.changed_at"""
_REVOCATIONS = "SELECT key, disabled, tokens_since FROM restrictions WHERE changed_at > $1"

_MAX_ATTEMPT = 60.0
"""Seconds after which a login attempt has ended, whatever became of the process that made it."""
_ACQUIRE = "SELECT refused_for, allowed FROM ask_to_guess($1, $2, $3, $4)"
_RECORD = "SELECT end_guess($1, $2, $3, $4)"


class PostgresAccounts:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account) -> bool:
        return bool(await self._database.fetchval(_ADD, *account_row(account)))

    async def find(self, key: str) -> Account | None:
        row = await self._database.fetchrow(_FIND, key)
        return None if row is None else _read(row)

    async def page(self, *, after: str, limit: int) -> AccountPage:
        rows = await self._database.fetch(_PAGE, after, limit + 1)
        total = await self._database.fetchval("SELECT count(*) FROM accounts")
        return AccountPage([_read(row) for row in rows[:limit]], total, len(rows) > limit)

    async def change(self, key: str, change: Callable[[Account], Account]) -> Account:
        return await self._database.call(partial(_change, key, change))

    async def delete(self, key: str, now: int) -> None:
        await self._database.call(partial(_delete, key, now))

    async def revocations(self, known: int = 0) -> TokenRevocations:
        version = await self._database.fetchval("SELECT steady_now()") - _OVERLAP
        rows = await self._database.fetch(_REVOCATIONS, known)
        return TokenRevocations([TokenRevocation(*row) for row in rows], version)


class PostgresLoginAttempts:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Those of this process that are under way: number and window of each.
        self._under_way = defaultdict[tuple[bytes, ...], list[tuple[int, int]]](list)

    async def acquire(self, keys: Sequence[bytes], limit: int, window: float) -> LoginPermit:
        number = secrets.randbits(63)
        refused_for, allowed = await self._database.call(
            lambda connection: connection.fetchrow(
                _ACQUIRE, number, keys, limit, from_seconds(_MAX_ATTEMPT)
            )
        ) or (None, False)
        if allowed:
            self._under_way[tuple(keys)].append((number, from_seconds(window)))
            return LoginPermit(LoginDecision.ALLOWED)
        if refused_for is None:
            return LoginPermit(LoginDecision.WAIT)
        return LoginPermit(LoginDecision.REFUSED, refused_for / SECOND)

    async def record(self, keys: Sequence[bytes], *, failed: bool) -> None:
        under_way = self._under_way[tuple(keys)]
        number, window = under_way.pop()
        if not under_way:
            del self._under_way[tuple(keys)]
        await self._database.fetchval(_RECORD, number, keys, window, failed)


async def _change(
    key: str, change: Callable[[Account], Account], connection: Connection
) -> Account:
    async with connection.transaction():
        old = await _locked(connection, key)
        new = change(old)
        await connection.execute(_CHANGE, *account_row(new))
        if new.revocation != old.revocation:
            await connection.execute(_REVOKE, *new.revocation)
    return new


async def _delete(key: str, now: int, connection: Connection) -> None:
    async with connection.transaction():
        old = await _locked(connection, key)
        await connection.execute("DELETE FROM accounts WHERE key = $1", key)
        tokens_since = old.with_tokens_ended(now).tokens_since
        await connection.execute(_REVOKE, *TokenRevocation(key, tokens_since=tokens_since))


async def _locked(connection: Connection, key: str) -> Account:
    # Two statements: in one, whoever waits for the lock would see the revocation from before.
    await connection.execute(_LOCK, key)
    row = await connection.fetchrow(_FIND, key)
    if row is None:
        raise NoSuchAccount
    return _read(row)


def _read(row: Iterable[Any]) -> Account:
    name, password_hash, scopes, disabled, tokens_since = row
    return Account(name, password_hash, read_scopes(scopes), disabled, tokens_since)
