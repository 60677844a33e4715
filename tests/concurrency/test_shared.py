"""Values that are made once for many who ask."""

import asyncio

import pytest

from pisync.concurrency.shared import PER_WINDOW, WINDOW_SECONDS, Shared


class Maker:
    """Makes numbers, one after another, and fails if it is told to."""

    def __init__(self) -> None:
        self.made = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.fails = False
        self.seconds = 0.0

    async def make(self) -> int:
        await self.go_on.wait()
        if self.fails:
            raise LookupError
        self.made += 1
        return self.made

    def shared(self) -> Shared[int]:
        return Shared(self.make, clock=lambda: self.seconds)


async def test_a_few_who_ask_get_a_new_one_each_and_the_rest_the_last() -> None:
    maker = Maker()
    shared = maker.shared()
    values = [await shared.get() for _ in range(100)]
    assert values == [*range(1, PER_WINDOW + 1), *[PER_WINDOW] * (100 - PER_WINDOW)]
    maker.seconds += WINDOW_SECONDS
    assert await shared.get() == PER_WINDOW + 1


async def test_all_who_ask_meanwhile_get_the_one_that_is_under_way() -> None:
    maker = Maker()
    maker.go_on.clear()
    shared = maker.shared()
    asking = [asyncio.create_task(shared.get()) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()
    maker.go_on.set()
    values = await asyncio.gather(*asking, return_exceptions=True)
    assert values[1:] == [1] * 49
    assert maker.made == 1


async def test_a_failure_is_told_to_those_who_wait_and_is_not_kept() -> None:
    maker = Maker()
    maker.fails = True
    shared = maker.shared()
    for _ in range(PER_WINDOW + 1):
        with pytest.raises(LookupError):
            await shared.get()
    maker.fails = False
    assert await shared.get() == 1
