"""Accounts: who may register and log in."""

import asyncio
import re
import secrets
from functools import partial

from pisync.lines import Busy, Lines
from pisync.passwords import Passwords, is_hashable
from pisync.stores.base import Account, Store, StoreUnavailable, account_key
from pisync.throttle import Throttle

ADMIN = "admin"
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,63}")

_USER_SCOPES = ("devices",)
_ADMIN_SCOPES = ("devices", "admin")
_ANOTHER_TRY = 1.0
"""Seconds until the admin's account is tried again, if the store was away."""


class NameTaken(Exception):
    """There is an account of this name, in this or another case."""


class WrongCredentials(Exception):
    """There is no account with this name and this password."""


class Accounts:
    """The accounts of a store.

    `failures` says how many logins may fail in how many seconds; None for any number.
    """

    def __init__(
        self, store: Store, passwords: Passwords, failures: tuple[int, float] | None
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._throttle = Throttle(store, *failures) if failures else None
        self._names = Lines(abreast=1)
        self._admin_added: asyncio.Task[None] | None = None

    async def start(self, admin_password: str | None, *, draw: bool) -> str | None:
        """Unless there is an admin, add one with the given password, or else with a drawn one.

        Return the password if it was drawn: nobody else knows it. It is hashed in the background.
        Raises ValueError if bcrypt can't take the password.
        """
        password = admin_password or (secrets.token_urlsafe(12) if draw else None)
        if password is None or await self._store.account(ADMIN):
            return None
        if not is_hashable(password):
            raise ValueError("bcrypt can't take the admin's password")
        self._admin_added = asyncio.create_task(self._add_admin(password))
        return None if admin_password else password

    async def close(self) -> None:
        """End what `start` began."""
        if self._admin_added:
            self._admin_added.cancel()
            await asyncio.wait([self._admin_added])

    async def register(self, username: str, password: str) -> Account:
        """Add an account, if the name is free, and return it.

        Both must be as the contract has them. Raises NameTaken or Busy.
        """
        key = account_key(username)
        # If many want one name at once, they stand in line, and only the first is worth a hash.
        async with self._names.turn(key.encode()):
            if key == ADMIN or await self._store.account(key):
                raise NameTaken
            account = Account(username, await self._passwords.hash(password), _USER_SCOPES)
            if not await self._store.add_account(account):
                raise NameTaken
        return account

    async def login(self, username: str, password: str, address: str) -> Account:
        """Return the account of this name, if this is its password.

        Name and password may be any strings; `address` is the client's, and failures are counted
        for it as well as for the name. Raises WrongCredentials, TooManyFailures or Busy.
        """
        attempt = partial(self._find, username, password)
        if self._throttle:
            account = await self._throttle.guess(account_key(username), address, attempt)
        else:
            account = await attempt()
        if account is None:
            raise WrongCredentials
        return account

    async def _find(self, username: str, password: str) -> Account | None:
        """Return the account with this name and password, after the same time if there is none."""
        account = await self._find_named(username)
        expected = account.password_hash if account else None
        return account if await self._passwords.matches(password, expected) else None

    async def _find_named(self, username: str) -> Account | None:
        # Other names never reach the store: it may not know how to keep NUL, and lower-casing makes
        # an ASCII letter of the Kelvin sign.
        if not USERNAME.fullmatch(username):
            return None
        key = account_key(username)
        account = await self._store.account(key)
        if account is None and key == ADMIN and self._admin_added:
            await asyncio.wait([self._admin_added])
            account = await self._store.account(key)
        return account

    async def _add_admin(self, password: str) -> None:
        while True:
            try:
                admin = Account(ADMIN, await self._passwords.hash(password), _ADMIN_SCOPES)
                await self._store.add_account(admin)
            except (Busy, StoreUnavailable):
                await asyncio.sleep(_ANOTHER_TRY)
            else:
                return
