import itertools

import pytest

from pisync.model.account import LoginDecision, LoginPermit
from pisync.stores.embedded.accounts.login_attempts import EmbeddedLoginAttempts
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.writers import ImmediateWriter
from tests.conftest import ManualTime

ACCOUNT, ADDRESS, OTHER = b"account", b"address", b"other"
BOTH = (ACCOUNT, ADDRESS)


@pytest.fixture
def clock() -> ManualTime:
    return ManualTime()


async def new_attempts(clock: ManualTime) -> EmbeddedLoginAttempts:
    writer = ImmediateWriter()
    await writer.open(FleetRegistry(clock, 1, 1))
    return EmbeddedLoginAttempts(writer, clock)


@pytest.fixture
async def attempts(clock: ManualTime) -> EmbeddedLoginAttempts:
    return await new_attempts(clock)


async def ask(attempts: EmbeddedLoginAttempts, *keys: bytes, limit: int = 3) -> LoginPermit:
    return await attempts.acquire(keys or BOTH, limit, 60.0)


async def fail(attempts: EmbeddedLoginAttempts, *keys: bytes) -> None:
    assert (await ask(attempts, *keys)).decision is LoginDecision.ALLOWED
    await attempts.record(keys or BOTH, failed=True)


def kept(attempts: EmbeddedLoginAttempts) -> int:
    return len(attempts._counts)  # noqa: SLF001  # nobody outside can see what is still kept


async def test_attempts_are_allowed_while_failures_are_below_the_limit(
    attempts: EmbeddedLoginAttempts,
) -> None:
    for _ in range(3):
        await fail(attempts)
    assert await ask(attempts) == (LoginDecision.REFUSED, 60.0)


@pytest.mark.parametrize("keys", [(ACCOUNT, OTHER), (OTHER, ADDRESS), (ACCOUNT,), (ADDRESS,)])
async def test_either_count_refuses(
    attempts: EmbeddedLoginAttempts, keys: tuple[bytes, ...]
) -> None:
    for _ in range(3):
        await fail(attempts)
    assert (await ask(attempts, *keys)).decision is LoginDecision.REFUSED
    assert (await ask(attempts, OTHER)).decision is LoginDecision.ALLOWED


async def test_attempts_that_are_right_are_never_counted(attempts: EmbeddedLoginAttempts) -> None:
    for _ in range(100):
        assert (await ask(attempts)).decision is LoginDecision.ALLOWED
        await attempts.record(BOTH, failed=False)


async def test_attempts_under_way_count_as_failures_until_they_have_ended(
    attempts: EmbeddedLoginAttempts,
) -> None:
    await fail(attempts)
    assert [(await ask(attempts)).decision for _ in range(3)] == [
        LoginDecision.ALLOWED,
        LoginDecision.ALLOWED,
        LoginDecision.WAIT,
    ]
    await attempts.record(BOTH, failed=False)
    assert [(await ask(attempts)).decision for _ in range(2)] == [
        LoginDecision.ALLOWED,
        LoginDecision.WAIT,
    ]
    await attempts.record(BOTH, failed=True)
    assert (await ask(attempts)).decision is LoginDecision.WAIT
    await attempts.record(BOTH, failed=True)
    assert (await ask(attempts)).decision is LoginDecision.REFUSED


async def test_an_attempt_that_must_wait_counts_nowhere(attempts: EmbeddedLoginAttempts) -> None:
    for _ in range(3):
        await ask(attempts, ACCOUNT)
    for _ in range(10):
        assert (await ask(attempts, OTHER, ACCOUNT)).decision is LoginDecision.WAIT
    assert [(await ask(attempts, OTHER)).decision for _ in range(3)] == [LoginDecision.ALLOWED] * 3


async def test_the_window_starts_with_its_first_failure_and_stays_fixed(
    attempts: EmbeddedLoginAttempts, clock: ManualTime
) -> None:
    for _ in range(3):
        await fail(attempts)
        clock.pass_seconds(10)
    assert (await ask(attempts)).retry_after == 30.0
    clock.pass_seconds(29.9)
    assert (await ask(attempts)).retry_after == pytest.approx(0.1)
    clock.pass_seconds(0.1)
    for _ in range(3):
        await fail(attempts)
    assert await ask(attempts) == (LoginDecision.REFUSED, 60.0)


async def test_the_longer_of_two_blocks_says_when_to_come_back(
    attempts: EmbeddedLoginAttempts, clock: ManualTime
) -> None:
    for _ in range(3):
        await fail(attempts, ACCOUNT)
    clock.pass_seconds(40)
    for _ in range(3):
        await fail(attempts, ADDRESS)
    assert await ask(attempts) == (LoginDecision.REFUSED, 60.0)


async def test_an_attempt_that_outlives_its_window_counts_in_the_next(
    attempts: EmbeddedLoginAttempts, clock: ManualTime
) -> None:
    await fail(attempts)
    await ask(attempts)
    clock.pass_seconds(100)
    await attempts.record(BOTH, failed=True)
    await fail(attempts)
    await fail(attempts)
    assert await ask(attempts) == (LoginDecision.REFUSED, 60.0)


async def test_windows_of_different_lengths_end_each_in_its_time(
    attempts: EmbeddedLoginAttempts, clock: ManualTime
) -> None:
    for key, window in ((ACCOUNT, 100.0), (ADDRESS, 10.0), (OTHER, 50.0)):
        await attempts.acquire((key,), 1, window)
        await attempts.record((key,), failed=True)
    blocked = []
    for _ in range(4):
        blocked.append(
            {
                key
                for key in (ACCOUNT, ADDRESS, OTHER)
                if (await attempts.acquire((key,), 1, 1)).decision is LoginDecision.REFUSED
            }
        )
        for key in {ACCOUNT, ADDRESS, OTHER} - blocked[-1]:
            await attempts.record((key,), failed=False)
        clock.pass_seconds(40)
    assert blocked == [{ACCOUNT, ADDRESS, OTHER}, {ACCOUNT, OTHER}, {ACCOUNT}, set()]


async def test_random_names_are_forgotten_with_their_window(
    attempts: EmbeddedLoginAttempts, clock: ManualTime
) -> None:
    for number in range(1000):
        await fail(attempts, b"name %d" % number)
        clock.pass_seconds(1)
    assert kept(attempts) <= 61
    await ask(attempts, OTHER)
    await attempts.record((OTHER,), failed=False)
    clock.pass_seconds(60)
    await ask(attempts, OTHER)
    await attempts.record((OTHER,), failed=False)
    assert kept(attempts) == 0


async def test_no_order_of_attempts_gets_more_failures_than_the_limit(clock: ManualTime) -> None:
    # Every way to ask and to end, seven moves long.
    for moves in itertools.product(("ask", "fail", "succeed"), repeat=7):
        attempts = await new_attempts(clock)
        under_way = failures = 0
        for move in moves:
            if move == "ask":
                under_way += (await ask(attempts, limit=2)).decision is LoginDecision.ALLOWED
            elif under_way:
                await attempts.record(BOTH, failed=move == "fail")
                under_way -= 1
                failures += move == "fail"
            assert failures + under_way <= 2
