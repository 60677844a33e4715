import asyncio

import pytest

from pisync.stores.base import Account, Guess, Store
from tests.stores.homes import Home

ALICE = Account("Alice", b"$2b$04$hash", ("devices",))
ROOT = Account("admin", b"$2b$04$other", ("devices", "admin"))
NAME, ADDRESS, OTHER = b"name", b"address", b"\x00other\xff"
BOTH = (NAME, ADDRESS)


class TestAccounts:
    async def test_are_found_by_their_key(self, store: Store) -> None:
        assert await store.account("alice") is None
        assert await store.add_account(ALICE)
        assert await store.add_account(ROOT)
        assert await store.account("alice") == ALICE
        assert await store.account("admin") == ROOT
        assert await store.account("Alice") is None

    async def test_are_one_a_name_whatever_the_case(self, store: Store) -> None:
        assert await store.add_account(ALICE)
        assert not await store.add_account(Account("aLICE", b"another", ()))
        assert await store.account("alice") == ALICE

    async def test_are_one_a_name_however_many_register_at_once(self, store: Store) -> None:
        rivals = [Account(name, name.encode(), ()) for name in ("bob", "Bob", "BOB", "bOb") * 5]
        added = await asyncio.gather(*map(store.add_account, rivals))
        assert added.count(True) == 1
        assert await store.account("bob") == rivals[added.index(True)]

    async def test_may_have_no_scopes(self, store: Store) -> None:
        await store.add_account(Account("nobody", b"", ()))
        account = await store.account("nobody")
        assert account is not None
        assert account.scopes == ()

    async def test_outlive_fleets(self, store: Store) -> None:
        await store.add_account(ALICE)
        await store.reset_fleet("default")
        assert await store.account("alice") == ALICE


async def guess(store: Store, *keys: bytes, limit: int = 3, window: float = 60) -> Guess:
    return (await store.ask_to_guess(keys or BOTH, limit, window)).guess


async def fail(store: Store, *keys: bytes, window: float = 60) -> None:
    assert await guess(store, *keys, window=window) is Guess.ALLOWED
    await store.guessed(keys or BOTH, failed=True)


class TestGuesses:
    async def test_are_allowed_while_failures_are_fewer_than_the_limit(self, store: Store) -> None:
        for _ in range(3):
            await fail(store)
        permit = await store.ask_to_guess(BOTH, 3, 60)
        assert permit.guess is Guess.REFUSED
        assert 50 < permit.retry_after < 60.1

    @pytest.mark.parametrize("keys", [(NAME, OTHER), (OTHER, ADDRESS), (NAME,), (ADDRESS,)])
    async def test_are_counted_under_each_key(self, store: Store, keys: tuple[bytes, ...]) -> None:
        for _ in range(3):
            await fail(store)
        assert await guess(store, *keys) is Guess.REFUSED
        assert await guess(store, OTHER) is Guess.ALLOWED

    async def test_that_are_right_count_nothing(self, store: Store) -> None:
        for _ in range(10):
            assert await guess(store) is Guess.ALLOWED
            await store.guessed(BOTH, failed=False)

    async def test_under_way_are_counted_until_they_end(self, store: Store) -> None:
        await fail(store)
        assert [await guess(store) for _ in range(3)] == [
            Guess.ALLOWED,
            Guess.ALLOWED,
            Guess.WAIT,
        ]
        await store.guessed(BOTH, failed=False)
        assert await guess(store) is Guess.ALLOWED
        await store.guessed(BOTH, failed=True)
        await store.guessed(BOTH, failed=True)
        assert await guess(store) is Guess.REFUSED

    async def test_at_once_are_never_more_than_the_limit(self, store: Store) -> None:
        guesses = await asyncio.gather(*(guess(store, limit=5) for _ in range(30)))
        assert guesses.count(Guess.ALLOWED) == 5
        assert guesses.count(Guess.WAIT) == 25

    async def test_are_forgotten_with_their_window(self, store: Store, home: Home) -> None:
        for _ in range(3):
            await fail(store, window=0.5)
        assert await guess(store, window=0.5) is Guess.REFUSED
        await home.pass_time(0.51)
        assert await guess(store, window=0.5) is Guess.ALLOWED

    async def test_have_a_window_that_starts_with_the_first_failure(
        self, store: Store, home: Home
    ) -> None:
        await fail(store, window=1)
        await home.pass_time(0.6)
        await fail(store, window=1)
        await fail(store, window=1)
        assert await guess(store, window=1) is Guess.REFUSED
        await home.pass_time(0.41)
        assert await guess(store, window=1) is Guess.ALLOWED

    async def test_may_be_asked_again_when_the_answer_says(self, store: Store, home: Home) -> None:
        for _ in range(3):
            await fail(store, window=0.3)
        permit = await store.ask_to_guess(BOTH, 3, 0.3)
        assert permit.guess is Guess.REFUSED
        assert 0 < permit.retry_after < 0.301
        await home.pass_time(permit.retry_after + 0.01)
        assert await guess(store) is Guess.ALLOWED
