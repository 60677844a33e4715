import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from pisync.model.account import (
    Account,
    LoginDecision,
    TokenRevocation,
)
from pisync.stores.base import Store
from pisync.stores.errors import AccountChanged, NoSuchAccount
from tests.support.stores.harness import StoreHarness

ALICE = Account("Alice", b"$2b$04$hash", ("devices",))
ROOT = Account("admin", b"$2b$04$other", ("devices", "admin"))
NAME, ADDRESS, OTHER = b"name", b"address", b"\x00other\xff"
BOTH = (NAME, ADDRESS)

Change = Callable[[Account], Account]
Reopen = Callable[[], Awaitable[Store]]


class TestAccounts:
    async def test_are_found_by_their_key(self, store: Store) -> None:
        assert await store.accounts.find("alice") is None
        assert await store.accounts.add(ALICE)
        assert await store.accounts.add(ROOT)
        assert await store.accounts.find("alice") == ALICE
        assert await store.accounts.find("admin") == ROOT
        assert await store.accounts.find("Alice") is None

    async def test_are_one_a_name_whatever_the_case(self, store: Store) -> None:
        assert await store.accounts.add(ALICE)
        assert not await store.accounts.add(Account("aLICE", b"another", ()))
        assert await store.accounts.find("alice") == ALICE

    async def test_are_one_a_name_however_many_register_at_once(self, store: Store) -> None:
        rivals = [Account(name, name.encode(), ()) for name in ("bob", "Bob", "BOB", "bOb") * 5]
        added = await asyncio.gather(*map(store.accounts.add, rivals))
        assert added.count(True) == 1
        assert await store.accounts.find("bob") == rivals[added.index(True)]

    async def test_may_have_no_scopes(self, store: Store) -> None:
        await store.accounts.add(Account("nobody", b"", ()))
        account = await store.accounts.find("nobody")
        assert account is not None
        assert account.scopes == ()

    async def test_outlive_fleets(self, store: Store) -> None:
        await store.accounts.add(ALICE)
        await store.fleets.reset("default")
        assert await store.accounts.find("alice") == ALICE

    async def test_come_in_pages_by_their_keys_bytes(self, store: Store) -> None:
        names = ["Zoe", "alice", "Bob", "a-b", "a.b", "a_b", "a0b"]
        for name in names:
            await store.accounts.add(Account(name, name.encode(), ("devices",)))
        keys, after = [], ""
        for length, more in ((3, True), (3, True), (1, False)):
            page = await store.accounts.page(after=after, limit=3)
            assert (len(page.accounts), page.total, page.more) == (length, len(names), more)
            keys += [each.key for each in page.accounts]
            after = keys[-1]
        assert keys == sorted(map(str.lower, names))
        assert await store.accounts.page(after="zoe", limit=1) == ([], len(names), False)


def with_password(password_hash: bytes, now: int) -> Change:
    return lambda account: replace(account, password_hash=password_hash).with_tokens_ended(now)


def disabled(account: Account) -> Account:
    return replace(account, disabled=True).with_tokens_ended(7)


def refuse(_: Account) -> Account:
    raise AccountChanged


class TestChangingAnAccount:
    async def test_changes_that_one(self, store: Store) -> None:
        await store.accounts.add(ALICE)
        await store.accounts.add(ROOT)
        changed = await store.accounts.change("alice", with_password(b"new", 5))
        assert changed == replace(ALICE, password_hash=b"new", tokens_since=5)
        assert await store.accounts.find("alice") == changed
        assert await store.accounts.find("admin") == ROOT
        assert (await store.accounts.page(after="admin", limit=9)).accounts == [changed]

    async def test_that_is_not_there_is_refused(self, store: Store) -> None:
        with pytest.raises(NoSuchAccount):
            await store.accounts.change("alice", disabled)
        with pytest.raises(NoSuchAccount):
            await store.accounts.delete("alice", 5)

    async def test_that_the_change_refuses_changes_nothing(self, store: Store) -> None:
        await store.accounts.add(ALICE)
        with pytest.raises(AccountChanged):
            await store.accounts.change("alice", refuse)
        assert await store.accounts.find("alice") == ALICE

    async def test_at_once_with_others_loses_none(self, store: Store) -> None:
        await store.accounts.add(ALICE)

        def longer(account: Account) -> Account:
            hashed = account.password_hash + b"x"
            return replace(account, password_hash=hashed).with_tokens_ended(0)

        await asyncio.gather(*(store.accounts.change("alice", longer) for _ in range(20)))
        account = await store.accounts.find("alice")
        assert account is not None
        assert account.password_hash == ALICE.password_hash + b"x" * 20
        assert account.tokens_since == 20

    async def test_outlasts_the_process(
        self, store: Store, reopen: Reopen, home: StoreHarness
    ) -> None:
        await store.accounts.add(ALICE)
        await store.accounts.add(ROOT)
        changed = await store.accounts.change("alice", disabled)
        await store.accounts.delete("admin", 9)
        if not home.outlives_the_process:
            return
        store = await reopen()
        assert await store.accounts.find("alice") == changed
        assert await store.accounts.find("admin") is None
        kept = (await store.accounts.revocations()).revocations
        assert sorted(kept) == [("admin", False, 9), ("alice", True, 7)]


class TestADeletedAccount:
    async def test_is_gone_and_its_name_free(self, store: Store) -> None:
        await store.accounts.add(ALICE)
        await store.accounts.delete("alice", 5)
        assert await store.accounts.find("alice") is None
        assert (await store.accounts.page(after="", limit=9)).total == 0
        assert await store.accounts.add(Account("ALICE", b"another", ()))

    async def test_leaves_its_tokens_to_nobody(self, store: Store) -> None:
        await store.accounts.add(ALICE)
        await store.accounts.change("alice", with_password(b"new", 1000))
        await store.accounts.delete("alice", 5)
        await store.accounts.add(Account("alice", b"another", ()))
        account = await store.accounts.find("alice")
        assert account == Account("alice", b"another", (), tokens_since=1001)
        changed = await store.accounts.change("alice", with_password(b"newer", 0))
        assert changed.tokens_since == 1002


class TestRestrictions:
    async def test_are_none_at_first(self, store: Store) -> None:
        await store.accounts.add(ALICE)
        assert (await store.accounts.revocations()).revocations == []

    async def test_follow_from_what_was_done(self, store: Store) -> None:
        for account in (ALICE, ROOT, Account("bob", b"", ()), Account("eve", b"", ())):
            await store.accounts.add(account)
        await store.accounts.change("alice", disabled)
        await store.accounts.change("bob", lambda account: replace(account, scopes=("admin",)))
        await store.accounts.change("admin", with_password(b"new", 4))
        await store.accounts.delete("eve", 5)
        assert set((await store.accounts.revocations()).revocations) == {
            TokenRevocation("alice", disabled=True, tokens_since=7),
            TokenRevocation("admin", tokens_since=4),
            TokenRevocation("eve", tokens_since=5),
        }

    async def test_are_asked_for_since_the_last_time(self, store: Store) -> None:
        await store.accounts.add(ALICE)
        await store.accounts.add(ROOT)
        await store.accounts.change("alice", disabled)
        known = (await store.accounts.revocations()).version
        await store.accounts.change("admin", disabled)
        news = await store.accounts.revocations(known)
        assert TokenRevocation("admin", disabled=True, tokens_since=7) in news.revocations
        await store.accounts.change("admin", lambda account: replace(account, disabled=False))
        news = await store.accounts.revocations(news.version)
        assert TokenRevocation("admin", tokens_since=7) in news.revocations


async def guess(store: Store, *keys: bytes, limit: int = 3, window: float = 60) -> LoginDecision:
    return (await store.login_attempts.acquire(keys or BOTH, limit, window)).decision


async def fail(store: Store, *keys: bytes, window: float = 60) -> None:
    assert await guess(store, *keys, window=window) is LoginDecision.ALLOWED
    await store.login_attempts.record(keys or BOTH, failed=True)


class TestGuesses:
    async def test_are_allowed_while_failures_are_fewer_than_the_limit(self, store: Store) -> None:
        for _ in range(3):
            await fail(store)
        permit = await store.login_attempts.acquire(BOTH, 3, 60)
        assert permit.decision is LoginDecision.REFUSED
        assert 50 < permit.retry_after < 60.1

    @pytest.mark.parametrize("keys", [(NAME, OTHER), (OTHER, ADDRESS), (NAME,), (ADDRESS,)])
    async def test_are_counted_under_each_key(self, store: Store, keys: tuple[bytes, ...]) -> None:
        for _ in range(3):
            await fail(store)
        assert await guess(store, *keys) is LoginDecision.REFUSED
        assert await guess(store, OTHER) is LoginDecision.ALLOWED

    async def test_that_are_right_count_nothing(self, store: Store) -> None:
        for _ in range(10):
            assert await guess(store) is LoginDecision.ALLOWED
            await store.login_attempts.record(BOTH, failed=False)

    async def test_under_way_are_counted_until_they_end(self, store: Store) -> None:
        await fail(store)
        assert [await guess(store) for _ in range(3)] == [
            LoginDecision.ALLOWED,
            LoginDecision.ALLOWED,
            LoginDecision.WAIT,
        ]
        await store.login_attempts.record(BOTH, failed=False)
        assert await guess(store) is LoginDecision.ALLOWED
        await store.login_attempts.record(BOTH, failed=True)
        await store.login_attempts.record(BOTH, failed=True)
        assert await guess(store) is LoginDecision.REFUSED

    async def test_at_once_are_never_more_than_the_limit(self, store: Store) -> None:
        guesses = await asyncio.gather(*(guess(store, limit=5) for _ in range(30)))
        assert guesses.count(LoginDecision.ALLOWED) == 5
        assert guesses.count(LoginDecision.WAIT) == 25

    async def test_are_forgotten_with_their_window(self, store: Store, home: StoreHarness) -> None:
        for _ in range(3):
            await fail(store, window=0.5)
        assert await guess(store, window=0.5) is LoginDecision.REFUSED
        await home.pass_time(0.51)
        assert await guess(store, window=0.5) is LoginDecision.ALLOWED

    async def test_have_a_window_that_starts_with_the_first_failure(
        self, store: Store, home: StoreHarness
    ) -> None:
        await fail(store, window=1)
        await home.pass_time(0.6)
        await fail(store, window=1)
        await fail(store, window=1)
        assert await guess(store, window=1) is LoginDecision.REFUSED
        await home.pass_time(0.41)
        assert await guess(store, window=1) is LoginDecision.ALLOWED

    async def test_may_be_asked_again_when_the_answer_says(
        self, store: Store, home: StoreHarness
    ) -> None:
        for _ in range(3):
            await fail(store, window=0.3)
        permit = await store.login_attempts.acquire(BOTH, 3, 0.3)
        assert permit.decision is LoginDecision.REFUSED
        assert 0 < permit.retry_after < 0.301
        await home.pass_time(permit.retry_after + 0.01)
        assert await guess(store) is LoginDecision.ALLOWED
