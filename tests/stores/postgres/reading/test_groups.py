"""Reads that share queries."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres.reading.groups import GroupedReads, SharedReads


class Source:
    """Squares numbers, as soon as it may; has no square of 0, and fails for numbers below."""

    def __init__(self) -> None:
        self.queries: list[list[int]] = []
        self.may_answer = asyncio.Event()

    async def read(self, keys: Collection[int]) -> Mapping[int, int]:
        self.queries.append([*keys])
        await self.may_answer.wait()
        if min(keys) < 0:
            raise StoreUnavailable
        return {key: key * key for key in keys if key}


async def until_it_reads(source: Source, queries: int = 1) -> None:
    async with asyncio.timeout(5):
        while len(source.queries) < queries:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0)


async def test_those_that_come_during_a_query_share_the_next() -> None:
    source = Source()
    reads = GroupedReads(source.read)
    first = asyncio.create_task(reads.get(1))
    await until_it_reads(source)
    others = [asyncio.create_task(reads.get(key)) for key in (1, 2, 2, 0)]
    await asyncio.sleep(0)
    assert source.queries == [[1]]
    source.may_answer.set()
    assert await asyncio.gather(first, *others) == [1, 1, 4, 4, None]
    # The second asked for 1, too: what was read before it came may be too old for it.
    assert source.queries == [[1], [1, 2, 0]]


async def test_a_query_that_fails_fails_those_who_share_it_alone() -> None:
    source = Source()
    source.may_answer.set()
    reads = GroupedReads(source.read)
    answers = await asyncio.gather(reads.get(1), reads.get(-1), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    assert await reads.get(3) == 9


async def test_one_who_is_cancelled_takes_nothing_from_the_others() -> None:
    source = Source()
    reads = GroupedReads(source.read)
    impatient, patient = (asyncio.create_task(reads.get(5)) for _ in range(2))
    await until_it_reads(source)
    late = asyncio.create_task(reads.get(7))
    await asyncio.sleep(0)
    impatient.cancel()
    late.cancel()
    source.may_answer.set()
    assert await patient == 25
    await asyncio.sleep(0)
    # Nobody wants it any more.
    assert source.queries == [[5]]
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_the_same_read_is_shared_and_others_go_beside_it() -> None:
    source = Source()
    reads = SharedReads[Mapping[int, int]]()

    async def get(key: int) -> Mapping[int, int]:
        return await reads.get(key, lambda: source.read([key]))

    calls = [asyncio.create_task(get(key)) for key in (1, 1, 2)]
    await until_it_reads(source, 2)
    assert source.queries == [[1], [2]]
    source.may_answer.set()
    assert await asyncio.gather(*calls) == [{1: 1}, {1: 1}, {2: 4}]
    assert await get(1) == {1: 1}
    assert len(source.queries) == 3
