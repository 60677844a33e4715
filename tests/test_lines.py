import asyncio

import pytest

from pisync.lines import Busy, Lines


class Line:
    """People in lines, each of whom stays at its front until told to go."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._done: dict[str, asyncio.Event] = {}
        self.served: list[str] = []

    async def come(self, who: str, *keys: bytes) -> "asyncio.Task[None]":
        self._done[who] = asyncio.Event()

        async def stand() -> None:
            async with self._lines.turn(*keys):
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


async def test_so_many_are_served_abreast_and_the_others_in_the_order_they_came() -> None:
    line = Line(Lines(abreast=2))
    tasks = [await line.come(who, b"key") for who in "abcde"]
    assert line.served == ["a", "b"]
    await line.go("b")
    assert line.served == ["a", "b", "c"]
    for who in "acde":
        await line.go(who)
    assert line.served == ["a", "b", "c", "d", "e"]
    await asyncio.gather(*tasks)


async def test_a_turn_in_two_lines_waits_for_both() -> None:
    line = Line(Lines(abreast=1))
    tasks = [
        await line.come("a", b"left"),
        await line.come("b", b"right"),
        await line.come("both", b"left", b"right"),
    ]
    await line.go("a")
    assert line.served == ["a", "b"]
    await line.go("b")
    assert line.served == ["a", "b", "both"]
    await line.go("both")
    await asyncio.gather(*tasks)


async def test_whoever_finds_too_many_waiting_is_told_so_but_a_free_line_serves() -> None:
    line = Line(Lines(abreast=1, longest=2))
    tasks = [await line.come(who, b"key") for who in "abc"]
    late = await line.come("late", b"key")
    with pytest.raises(Busy):
        await late
    tasks.append(await line.come("elsewhere", b"other"))
    assert line.served == ["a", "elsewhere"]
    for who in ("a", "b", "c", "elsewhere"):
        await line.go(who)
    await asyncio.gather(*tasks)


async def test_whoever_leaves_the_line_holds_nobody_up() -> None:
    line = Line(Lines(abreast=1, longest=1))
    first = await line.come("a", b"left")
    leaver = await line.come("leaver", b"right", b"left")
    leaver.cancel()
    await asyncio.wait([leaver])
    last = await line.come("b", b"right", b"left")
    await line.go("a")
    assert line.served == ["a", "b"]
    await line.go("b")
    await asyncio.gather(first, last)
