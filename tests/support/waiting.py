"""Waiting for what happens without telling anybody."""

import asyncio
from collections.abc import Awaitable, Callable

SOON = 20.0
"""Seconds that anything in a test may take; what is not meant to happen, never does."""


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]],
    seconds: float = SOON,
    *,
    interval: float = 0.005,
) -> None:
    """Wait until a condition, or the coroutine that it returns, is true.

    Args:
        condition: What is waited for.
        seconds: How long it is waited for.
        interval: Seconds between two looks; 0 looks at every turn of the event loop.

    Raises:
        TimeoutError: It did not become true within so many seconds.
    """
    async with asyncio.timeout(seconds):
        while not await _value_of(condition()):  # noqa: ASYNC110 - nobody tells when it becomes so
            await asyncio.sleep(interval)


async def _value_of(answer: bool | Awaitable[bool]) -> bool:
    return answer if isinstance(answer, bool) else await answer
