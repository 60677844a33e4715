"""Accounts: who may register and log in, and with what password."""

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pisync.auth.login_throttle import LoginThrottle
from pisync.auth.passwords import Passwords
from pisync.auth.revocations import RevocationFeed
from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.concurrency.keyed_queue import (
    Busy,
    KeyedQueue,
)
from pisync.model.account import (
    DEVICES,
    SCOPES,
    Account,
    AccountPage,
    account_key,
)
from pisync.model.password_policy import is_hashable
from pisync.stores.base import Store
from pisync.stores.errors import AccountChanged, AdminProtected, NoSuchAccount, StoreUnavailable
from pisync.telemetry.logs import get_logger

ADMIN_NAME = "admin"
"""The name of the admin's account, and its key."""
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")

_USER_SCOPES = (DEVICES,)
_ANOTHER_TRY = 1.0
"""Seconds until the admin's account is tried again, if the store was away."""

_log = get_logger()


class NameTaken(Exception):
    """There is an account of this name, in this or another case."""


class WrongCredentials(Exception):
    """There is no account with this name and this password."""


class Accounts:
    """The accounts of a store.

    Args:
        store: Where they are kept.
        passwords: Hashes passwords.
        failures: How many logins may fail in how many seconds; None for any number.
        revocations: Applies token revocations here before the call that made them returns.
        clocks: The machine's.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        failures: tuple[int, float] | None,
        revocations: RevocationFeed | None = None,
        *,
        clocks: MachineClocks = SYSTEM_CLOCKS,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._throttle = (
            LoginThrottle(store.login_attempts, *failures, clocks=clocks) if failures else None
        )
        self._revocations = revocations or RevocationFeed(store.accounts, lambda _: None)
        self._clocks = clocks
        self._names = KeyedQueue(concurrency=1)
        self._admin_settled: asyncio.Task[None] | None = None

    async def start(self, admin_password: str | None, *, draw: bool) -> str | None:
        """Give the admin a password, in the background.

        Args:
            admin_password: The password, whatever the admin has now; None to leave one that is
                there.
            draw: Whether an admin who is not there gets a password that is drawn.

        Returns:
            The password, if it was drawn: nobody else knows it.

        Raises:
            ValueError: bcrypt can't take the password.
        """
        await self._revocations.start()
        password = admin_password or (secrets.token_urlsafe(12) if draw else None)
        if password is None or (not admin_password and await self._store.accounts.find(ADMIN_NAME)):
            return None
        if not is_hashable(password):
            raise ValueError("bcrypt can't take the admin's password")
        self._admin_settled = asyncio.create_task(self._settle_admin(password))
        return None if admin_password else password

    async def close(self) -> None:
        """End what `start` began."""
        await self._revocations.close()
        if self._admin_settled:
            self._admin_settled.cancel()
            await asyncio.wait([self._admin_settled])

    async def register(self, username: str, password: str) -> Account:
        """Add an account, if the name is free, and return it.

        Both must be as the contract has them.

        Raises:
            NameTaken: There is an account of this name.
            Busy: Too many callers are waiting.
        """
        key = account_key(username)
        # If many want one name at once, they queue, and only the first is worth a hash.
        async with self._names.turn(key.encode()):
            if key == ADMIN_NAME or await self._store.accounts.find(key):
                raise NameTaken
            account = Account(username, await self._passwords.hash(password), _USER_SCOPES)
            if not await self._store.accounts.add(account):
                raise NameTaken
        # Not `account`: the tokens of whoever had the name before may have been ended.
        return await self._store.accounts.find(key) or account

    async def login(self, username: str, password: str, address: str) -> Account:
        """Return the account of this name, if this is its password.

        Name and password may be any strings; `address` is the client's, and failures count
        for it as well as for the name.

        Raises:
            WrongCredentials: There is no account with this name and this password.
            TooManyFailures: No password may be tried for a while.
            Busy: Too many callers are waiting.
        """
        attempt = partial(self._find, username, password)
        if self._throttle:
            account = await self._throttle.try_login(account_key(username), address, attempt)
        else:
            account = await attempt()
        if account is None:
            raise WrongCredentials
        return account

    async def change_password(
        self, username: str, password: str, new_password: str, address: str
    ) -> Account:
        """Give an account a new password, if it has this one; its tokens so far are ended.

        Failures count as those of logins do.

        Raises:
            NoSuchAccount: There is no account of this name.
            WrongCredentials: It has another password.
            AccountChanged: It was changed meanwhile.
            TooManyFailures: No password may be tried for a while.
            Busy: Too many callers are waiting.
        """
        if await self._find_named(username) is None:
            raise NoSuchAccount
        account = await self.login(username, password, address)
        return await self._give(account, await self._passwords.hash(new_password))

    def forget_failures(self) -> None:
        """Count failed logins anew, here alone: other replicas go on counting."""
        if self._throttle:
            self._throttle.forget()

    # For admins

    async def page(self, after: str, limit: int) -> AccountPage:
        """Return accounts by their names in lower case, from the one after the name `after`."""
        return await self._store.accounts.page(after=account_key(after), limit=limit)

    async def account(self, username: str) -> Account:
        """Return the account of this name.

        Raises:
            NoSuchAccount: There is none.
        """
        account = await self._store.accounts.find(account_key(username))
        if account is None:
            raise NoSuchAccount
        return account

    async def change(
        self, username: str, *, disabled: bool | None = None, scopes: Sequence[str] | None = None
    ) -> Account:
        """Change what is not None of an account, and return it; a change ends its tokens so far.

        Raises:
            NoSuchAccount: There is no account of this name.
            AdminProtected: It is the admin's.
        """

        def change(account: Account) -> Account:
            changed = replace(
                account,
                disabled=account.disabled if disabled is None else disabled,
                scopes=account.scopes if scopes is None else tuple(scopes),
            )
            return account if changed == account else changed.with_tokens_ended(self._clocks.wall())

        return await self._change(_changeable(username), change)

    async def delete(self, username: str) -> None:
        """Delete an account, and end its tokens.

        Raises:
            NoSuchAccount: There is no account of this name.
            AdminProtected: It is the admin's.
        """
        await self._store.accounts.delete(_changeable(username), self._clocks.wall())
        await self._revocations.catch_up()

    # Within

    async def _change(self, key: str, change: Callable[[Account], Account]) -> Account:
        changed = await self._store.accounts.change(key, change)
        await self._revocations.catch_up()
        return changed

    async def _give(self, account: Account, password_hash: bytes) -> Account:
        """Give an account a password, if it still has the one that it was found with."""

        def change(present: Account) -> Account:
            if present.password_hash != account.password_hash:
                raise AccountChanged
            return replace(present, password_hash=password_hash).with_tokens_ended(
                self._clocks.wall()
            )

        return await self._change(account.key, change)

    async def _find(self, username: str, password: str) -> Account | None:
        """Return the account with this name and password, after the same time if there is none."""
        account = await self._find_named(username)
        expected = account.password_hash if account else None
        if not await self._passwords.matches(password, expected) or account is None:
            return None
        # It may have been changed while its password was hashed.
        present = await self._store.accounts.find(account.key)
        is_same = present is not None and present.password_hash == expected
        return present if present is not None and is_same and not present.disabled else None

    async def _find_named(self, username: str) -> Account | None:
        # Other names never reach the store: it may not know how to keep NUL, and lower-casing makes
        # an ASCII letter of the Kelvin sign.
        if not USERNAME.fullmatch(username):
            return None
        key = account_key(username)
        if key == ADMIN_NAME and self._admin_settled:
            await asyncio.wait([self._admin_settled])
        return await self._store.accounts.find(key)

    async def _settle_admin(self, password: str) -> None:
        while True:
            try:
                await self._set_admin(password)
            except (Busy, StoreUnavailable, AccountChanged):
                await asyncio.sleep(_ANOTHER_TRY)
            else:
                return

    async def _set_admin(self, password: str) -> None:
        admin = await self._store.accounts.find(ADMIN_NAME)
        if admin and await self._passwords.matches(password, admin.password_hash):
            return
        password_hash = await self._passwords.hash(password)
        if admin is None:
            await self._store.accounts.add(Account(ADMIN_NAME, password_hash, SCOPES))
        else:
            await self._give(admin, password_hash)
            _log.info("admin has the given password now")


def _changeable(username: str) -> str:
    """Return the key of an account that admins may change.

    Raises:
        AdminProtected: It is the admin's.
    """
    key = account_key(username)
    if key == ADMIN_NAME:
        raise AdminProtected
    return key
