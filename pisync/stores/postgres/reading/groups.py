"""Reads in groups: those that come while a query is under way share the next one.

What was committed before a read began is in its answer, since its query begins after it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class GroupedReads(Generic[_Key, _Value]):
    """Reads of one kind: a query for all keys that are wanted, and never two at a time."""

    def __init__(
        self,
        read: Callable[[Collection[_Key]], Awaitable[Mapping[_Key, _Value]]],
        when_idle: Callable[[], object] | None = None,
    ) -> None:
        """Take what reads the values of some keys, and what to call when no read is left.

        A key without a value may be left out.
        """
        self._read = read
        self._when_idle = when_idle
        self._waiting: dict[_Key, list[asyncio.Future[_Value | None]]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def get(self, key: _Key) -> _Value | None:
        """Return the value of a key, or None if it has none.

        Raises:
            Exception: What the query raised.
        """
        answer: asyncio.Future[_Value | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if self._worker is None:
            # It begins when all that is ready to run has run: they share the first query, too.
            self._worker = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                await self._answer(waiting)
        finally:
            self._worker = None
            if self._when_idle is not None:
                self._when_idle()

    async def _answer(self, waiting: Mapping[_Key, list[asyncio.Future[_Value | None]]]) -> None:
        wanted = [key for key, answers in waiting.items() if not all(map(_is_done, answers))]
        if not wanted:
            return
        try:
            values = await self._read(wanted)
        except Exception as exc:  # noqa: BLE001 - whatever it was, every caller must hear of it
            for answer in _open(waiting, wanted):
                answer.set_exception(exc)
        else:
            for key in wanted:
                value = values.get(key)
                for answer in _open(waiting, [key]):
                    answer.set_result(value)


class SharedReads(Generic[_Value]):
    """Reads of any kind: who asks for the same while it is read shares the next query for it."""

    def __init__(self) -> None:
        # Those that are under way.
        self._reads: dict[Hashable, GroupedReads[None, _Value]] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[_Value]]) -> _Value:
        """Return what `read` returns, which is the same for all calls with this key.

        Raises:
            Exception: What `read` raised.
        """
        group = self._reads.get(key)
        if group is None:

            async def read_value(_: Collection[None]) -> Mapping[None, _Value]:
                return {None: await read()}

            group = GroupedReads(read_value, lambda: self._reads.pop(key))
            self._reads[key] = group
        value = await group.get(None)
        assert value is not None  # noqa: S101 - `read` returns one, or raises
        return value


def _is_done(answer: "asyncio.Future[_Value]") -> bool:
    return answer.done()


def _open(
    waiting: Mapping[_Key, list["asyncio.Future[_Value | None]"]], keys: Collection[_Key]
) -> "list[asyncio.Future[_Value | None]]":
    """Return the answers of these keys that somebody still waits for."""
    return [answer for key in keys for answer in waiting[key] if not answer.done()]
