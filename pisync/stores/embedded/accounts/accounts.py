"""Accounts in this process's memory, and which tokens in their names are refused."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from functools import partial
from itertools import takewhile

from pisync.model.account import Account, AccountPage, TokenRevocation, TokenRevocations
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer
from pisync.stores.errors import NoSuchAccount


class EmbeddedAccounts:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._accounts: dict[str, Account] = {}
        self._keys: list[str] = []
        """The accounts' keys, sorted."""
        self._revocations: dict[str, tuple[TokenRevocation, int]] = {}
        """In the order in which they were last changed, each with a number that grows."""
        self._version = 0

    def restore(self, accounts: Iterable[Account], revocations: Iterable[TokenRevocation]) -> None:
        """Take over what was kept."""
        for revocation in revocations:
            self._revoke(revocation)
        for account in accounts:
            self._insert(account.with_revocation(self._revocation(account.key)))

    async def find(self, key: str) -> Account | None:
        return self._accounts.get(key)

    async def page(self, *, after: str, limit: int) -> AccountPage:
        start = bisect_right(self._keys, after)
        chosen = self._keys[start : start + limit]
        more = len(self._keys) > start + limit
        return AccountPage([self._accounts[key] for key in chosen], len(self._keys), more)

    async def revocations(self, known: int = 0) -> TokenRevocations:
        newest_first = reversed(self._revocations.values())
        newer = [
            revocation for revocation, _ in takewhile(lambda kept: kept[1] > known, newest_first)
        ]
        return TokenRevocations(newer, self._version)

    async def add(self, account: Account) -> bool:
        return await self._writer.write(partial(self._add, account))

    def _add(self, account: Account, transaction: Transaction) -> bool:
        key = account.key
        if self._found(transaction, key):
            return False
        revocation = transaction.revocations.get(key) or self._revocation(key)
        added = transaction.accounts[key] = account.with_revocation(revocation)
        transaction.on_commit(lambda: self._insert(added))
        return True

    async def change(self, key: str, change: Callable[[Account], Account]) -> Account:
        return await self._writer.write(partial(self._change, key, change))

    def _change(
        self, key: str, change: Callable[[Account], Account], transaction: Transaction
    ) -> Account:
        old = self._found(transaction, key)
        if old is None:
            raise NoSuchAccount
        new = transaction.accounts[key] = change(old)
        transaction.on_commit(lambda: self._replace(new))
        if new.revocation != old.revocation:
            self._enter_revocation(transaction, new.revocation)
        return new

    async def delete(self, key: str, now: int) -> None:
        await self._writer.write(partial(self._delete, key, now))

    def _delete(self, key: str, now: int, transaction: Transaction) -> None:
        account = self._found(transaction, key)
        if account is None:
            raise NoSuchAccount
        transaction.accounts[key] = None
        transaction.on_commit(lambda: self._remove(key))
        tokens_since = account.with_tokens_ended(now).tokens_since
        self._enter_revocation(transaction, TokenRevocation(key, tokens_since=tokens_since))

    def _found(self, transaction: Transaction, key: str) -> Account | None:
        """Return an account as the transaction so far leaves it, if any."""
        return transaction.accounts[key] if key in transaction.accounts else self._accounts.get(key)

    def _revocation(self, key: str) -> TokenRevocation:
        """Return the revocation under this key; if there is none, one that refuses nothing."""
        kept = self._revocations.get(key)
        return kept[0] if kept else TokenRevocation(key)

    def _enter_revocation(self, transaction: Transaction, revocation: TokenRevocation) -> None:
        transaction.revocations[revocation.key] = revocation
        transaction.on_commit(lambda: self._revoke(revocation))

    # Once it is true

    def _insert(self, account: Account) -> None:
        self._accounts[account.key] = account
        insort(self._keys, account.key)

    def _replace(self, account: Account) -> None:
        self._accounts[account.key] = account

    def _remove(self, key: str) -> None:
        del self._accounts[key]
        del self._keys[bisect_left(self._keys, key)]

    def _revoke(self, revocation: TokenRevocation) -> None:
        self._version += 1
        self._revocations.pop(revocation.key, None)
        self._revocations[revocation.key] = revocation, self._version
