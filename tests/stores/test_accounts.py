import itertools

import pytest

from pisync.stores.accounts import MemoryAccounts
from pisync.stores.base import Account, Guess, GuessPermit

ACCOUNT, ADDRESS, OTHER = b"account", b"address", b"other"
BOTH = (ACCOUNT, ADDRESS)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(clock: Clock) -> MemoryAccounts:
    return MemoryAccounts(clock)


def ask(accounts: MemoryAccounts, *keys: bytes, limit: int = 3) -> GuessPermit:
    return accounts.ask_to_guess(keys or BOTH, limit, 60.0)


def fail(accounts: MemoryAccounts, *keys: bytes) -> None:
    assert ask(accounts, *keys).guess is Guess.ALLOWED
    accounts.guessed(keys or BOTH, failed=True)


def kept(accounts: MemoryAccounts) -> int:
    return len(accounts._tallies)  # noqa: SLF001  # nobody outside can see what is still kept


def test_one_account_per_name_whatever_the_case(accounts: MemoryAccounts) -> None:
    alice = Account("Alice", b"hash", ("devices",))
    assert accounts.add_account(alice)
    assert not accounts.add_account(Account("aLICE", b"other", ("devices",)))
    assert accounts.account("alice") is alice
    assert accounts.account("Alice") is None


def test_guesses_are_allowed_while_failures_are_below_the_limit(accounts: MemoryAccounts) -> None:
    for _ in range(3):
        fail(accounts)
    assert ask(accounts) == (Guess.REFUSED, 60.0)


@pytest.mark.parametrize("keys", [(ACCOUNT, OTHER), (OTHER, ADDRESS), (ACCOUNT,), (ADDRESS,)])
def test_either_count_refuses(accounts: MemoryAccounts, keys: tuple[bytes, ...]) -> None:
    for _ in range(3):
        fail(accounts)
    assert ask(accounts, *keys).guess is Guess.REFUSED
    assert ask(accounts, OTHER).guess is Guess.ALLOWED


def test_guesses_that_are_right_are_never_counted(accounts: MemoryAccounts) -> None:
    for _ in range(100):
        assert ask(accounts).guess is Guess.ALLOWED
        accounts.guessed(BOTH, failed=False)


def test_guesses_under_way_count_as_failures_until_they_have_ended(
    accounts: MemoryAccounts,
) -> None:
    fail(accounts)
    assert [ask(accounts).guess for _ in range(3)] == [Guess.ALLOWED, Guess.ALLOWED, Guess.WAIT]
    accounts.guessed(BOTH, failed=False)
    assert [ask(accounts).guess for _ in range(2)] == [Guess.ALLOWED, Guess.WAIT]
    accounts.guessed(BOTH, failed=True)
    assert ask(accounts).guess is Guess.WAIT
    accounts.guessed(BOTH, failed=True)
    assert ask(accounts).guess is Guess.REFUSED


def test_a_guess_that_must_wait_counts_nowhere(accounts: MemoryAccounts) -> None:
    for _ in range(3):
        ask(accounts, ACCOUNT)
    for _ in range(10):
        assert ask(accounts, OTHER, ACCOUNT).guess is Guess.WAIT
    assert [ask(accounts, OTHER).guess for _ in range(3)] == [Guess.ALLOWED] * 3


def test_the_window_starts_with_its_first_failure_and_stays_fixed(
    accounts: MemoryAccounts, clock: Clock
) -> None:
    for _ in range(3):
        fail(accounts)
        clock.seconds += 10
    assert ask(accounts).retry_after == 30.0
    clock.seconds += 29.9
    assert ask(accounts).retry_after == pytest.approx(0.1)
    clock.seconds += 0.1
    for _ in range(3):
        fail(accounts)
    assert ask(accounts) == (Guess.REFUSED, 60.0)


def test_the_longer_of_two_blocks_says_when_to_come_back(
    accounts: MemoryAccounts, clock: Clock
) -> None:
    for _ in range(3):
        fail(accounts, ACCOUNT)
    clock.seconds += 40
    for _ in range(3):
        fail(accounts, ADDRESS)
    assert ask(accounts) == (Guess.REFUSED, 60.0)


def test_a_guess_that_outlives_its_window_counts_in_the_next(
    accounts: MemoryAccounts, clock: Clock
) -> None:
    fail(accounts)
    ask(accounts)
    clock.seconds += 100
    accounts.guessed(BOTH, failed=True)
    fail(accounts)
    fail(accounts)
    assert ask(accounts) == (Guess.REFUSED, 60.0)


def test_windows_of_different_lengths_end_each_in_its_time(
    accounts: MemoryAccounts, clock: Clock
) -> None:
    for key, window in ((ACCOUNT, 100.0), (ADDRESS, 10.0), (OTHER, 50.0)):
        accounts.ask_to_guess((key,), 1, window)
        accounts.guessed((key,), failed=True)
    blocked = []
    for _ in range(4):
        blocked.append(
            {
                key
                for key in (ACCOUNT, ADDRESS, OTHER)
                if accounts.ask_to_guess((key,), 1, 1).guess is Guess.REFUSED
            }
        )
        for key in {ACCOUNT, ADDRESS, OTHER} - blocked[-1]:
            accounts.guessed((key,), failed=False)
        clock.seconds += 40
    assert blocked == [{ACCOUNT, ADDRESS, OTHER}, {ACCOUNT, OTHER}, {ACCOUNT}, set()]


def test_random_names_are_forgotten_with_their_window(
    accounts: MemoryAccounts, clock: Clock
) -> None:
    for number in range(1000):
        fail(accounts, b"name %d" % number)
        clock.seconds += 1
    assert kept(accounts) <= 61
    ask(accounts, OTHER)
    accounts.guessed((OTHER,), failed=False)
    clock.seconds += 60
    ask(accounts, OTHER)
    accounts.guessed((OTHER,), failed=False)
    assert kept(accounts) == 0


def test_no_order_of_guesses_gets_more_failures_than_the_limit(clock: Clock) -> None:
    # Every way to ask and to end, seven moves long.
    for moves in itertools.product(("ask", "fail", "succeed"), repeat=7):
        accounts = MemoryAccounts(clock)
        under_way = failures = 0
        for move in moves:
            if move == "ask":
                under_way += ask(accounts, limit=2).guess is Guess.ALLOWED
            elif under_way:
                accounts.guessed(BOTH, failed=move == "fail")
                under_way -= 1
                failures += move == "fail"
            assert failures + under_way <= 2
