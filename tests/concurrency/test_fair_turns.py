"""Turns of the event loop."""

import asyncio
import itertools
from contextlib import suppress

from pisync.concurrency.fair_turns import FairTurns


async def test_keys_take_turns_however_many_wait_for_one() -> None:
    turns, order = FairTurns(), []

    async def step(key: str) -> None:
        await turns.wait(key)
        order.append(key)

    await asyncio.gather(*(step(key) for key in "aaaaabbc"))
    assert "".join(order) == "abcabaaa"


async def test_others_get_their_turn_between_two_steps() -> None:
    turns, steps = FairTurns(), 0

    async def work() -> None:
        nonlocal steps
        for _ in range(50):
            await turns.wait("key")
            steps += 1

    working = asyncio.gather(*(work() for _ in range(20)))
    seen = []
    while not working.done():
        await asyncio.sleep(0)
        seen.append(steps)
    assert steps == 1000
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 1


async def test_who_has_gone_takes_nobody_s_turn() -> None:
    turns = FairTurns()
    waiting = [asyncio.create_task(turns.wait("key")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    async with asyncio.timeout(60):
        await waiting[2]
        for task in waiting[:2]:
            with suppress(asyncio.CancelledError):
                await task
        await turns.wait("key")
