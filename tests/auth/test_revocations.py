import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest

from pisync.auth.revocations import RevocationFeed
from pisync.model.account import (
    Account,
    TokenRevocation,
    TokenRevocations,
)
from pisync.stores.embedded.accounts.accounts import EmbeddedAccounts
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.writers import ImmediateWriter
from pisync.stores.errors import StoreUnavailable
from tests.conftest import ManualTime
from tests.support.stalls import Stalls


class AwayAccounts(EmbeddedAccounts):
    """Accounts that can be away."""

    away = False

    async def revocations(self, known: int = 0) -> TokenRevocations:
        if self.away:
            raise StoreUnavailable
        return await super().revocations(known)

    async def disable(self, name: str) -> None:
        """Add an account and disable it, as another replica might."""
        await self.add(Account(name, b"", ()))
        await self.change(name, lambda account: replace(account, disabled=True))


async def new_accounts() -> AwayAccounts:
    writer = ImmediateWriter()
    await writer.open(FleetRegistry(ManualTime(), 1, 1))
    return AwayAccounts(writer)


class Told:
    def __init__(self) -> None:
        self.keys: list[str] = []
        self.news = asyncio.Event()

    def __call__(self, restrictions: Iterable[TokenRevocation]) -> None:
        told = [each.key for each in restrictions]
        self.keys += told
        if told:
            self.news.set()


async def test_those_that_are_there_are_told_at_the_start() -> None:
    accounts, told = await new_accounts(), Told()
    await accounts.disable("alice")
    restrictions = RevocationFeed(accounts, told)
    await restrictions.start()
    assert told.keys == ["alice"]
    await restrictions.close()


async def test_those_that_another_replica_makes_are_told_once_and_soon() -> None:
    accounts, told = await new_accounts(), Told()
    restrictions = RevocationFeed(accounts, told, interval=0.01)
    await restrictions.start()
    for name in ("alice", "bob"):
        told.news.clear()
        await accounts.disable(name)
        await asyncio.wait_for(told.news.wait(), 50)
    await asyncio.sleep(0.05)
    assert told.keys == ["alice", "bob"]
    await restrictions.close()


@pytest.mark.slow
async def test_it_is_looked_every_2_s() -> None:
    """So that on any replica a token is refused 5 s after it was ended."""
    accounts, told = await new_accounts(), Told()
    restrictions = RevocationFeed(accounts, told)
    await restrictions.start()
    async with Stalls() as stalls:
        began = time.monotonic()
        await accounts.disable("alice")
        await asyncio.wait_for(told.news.wait(), 50)
        assert time.monotonic() - began - stalls.seconds < 4
    await restrictions.close()


async def test_what_the_store_could_not_tell_it_tells_when_it_is_back() -> None:
    accounts, told = await new_accounts(), Told()
    await accounts.disable("alice")
    accounts.away = True
    restrictions = RevocationFeed(accounts, told, interval=0.01)
    await restrictions.start()
    await asyncio.sleep(0.05)
    assert told.keys == []
    accounts.away = False
    await asyncio.wait_for(told.news.wait(), 50)
    await restrictions.close()
