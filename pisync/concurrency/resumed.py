"""Coroutines that run at once, and become tasks only where they wait."""

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


async def resumed(waiting: Coroutine[Any, Any, _Result], waits_for: Any) -> _Result:
    """Go on, in a task, with a coroutine that waits for something already."""
    # Tasks take no generators from Python 3.12 on.
    return await _resumed(waiting, waits_for)


@coroutine
def _resumed(
    waiting: Coroutine[Any, Any, _Result], waits_for: Any
) -> Generator[Any, None, _Result]:
    while True:
        resume: Callable[[], Any] = partial(waiting.send, None)
        try:
            yield waits_for
        except BaseException as exc:  # noqa: BLE001 - it is the coroutine's
            resume = partial(waiting.throw, exc)
        try:
            waits_for = resume()
        except StopIteration as done:
            result: _Result = done.value
            return result
