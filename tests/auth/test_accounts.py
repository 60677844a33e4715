import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import bcrypt
import pytest

from pisync.auth.accounts import (
    Accounts,
    NameTaken,
    WrongCredentials,
)
from pisync.auth.login_throttle import TooManyFailures
from pisync.auth.passwords import Passwords
from pisync.clocks import MachineClocks
from pisync.concurrency.keyed_queue import Busy
from pisync.model.account import Account, LoginDecision, LoginPermit
from pisync.model.first_fleet import first_fleet
from pisync.model.plans.profile import Profile
from pisync.stores.embedded.accounts.accounts import EmbeddedAccounts
from pisync.stores.embedded.accounts.login_attempts import EmbeddedLoginAttempts
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.embedded.writers import Writer
from pisync.stores.errors import AdminProtected, NoSuchAccount, StoreUnavailable
from tests.conftest import ManualTime
from tests.support.stores.recording_observer import RecordingObserver

RIGHT, WRONG = "correct horse", "incorrect horse"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
LIMIT, WINDOW = 10, 60.0


class Hashes:
    """Counts what is hashed."""

    def __init__(self) -> None:
        self.count = 0

    def hashing(self, queued: int) -> None:
        pass

    def hashed(self, seconds: float) -> None:
        self.count += 1


class WatchedAccounts(EmbeddedAccounts):
    """Accounts that can be away, and that remember which keys they were asked for."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self.away = False
        self.looked_up: list[str] = []

    async def add(self, account: Account) -> bool:
        if self.away:
            raise StoreUnavailable
        return await super().add(account)

    async def find(self, key: str) -> Account | None:
        self.looked_up.append(key)
        return await super().find(key)


class WatchedLoginAttempts(EmbeddedLoginAttempts):
    """Login attempts that remember which keys they were asked about."""

    def __init__(self, writer: Writer, clocks: MachineClocks) -> None:
        super().__init__(writer, clocks)
        self.asked: list[Sequence[bytes]] = []

    async def acquire(self, keys: Sequence[bytes], limit: int, window: float) -> LoginPermit:
        self.asked.append(keys)
        return await super().acquire(keys, limit, window)


class Store(EmbeddedStore):
    """A memory store with both of them."""

    accounts: WatchedAccounts
    login_attempts: WatchedLoginAttempts

    def __init__(self, time: ManualTime) -> None:
        super().__init__(first_fleet(), Profile(seed=7), time)
        self.accounts = WatchedAccounts(self._writer)
        self.login_attempts = WatchedLoginAttempts(self._writer, time)


@dataclass
class Bench:
    """Accounts, and all that they are made of."""

    accounts: Accounts
    store: Store
    time: ManualTime
    hashes: Hashes

    async def login(self, name: str, password: str, address: str = HERE) -> Account:
        return await self.accounts.login(name, password, address)

    async def fail(self, name: str, times: int = 1, address: str = HERE) -> None:
        for _ in range(times):
            with pytest.raises(WrongCredentials):
                await self.login(name, WRONG, address)


@asynccontextmanager
async def bench(
    failures: tuple[int, float] | None = (LIMIT, WINDOW),
    *,
    cost: int = 4,
    max_waiting: int = 500,
) -> AsyncIterator[Bench]:
    time, hashes = ManualTime(), Hashes()
    store = Store(time)
    await store.open(RecordingObserver())
    passwords = Passwords(cost, hashes, threads=1, max_waiting=max_waiting)
    accounts = Accounts(store, passwords, failures)
    yield Bench(accounts, store, time, hashes)
    await accounts.close()
    passwords.close()


@contextmanager
def held_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Awaitable[object]]]:
    """Let no hash be done until the end; gives what waits for one to have begun."""
    begun, may_end = threading.Event(), threading.Event()

    def hashpw(password: bytes, salt: bytes) -> bytes:
        begun.set()
        may_end.wait()
        return bcrypt.hashpw(password, salt)

    with monkeypatch.context() as patches:
        patches.setattr("pisync.auth.passwords.bcrypt", SimpleNamespace(hashpw=hashpw))
        try:
            yield lambda: asyncio.to_thread(begun.wait)
        finally:
            may_end.set()


async def outcomes(calls: Sequence[Coroutine[Any, Any, Account]]) -> list[type]:
    """What each of several calls at once came to: Account, or what it raised."""
    async with asyncio.timeout(20):
        return [type(end) for end in await asyncio.gather(*calls, return_exceptions=True)]


# Registering


async def test_a_registered_account_has_the_name_as_given_and_the_scope_devices() -> None:
    async with bench() as b:
        account = await b.accounts.register("Alice", RIGHT)
        assert (account.name, account.scopes) == ("Alice", ("devices",))
        assert RIGHT.encode() not in account.password_hash
        for name in ("alice", "ALICE", "Alice"):
            assert await b.login(name, RIGHT) == account


async def test_a_name_is_taken_whatever_the_case_and_costs_no_second_hash() -> None:
    async with bench() as b:
        await b.accounts.register("Alice", RIGHT)
        for name in ("Alice", "alice", "aLiCe"):
            with pytest.raises(NameTaken):
                await b.accounts.register(name, "another password")
        assert b.hashes.count == 1
        assert (await b.login("alice", RIGHT)).name == "Alice"


async def test_of_two_hundred_who_want_one_name_at_once_exactly_one_gets_it() -> None:
    async with bench() as b:
        names = [("alice", "Alice", "ALICE")[n % 3] for n in range(200)]
        got = await outcomes([b.accounts.register(name, RIGHT) for name in names])
        assert (got.count(Account), got.count(NameTaken)) == (1, 199)
        assert b.hashes.count == 1


async def test_two_processes_cannot_both_have_a_name() -> None:
    async with bench() as b, bench() as other:
        twin = Accounts(b.store, Passwords(4), None)
        got = await outcomes([a.register("alice", RIGHT) for a in (b.accounts, twin)])
        assert sorted(each.__name__ for each in got) == ["Account", "NameTaken"]
        assert (await other.accounts.register("alice", RIGHT)).name == "alice"


async def test_a_name_stays_free_when_its_registration_comes_to_nothing() -> None:
    async with bench(max_waiting=0) as b:
        busy = asyncio.create_task(b.accounts.register("somebody", RIGHT))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await b.accounts.register("alice", RIGHT)
        await busy
        assert (await b.accounts.register("alice", RIGHT)).name == "alice"


@pytest.mark.parametrize("name", ["admin", "Admin", "ADMIN"])
async def test_the_name_admin_is_always_taken(name: str) -> None:
    async with bench() as b:
        with pytest.raises(NameTaken):
            await b.accounts.register(name, RIGHT)


# Logging in


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("kate", WRONG),
        ("kate", ""),
        ("kate", RIGHT + " "),
        ("kate", RIGHT + "\0"),
        ("kate", "x" * 73),
        ("kate", "x" * 65_000),
        ("kate", "\ud800"),
        ("nobody", RIGHT),
        ("nobody", "x" * 73),
        ("admin", RIGHT),
        ("", RIGHT),
        ("kate\n", RIGHT),
        ("kate\0", RIGHT),
        (" kate", RIGHT),
        ("\N{KELVIN SIGN}ate", RIGHT),
        ("k\ud800te", RIGHT),
        ("x" * 65_000, RIGHT),
    ],
)
async def test_whatever_is_wrong_it_looks_and_costs_and_counts_the_same(
    name: str, password: str
) -> None:
    async with bench() as b:
        await b.accounts.register("kate", RIGHT)
        for _ in range(LIMIT):
            hashed = b.hashes.count
            with pytest.raises(WrongCredentials):
                await b.login(name, password)
            assert b.hashes.count == hashed + 1
        with pytest.raises(TooManyFailures):
            await b.login(name, password)
        assert all(key.isascii() and key.isalnum() for key in b.store.accounts.looked_up)


async def test_a_password_of_72_bytes_and_one_of_emoji_work() -> None:
    async with bench() as b:
        for name, password in (("long", "é" * 36), ("emoji", "🔑🐴🔋📎" * 4)):
            await b.accounts.register(name, password)
            assert (await b.login(name, password)).name == name
            await b.fail(name)


# Too many failures


async def test_after_too_many_failures_even_the_right_password_waits_for_the_window() -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        await b.fail("Alice", LIMIT - 1)
        assert await b.login("alice", RIGHT)
        await b.fail("alice")
        b.time.pass_seconds(20)
        hashed = b.hashes.count
        for password in (RIGHT, WRONG):
            with pytest.raises(TooManyFailures) as refused:
                await b.login("aLICE", password)
            assert refused.value.retry_after == 40
        assert b.hashes.count == hashed
        b.time.pass_seconds(40)
        assert await b.login("alice", RIGHT)


async def test_failures_are_counted_for_the_account_from_any_address() -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        await b.accounts.register("bob", RIGHT)
        for number in range(LIMIT):
            await b.fail("alice", address=f"198.51.100.{number}")
        with pytest.raises(TooManyFailures):
            await b.login("alice", RIGHT, ELSEWHERE)
        assert await b.login("bob", RIGHT, ELSEWHERE)
        assert await b.login("bob", RIGHT, "198.51.100.0")


async def test_failures_are_counted_for_the_address_with_any_name() -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        for number in range(LIMIT):
            await b.fail(f"nobody{number}")
        with pytest.raises(TooManyFailures):
            await b.login("alice", RIGHT, HERE)
        assert await b.login("alice", RIGHT, ELSEWHERE)


async def test_the_addresses_of_one_network_of_ipv6_are_one_client() -> None:
    async with bench() as b:
        for number in range(LIMIT):
            await b.fail(f"user{number}", address=f"2001:db8:0:1::{number:x}")
        with pytest.raises(TooManyFailures):
            await b.login("alice", WRONG, "2001:db8:0:1:ffff:ffff:ffff:ffff")
        await b.fail("alice", address="2001:db8:0:2::1")
        await b.fail("alice", address="192.0.2.1")


async def test_a_name_that_is_an_address_is_not_that_address() -> None:
    async with bench() as b:
        await b.accounts.register(HERE, RIGHT)
        await b.fail("nobody", LIMIT, HERE)
        assert await b.login(HERE, RIGHT, ELSEWHERE)


async def test_of_a_hundred_wrong_guesses_at_once_no_more_than_the_limit_are_tried() -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        got = await outcomes([b.login("alice", f"{WRONG} {n}") for n in range(100)])
        assert (got.count(WrongCredentials), got.count(TooManyFailures)) == (LIMIT, 100 - LIMIT)
        assert b.hashes.count == 1 + LIMIT
        with pytest.raises(TooManyFailures):
            await b.login("alice", RIGHT)
        b.time.pass_seconds(WINDOW)
        assert await b.login("alice", RIGHT)


@pytest.mark.parametrize("failed_before", [0, LIMIT - 1])
async def test_good_logins_are_not_throttled_however_many_at_once(
    failed_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They hear of each other's ends, and need not look.
    monkeypatch.setattr("pisync.auth.login_throttle._INTERVAL", 60.0)
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        await b.fail("alice", failed_before)
        got = await outcomes([b.login("alice", RIGHT) for _ in range(50)])
        assert got == [Account] * 50


async def test_good_logins_among_some_wrong_ones_get_through() -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        guesses = [RIGHT if number % 6 else WRONG for number in range(54)]
        got = await outcomes([b.login("alice", guess) for guess in guesses])
        assert (got.count(Account), got.count(WrongCredentials)) == (45, 9)


async def test_those_who_wait_do_not_all_ask_the_store_whenever_a_guess_ends() -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        await b.fail("alice", LIMIT - 1)
        await outcomes([b.login("alice", RIGHT) for _ in range(100)])
        assert len(b.store.login_attempts.asked) < 100 * (LIMIT + 1)


async def test_without_a_limit_nobody_is_throttled() -> None:
    async with bench(None) as b:
        await b.accounts.register("alice", RIGHT)
        await b.fail("alice", 30)
        assert await b.login("alice", RIGHT)
        assert b.store.login_attempts.asked == []


async def test_a_guess_of_another_replica_is_waited_for() -> None:
    async with bench((1, WINDOW)) as b:
        await b.accounts.register("alice", RIGHT)
        await b.login("alice", RIGHT)
        keys = b.store.login_attempts.asked[-1]
        assert (
            await b.store.login_attempts.acquire(keys, 1, WINDOW)
        ).decision is LoginDecision.ALLOWED
        login = asyncio.create_task(b.login("alice", RIGHT))
        await asyncio.sleep(0.05)
        assert not login.done()
        await b.store.login_attempts.record(keys, failed=False)
        assert await asyncio.wait_for(login, 5)


async def test_waiting_for_a_guess_that_never_ends_ends_in_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pisync.auth.login_throttle._MAX_WAIT", 0.1)
    async with bench((1, WINDOW)) as b:
        await b.fail("nobody")
        b.time.pass_seconds(WINDOW)
        await b.store.login_attempts.acquire(b.store.login_attempts.asked[-1], 1, WINDOW)
        with pytest.raises(Busy):
            await b.login("nobody", WRONG)


async def test_a_guess_that_could_not_be_tried_is_not_counted_and_not_left_under_way() -> None:
    async with bench((1, WINDOW), max_waiting=0) as b:
        await b.accounts.register("alice", RIGHT)
        hashing = asyncio.create_task(b.accounts.register("somebody", RIGHT))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await b.login("alice", RIGHT)
        await hashing
        assert await asyncio.wait_for(b.login("alice", RIGHT), 5)


async def test_a_client_that_hangs_up_leaves_no_guess_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench((2, WINDOW)) as b:
        await b.accounts.register("alice", RIGHT)
        with held_hashes(monkeypatch) as begun:
            logins = [asyncio.create_task(b.login("alice", WRONG)) for _ in range(10)]
            await begun()  # one is hashed, another is about to be, the others stand in line
            for login in logins:
                login.cancel()
            await asyncio.wait(logins)
        assert all(login.cancelled() for login in logins)
        assert await asyncio.wait_for(b.login("alice", RIGHT), 5)
        await b.fail("alice", 2)


# The admin


async def test_the_admin_gets_the_given_password_and_both_scopes() -> None:
    async with bench() as b:
        assert await b.accounts.start(RIGHT, draw=True) is None
        admin = await b.login("Admin", RIGHT)
        assert (admin.name, admin.scopes) == ("admin", ("devices", "admin"))
        await b.fail("admin")


async def test_without_a_given_password_one_is_drawn_and_told() -> None:
    async with bench() as b, bench() as other:
        drawn = await b.accounts.start(None, draw=True)
        assert drawn is not None
        assert len(drawn) >= 16
        assert drawn != await other.accounts.start(None, draw=True)
        assert "admin" in (await b.login("admin", drawn)).scopes


async def test_where_none_is_given_or_drawn_there_is_no_admin() -> None:
    async with bench() as b:
        assert await b.accounts.start(None, draw=False) is None
        await b.fail("admin")
        with pytest.raises(NameTaken):
            await b.accounts.register("admin", RIGHT)


async def test_an_admin_who_is_there_stays() -> None:
    async with bench() as b:
        await b.accounts.start(RIGHT, draw=True)
        await b.login("admin", RIGHT)
        again = Accounts(b.store, Passwords(4), None)
        assert await again.start(None, draw=True) is None
        assert await again.login("admin", RIGHT, HERE)


async def test_the_start_does_not_wait_for_the_admins_hash_but_a_login_as_admin_does() -> None:
    async with bench(cost=8) as b:
        await b.accounts.start(RIGHT, draw=False)
        assert b.hashes.count == 0
        assert await b.login("admin", RIGHT)


async def test_the_admin_is_added_when_the_store_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pisync.auth.accounts._ANOTHER_TRY", 0.01)
    async with bench() as b:
        b.store.accounts.away = True
        await b.accounts.start(RIGHT, draw=False)
        login = asyncio.create_task(b.login("admin", RIGHT))
        await asyncio.sleep(0.1)
        assert not login.done()
        b.store.accounts.away = False
        assert await asyncio.wait_for(login, 5)


async def test_closing_at_once_ends_the_start() -> None:
    async with bench(cost=8) as b:
        await b.accounts.start(RIGHT, draw=False)
        await b.accounts.close()
        assert await b.store.accounts.find("admin") is None


async def test_a_password_that_bcrypt_cannot_take_does_not_start() -> None:
    async with bench() as b:
        with pytest.raises(ValueError, match="admin"):
            await b.accounts.start("x" * 73, draw=True)


async def test_an_admin_who_has_another_password_gets_the_given_one_and_new_tokens() -> None:
    async with bench() as b:
        await b.accounts.start(RIGHT, draw=True)
        before = await b.login("admin", RIGHT)
        again = Accounts(b.store, Passwords(4), None)
        assert await again.start("another password", draw=True) is None
        after = await again.login("admin", "another password", HERE)
        assert (after.scopes, after.tokens_since > before.tokens_since) == (before.scopes, True)
        with pytest.raises(WrongCredentials):
            await again.login("admin", RIGHT, HERE)
        await again.close()


async def test_an_admin_who_has_the_given_password_keeps_it_and_all_tokens() -> None:
    async with bench() as b:
        await b.accounts.start(RIGHT, draw=True)
        before = await b.login("admin", RIGHT)
        again = Accounts(b.store, Passwords(4), None)
        await again.start(RIGHT, draw=True)
        assert await again.login("admin", RIGHT, HERE) == before
        await again.close()


# Another password


async def test_a_new_password_takes_the_place_of_the_old_and_begins_a_generation() -> None:
    async with bench() as b:
        before = await b.accounts.register("Alice", RIGHT)
        after = await b.accounts.change_password("alice", RIGHT, "another password", HERE)
        assert (after.name, after.scopes) == ("Alice", ("devices",))
        assert after.tokens_since > before.tokens_since
        assert await b.login("alice", "another password") == after
        await b.fail("alice")
        with pytest.raises(WrongCredentials):
            await b.login("alice", RIGHT)


async def test_generations_grow_though_the_clock_steps_back() -> None:
    async with bench() as b:
        clocks = ManualTime()
        times = [2_000_000_000, 1_000_000_000, 3_000_000_000]
        accounts = Accounts(b.store, Passwords(4), None, clocks=clocks)
        await accounts.register("alice", RIGHT)
        passwords = [RIGHT, *(f"password {n}" for n in range(3))]
        since = []
        for clocks.wall_time, pair in zip(times, pairwise(passwords), strict=True):
            changed = await accounts.change_password("alice", *pair, HERE)
            since.append(changed.tokens_since)
        assert since == [2_000_000_000, 2_000_000_001, 3_000_000_000]


async def test_wrong_passwords_count_as_failed_logins_and_change_nothing() -> None:
    async with bench() as b:
        account = await b.accounts.register("alice", RIGHT)
        for _ in range(LIMIT):
            with pytest.raises(WrongCredentials):
                await b.accounts.change_password("alice", WRONG, "another password", HERE)
        with pytest.raises(TooManyFailures):
            await b.accounts.change_password("alice", RIGHT, "another password", HERE)
        with pytest.raises(TooManyFailures):
            await b.login("alice", RIGHT)
        b.time.pass_seconds(WINDOW)
        assert await b.login("alice", RIGHT) == account


@pytest.mark.parametrize("name", ["nobody", "a service", "", "alice\0"])
async def test_who_has_no_account_has_no_password(name: str) -> None:
    async with bench() as b:
        with pytest.raises(NoSuchAccount):
            await b.accounts.change_password(name, RIGHT, "another password", HERE)
        assert b.hashes.count == 0


async def test_of_two_who_change_one_password_at_once_one_is_told() -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        got = await outcomes(
            [b.accounts.change_password("alice", RIGHT, f"password {n}", HERE) for n in range(2)]
        )
        assert sorted(each.__name__ for each in got) == ["Account", "AccountChanged"]


# What admins do


async def test_nobody_logs_in_to_a_disabled_account_and_it_looks_like_a_wrong_password() -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        await b.accounts.change("Alice", disabled=True)
        hashed = b.hashes.count
        with pytest.raises(WrongCredentials):
            await b.login("alice", RIGHT)
        assert b.hashes.count == hashed + 1
        with pytest.raises(WrongCredentials):
            await b.accounts.change_password("alice", RIGHT, "another password", HERE)
        await b.accounts.change("alice", disabled=False)
        assert not (await b.login("alice", RIGHT)).disabled


async def test_a_change_of_scopes_begins_a_generation_and_no_change_begins_none() -> None:
    async with bench() as b:
        first = await b.accounts.register("alice", RIGHT)
        assert await b.accounts.change("alice", disabled=False, scopes=["devices"]) == first
        changed = await b.accounts.change("alice", scopes=["devices", "admin"])
        assert changed.scopes == ("devices", "admin")
        assert changed.tokens_since > first.tokens_since
        assert await b.login("alice", RIGHT) == changed


async def test_the_admin_stays() -> None:
    async with bench() as b:
        await b.accounts.start(RIGHT, draw=True)
        for call in (
            b.accounts.change("Admin", disabled=True),
            b.accounts.change("admin", scopes=[]),
            b.accounts.delete("ADMIN"),
        ):
            with pytest.raises(AdminProtected):
                await call
        assert await b.login("admin", RIGHT)


async def test_the_name_of_a_deleted_account_is_free_but_its_tokens_stay_ended() -> None:
    async with bench() as b:
        before = await b.accounts.register("alice", RIGHT)
        await b.accounts.delete("alice")
        await b.fail("alice")
        after = await b.accounts.register("alice", "another password")
        assert after.tokens_since > before.tokens_since


@pytest.mark.parametrize("change", ["password", "disable", "delete"])
async def test_who_logs_in_while_the_account_is_changed_is_too_late(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench() as b:
        await b.accounts.register("alice", RIGHT)
        with held_hashes(monkeypatch) as begun:
            login = asyncio.create_task(b.login("alice", RIGHT))
            await begun()
            if change == "password":
                other = replace(await b.accounts.account("alice"), password_hash=b"another")
                await b.store.accounts.change("alice", lambda _: other)
            elif change == "disable":
                await b.accounts.change("alice", disabled=True)
            else:
                await b.accounts.delete("alice")
        with pytest.raises(WrongCredentials):
            await login
