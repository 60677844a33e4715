import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace

import pytest

from pisync.auth.revocations import RevocationFeed
from pisync.model.account import (
    Account,
    TokenRevocation,
)
from pisync.model.first_fleet import first_fleet
from pisync.model.profile import Profile
from pisync.stores.base import (
    StoreUnavailable,
    TokenRevocations,
)
from pisync.stores.embedded.store import MemoryStore
from tests.conftest import ManualTime
from tests.support.stalls import Stalls


class Store(MemoryStore):
    """A memory store that can be away."""

    def __init__(self) -> None:
        super().__init__(first_fleet(), Profile(seed=7), ManualTime())
        self.away = False

    async def revocations(self, known: int = 0) -> TokenRevocations:
        if self.away:
            raise StoreUnavailable
        return await super().revocations(known)

    async def disable(self, name: str) -> None:
        """Add an account and disable it, as another replica might."""
        await self.add_account(Account(name, b"", ()))
        await self.change_account(name, lambda account: replace(account, disabled=True))


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
    store, told = Store(), Told()
    await store.disable("alice")
    restrictions = RevocationFeed(store, told)
    await restrictions.start()
    assert told.keys == ["alice"]
    await restrictions.close()


async def test_those_that_another_replica_makes_are_told_once_and_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pisync.auth.revocations._EVERY", 0.01)
    store, told = Store(), Told()
    restrictions = RevocationFeed(store, told)
    await restrictions.start()
    for name in ("alice", "bob"):
        told.news.clear()
        await store.disable(name)
        await asyncio.wait_for(told.news.wait(), 50)
    await asyncio.sleep(0.05)
    assert told.keys == ["alice", "bob"]
    await restrictions.close()


@pytest.mark.slow
async def test_it_is_looked_every_2_s() -> None:
    """So that on any replica a token is refused 5 s after it was ended."""
    store, told = Store(), Told()
    restrictions = RevocationFeed(store, told)
    await restrictions.start()
    async with Stalls() as stalls:
        began = time.monotonic()
        await store.disable("alice")
        await asyncio.wait_for(told.news.wait(), 50)
        assert time.monotonic() - began - stalls.seconds < 4
    await restrictions.close()


async def test_what_the_store_could_not_tell_it_tells_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pisync.auth.revocations._EVERY", 0.01)
    store, told = Store(), Told()
    await store.disable("alice")
    store.away = True
    restrictions = RevocationFeed(store, told)
    await restrictions.start()
    await asyncio.sleep(0.05)
    assert told.keys == []
    store.away = False
    await asyncio.wait_for(told.news.wait(), 50)
    await restrictions.close()
