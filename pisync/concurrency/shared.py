"""Values that are made once for many who ask."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar, cast

_Value = TypeVar("_Value")

WINDOW_SECONDS = 1.0
"""How old a value may be that somebody else asked for."""
PER_WINDOW = 4
"""How many values are made within that time, so that a few who ask always get a new one."""


class Shared(Generic[_Value]):
    """Makes a value for whoever asks, but for all of them together only a few times a second.

    While one is being made, all who ask get that one.
    """

    def __init__(
        self, make: Callable[[], Awaitable[_Value]], clock: Callable[[], float] = monotonic
    ) -> None:
        self._make = make
        self._clock = clock
        self._making: asyncio.Future[_Value] | None = None
        self._value: _Value | None = None
        self._window_began = -WINDOW_SECONDS
        self._made = 0

    async def get(self) -> _Value:
        """Return the value.

        Raises:
            Exception: What making it raised; that is not kept.
        """
        if self._making is None:
            now = self._clock()
            if now - self._window_began >= WINDOW_SECONDS:
                self._window_began, self._made = now, 0
            elif self._made >= PER_WINDOW:
                return cast("_Value", self._value)
            self._making = asyncio.ensure_future(self._made_once())
        # Whoever hangs up must not take it from the others.
        return await asyncio.shield(self._making)

    async def _made_once(self) -> _Value:
        try:
            self._value = await self._make()
            self._made += 1
        finally:
            self._making = None
        return self._value
