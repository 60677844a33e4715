import itertools

import pytest

from pisync.model.account import Account
from pisync.stores.base import (
    LoginDecision,
    LoginPermit,
)
from pisync.stores.embedded.accounts import AccountState
from tests.conftest import ManualTime

ACCOUNT, ADDRESS, OTHER = b"account", b"address", b"other"
BOTH = (ACCOUNT, ADDRESS)


@pytest.fixture
def clock() -> ManualTime:
    return ManualTime()


@pytest.fixture
def accounts(clock: ManualTime) -> AccountState:
    return AccountState(clock)


def ask(accounts: AccountState, *keys: bytes, limit: int = 3) -> LoginPermit:
    return accounts.acquire_login_permit(keys or BOTH, limit, 60.0)


def fail(accounts: AccountState, *keys: bytes) -> None:
    assert ask(accounts, *keys).decision is LoginDecision.ALLOWED
    accounts.record_login(keys or BOTH, failed=True)


def kept(accounts: AccountState) -> int:
    return len(accounts._tallies)  # noqa: SLF001  # nobody outside can see what is still kept


def test_one_account_per_name_whatever_the_case(accounts: AccountState) -> None:
    alice = Account("Alice", b"hash", ("devices",))
    assert accounts.add_account(alice)
    assert not accounts.add_account(Account("aLICE", b"other", ("devices",)))
    assert accounts.account("alice") is alice
    assert accounts.account("Alice") is None


def test_guesses_are_allowed_while_failures_are_below_the_limit(accounts: AccountState) -> None:
    for _ in range(3):
        fail(accounts)
    assert ask(accounts) == (LoginDecision.REFUSED, 60.0)


@pytest.mark.parametrize("keys", [(ACCOUNT, OTHER), (OTHER, ADDRESS), (ACCOUNT,), (ADDRESS,)])
def test_either_count_refuses(accounts: AccountState, keys: tuple[bytes, ...]) -> None:
    for _ in range(3):
        fail(accounts)
    assert ask(accounts, *keys).decision is LoginDecision.REFUSED
    assert ask(accounts, OTHER).decision is LoginDecision.ALLOWED


def test_guesses_that_are_right_are_never_counted(accounts: AccountState) -> None:
    for _ in range(100):
        assert ask(accounts).decision is LoginDecision.ALLOWED
        accounts.record_login(BOTH, failed=False)


def test_guesses_under_way_count_as_failures_until_they_have_ended(
    accounts: AccountState,
) -> None:
    fail(accounts)
    assert [ask(accounts).decision for _ in range(3)] == [
        LoginDecision.ALLOWED,
        LoginDecision.ALLOWED,
        LoginDecision.WAIT,
    ]
    accounts.record_login(BOTH, failed=False)
    assert [ask(accounts).decision for _ in range(2)] == [LoginDecision.ALLOWED, LoginDecision.WAIT]
    accounts.record_login(BOTH, failed=True)
    assert ask(accounts).decision is LoginDecision.WAIT
    accounts.record_login(BOTH, failed=True)
    assert ask(accounts).decision is LoginDecision.REFUSED


def test_a_guess_that_must_wait_counts_nowhere(accounts: AccountState) -> None:
    for _ in range(3):
        ask(accounts, ACCOUNT)
    for _ in range(10):
        assert ask(accounts, OTHER, ACCOUNT).decision is LoginDecision.WAIT
    assert [ask(accounts, OTHER).decision for _ in range(3)] == [LoginDecision.ALLOWED] * 3


def test_the_window_starts_with_its_first_failure_and_stays_fixed(
    accounts: AccountState, clock: ManualTime
) -> None:
    for _ in range(3):
        fail(accounts)
        clock.pass_seconds(10)
    assert ask(accounts).retry_after == 30.0
    clock.pass_seconds(29.9)
    assert ask(accounts).retry_after == pytest.approx(0.1)
    clock.pass_seconds(0.1)
    for _ in range(3):
        fail(accounts)
    assert ask(accounts) == (LoginDecision.REFUSED, 60.0)


def test_the_longer_of_two_blocks_says_when_to_come_back(
    accounts: AccountState, clock: ManualTime
) -> None:
    for _ in range(3):
        fail(accounts, ACCOUNT)
    clock.pass_seconds(40)
    for _ in range(3):
        fail(accounts, ADDRESS)
    assert ask(accounts) == (LoginDecision.REFUSED, 60.0)


def test_a_guess_that_outlives_its_window_counts_in_the_next(
    accounts: AccountState, clock: ManualTime
) -> None:
    fail(accounts)
    ask(accounts)
    clock.pass_seconds(100)
    accounts.record_login(BOTH, failed=True)
    fail(accounts)
    fail(accounts)
    assert ask(accounts) == (LoginDecision.REFUSED, 60.0)


def test_windows_of_different_lengths_end_each_in_its_time(
    accounts: AccountState, clock: ManualTime
) -> None:
    for key, window in ((ACCOUNT, 100.0), (ADDRESS, 10.0), (OTHER, 50.0)):
        accounts.acquire_login_permit((key,), 1, window)
        accounts.record_login((key,), failed=True)
    blocked = []
    for _ in range(4):
        blocked.append(
            {
                key
                for key in (ACCOUNT, ADDRESS, OTHER)
                if accounts.acquire_login_permit((key,), 1, 1).decision is LoginDecision.REFUSED
            }
        )
        for key in {ACCOUNT, ADDRESS, OTHER} - blocked[-1]:
            accounts.record_login((key,), failed=False)
        clock.pass_seconds(40)
    assert blocked == [{ACCOUNT, ADDRESS, OTHER}, {ACCOUNT, OTHER}, {ACCOUNT}, set()]


def test_random_names_are_forgotten_with_their_window(
    accounts: AccountState, clock: ManualTime
) -> None:
    for number in range(1000):
        fail(accounts, b"name %d" % number)
        clock.pass_seconds(1)
    assert kept(accounts) <= 61
    ask(accounts, OTHER)
    accounts.record_login((OTHER,), failed=False)
    clock.pass_seconds(60)
    ask(accounts, OTHER)
    accounts.record_login((OTHER,), failed=False)
    assert kept(accounts) == 0


def test_no_order_of_guesses_gets_more_failures_than_the_limit(clock: ManualTime) -> None:
    # Every way to ask and to end, seven moves long.
    for moves in itertools.product(("ask", "fail", "succeed"), repeat=7):
        accounts = AccountState(clock)
        under_way = failures = 0
        for move in moves:
            if move == "ask":
                under_way += ask(accounts, limit=2).decision is LoginDecision.ALLOWED
            elif under_way:
                accounts.record_login(BOTH, failed=move == "fail")
                under_way -= 1
                failures += move == "fail"
            assert failures + under_way <= 2
