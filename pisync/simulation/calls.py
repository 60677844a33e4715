"""Calls of many steps, which go on though the client that made them hangs up."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class CallsUnderWay:
    """The calls that are not to be left half done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        """Return what a call returns; it is finished even if this is cancelled.

        Raises:
            Exception: What the call raises.
        """
        task = asyncio.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def drain(self, timeout: float | None) -> None:  # noqa: ASYNC109 - cuts off, raises nothing
        """Wait for all calls, but cut off those that take longer than `timeout` seconds.

        That is as a crash would be: attempts that have begun go on, the others never begin.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        left = [*self._tasks]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Who has hung up can't be told of a failure, and the log needs no traceback of it.
            task.exception()
