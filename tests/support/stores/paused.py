"""A call that stops half-way, so that what happens then is certain to happen then."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")


class Paused(Generic[_Result]):
    """A call that goes on until a condition holds, and from there once it is let go.

    Await it in a task of its own.
    """

    def __init__(self, call: Coroutine[Any, Any, _Result], until: Callable[[], bool]) -> None:
        self._call = call
        self._until = until
        self._may_go_on = asyncio.Event()
        self.is_reached = asyncio.Event()
        """Set when it has stopped."""

    def let_go(self) -> None:
        self._may_go_on.set()

    def __await__(self) -> Generator[Any, Any, _Result]:
        steps = self._call.__await__()
        step = partial(steps.send, None)
        while True:
            try:
                waits_for = step()
            except StopIteration as end:
                result: _Result = end.value
                return result
            try:
                yield waits_for
                if not self.is_reached.is_set() and self._until():
                    self.is_reached.set()
                    yield from self._may_go_on.wait().__await__()
            except BaseException as thrown:  # noqa: BLE001 - it is for the call to see
                step = partial(steps.throw, thrown)
            else:
                step = partial(steps.send, None)
