import asyncio

import pytest

from pisync.concurrency.keyed_queue import (
    Busy,
    KeyedQueue,
)


class Callers:
    """People in queues, each of whom stays at its front until told to go."""

    def __init__(self, queues: KeyedQueue) -> None:
        self._queues = queues
        self._done: dict[str, asyncio.Event] = {}
        self.served: list[str] = []

    async def come(self, who: str, *keys: bytes) -> "asyncio.Task[None]":
        self._done[who] = asyncio.Event()

        async def stand() -> None:
            async with self._queues.turn(*keys):
                self.served.append(who)
                await self._done[who].wait()

        task = asyncio.create_task(stand())
        await settle()
        return task

    async def go(self, who: str) -> None:
        self._done[who].set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_so_many_are_served_at_once_and_the_others_in_the_order_they_came() -> None:
    callers = Callers(KeyedQueue(concurrency=2))
    tasks = [await callers.come(who, b"key") for who in "abcde"]
    assert callers.served == ["a", "b"]
    await callers.go("b")
    assert callers.served == ["a", "b", "c"]
    for who in "acde":
        await callers.go(who)
    assert callers.served == ["a", "b", "c", "d", "e"]
    await asyncio.gather(*tasks)


async def test_a_turn_in_two_queues_waits_for_both() -> None:
    callers = Callers(KeyedQueue(concurrency=1))
    tasks = [
        await callers.come("a", b"left"),
        await callers.come("b", b"right"),
        await callers.come("both", b"left", b"right"),
    ]
    await callers.go("a")
    assert callers.served == ["a", "b"]
    await callers.go("b")
    assert callers.served == ["a", "b", "both"]
    await callers.go("both")
    await asyncio.gather(*tasks)


async def test_whoever_finds_too_many_waiting_is_told_so_but_a_free_queue_serves() -> None:
    callers = Callers(KeyedQueue(concurrency=1, max_waiting=2))
    tasks = [await callers.come(who, b"key") for who in "abc"]
    late = await callers.come("late", b"key")
    with pytest.raises(Busy):
        await late
    tasks.append(await callers.come("elsewhere", b"other"))
    assert callers.served == ["a", "elsewhere"]
    for who in ("a", "b", "c", "elsewhere"):
        await callers.go(who)
    await asyncio.gather(*tasks)


async def test_whoever_leaves_the_queue_holds_nobody_up() -> None:
    callers = Callers(KeyedQueue(concurrency=1, max_waiting=1))
    first = await callers.come("a", b"left")
    leaver = await callers.come("leaver", b"right", b"left")
    leaver.cancel()
    await asyncio.wait([leaver])
    last = await callers.come("b", b"right", b"left")
    await callers.go("a")
    assert callers.served == ["a", "b"]
    await callers.go("b")
    await asyncio.gather(first, last)


async def test_a_queue_that_many_stand_in_keeps_nobody_out_of_another() -> None:
    queue = KeyedQueue(concurrency=1, max_waiting=10)

    async def stand(key: bytes, ends: asyncio.Event) -> None:
        async with queue.turn(key):
            await ends.wait()

    ends = asyncio.Event()
    waiting = [asyncio.create_task(stand(b"many", ends)) for _ in range(11)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await stand(b"many", ends)
    waiting += [asyncio.create_task(stand(b"few", ends)) for _ in range(6)]
    await asyncio.sleep(0)
    for key in (b"many", b"few"):  # that is its share, of two
        with pytest.raises(Busy):
            await stand(key, ends)
    ends.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
