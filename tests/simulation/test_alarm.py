import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest

from pisync.simulation.alarm import (
    MIN_DELAY,
    Alarm,
)
from tests.conftest import ManualTime

TICK = 0.002
"""How much too early a timer of an event loop may be."""
PATIENCE = 20.0
"""How much later than asked for a busy machine may be; the moments that are not meant are later."""

Ring = Callable[[], Awaitable[float]]


@pytest.fixture
async def alarm() -> Alarm:
    return Alarm()


@pytest.fixture
async def ring(alarm: Alarm) -> Ring:
    """Wait for the alarm; return the seconds since the test began."""
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def wait() -> float:
        async with asyncio.timeout(50):
            await alarm.wait()
        return loop.time() - begun

    return wait


async def is_silent(alarm: Alarm, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await alarm.wait()
    except TimeoutError:
        return True
    return False


async def test_rings_when_it_was_set_to(alarm: Alarm, ring: Ring) -> None:
    alarm.set(0.05)
    assert 0.05 - TICK <= await ring() <= 0.05 + PATIENCE


async def test_does_not_ring_unless_it_was_set(alarm: Alarm) -> None:
    assert await is_silent(alarm, 0.05)


@pytest.mark.parametrize("order", [(0.05, 60, 30), (60, 0.05, 30), (60, 30, 0.05)])
async def test_rings_at_the_earliest_of_the_moments_that_it_was_set_to(
    alarm: Alarm, ring: Ring, order: tuple[float, ...]
) -> None:
    for seconds in order:
        alarm.set(seconds)
    assert 0.05 - TICK <= await ring() <= 0.05 + PATIENCE


async def test_a_ring_clears_it(alarm: Alarm, ring: Ring) -> None:
    alarm.set(0.01)
    alarm.set(0.02)
    await ring()
    assert await is_silent(alarm, 0.05)


async def test_can_be_set_again_after_a_ring(alarm: Alarm, ring: Ring) -> None:
    alarm.set(0.01)
    first = await ring()
    alarm.set(0.05)
    assert await ring() >= first + 0.05 - TICK


async def test_rings_for_one_who_comes_late(alarm: Alarm, ring: Ring) -> None:
    alarm.set(0.01)
    await asyncio.sleep(0.03)
    # It rings already; what is set now can wait until the waiter has looked.
    alarm.set(60)
    assert await ring() <= 0.03 + PATIENCE


async def test_can_be_set_while_somebody_waits(alarm: Alarm, ring: Ring) -> None:
    alarm.set(60)
    waiter = asyncio.ensure_future(ring())
    await asyncio.sleep(0.01)
    alarm.set(0.01)
    assert await waiter <= 0.02 + PATIENCE


@pytest.mark.parametrize("seconds", [0, -1, 1e-9])
async def test_takes_a_moment_even_for_what_is_overdue(
    alarm: Alarm, ring: Ring, seconds: float
) -> None:
    alarm.set(seconds)
    assert MIN_DELAY - TICK <= await ring() <= MIN_DELAY + PATIENCE


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 1e10])
async def test_may_be_set_to_what_is_farther_than_a_loop_can_count(
    alarm: Alarm, ring: Ring, seconds: float
) -> None:
    alarm.set(seconds)
    assert await is_silent(alarm, 0.02)
    alarm.set(0.01)
    assert await ring() <= 0.05 + PATIENCE


async def test_leaves_at_most_one_timer_behind(alarm: Alarm, ring: Ring) -> None:
    for seconds in range(1000, 1, -1):
        alarm.set(seconds)
    alarm.set(0.01)
    await ring()
    loop = asyncio.get_running_loop()
    waiting = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]  # noqa: SLF001 - nothing else tells
    assert waiting == []


async def test_rings_soon_after_the_machine_has_slept_past_its_moment() -> None:
    clocks = ManualTime()
    alarm = Alarm(clocks)
    alarm.set(7200)
    assert await is_silent(alarm, 0.02)
    clocks.pass_seconds(7200)  # the event loop's own time has not moved
    async with asyncio.timeout(PATIENCE):
        await alarm.wait()
