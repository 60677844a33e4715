"""How long this process could not run: what a busy machine takes is not what the service takes."""

import asyncio
from time import monotonic
from typing import Self

_TICK = 0.02
_USUAL = 0.01
"""How much later than asked an event loop with nothing else to do may wake."""


class Stalls:
    """Adds up the seconds by which this process's event loop woke too late.

    For what waits: what keeps an event loop from running for long would be excused.
    """

    def __init__(self) -> None:
        self._sum = 0.0

    async def __aenter__(self) -> Self:
        self._next = monotonic() + _TICK
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticking.cancel()
        await asyncio.wait([self._ticking])

    @property
    def seconds(self) -> float:
        return self._sum + self._late()

    def _late(self) -> float:
        late = monotonic() - self._next
        return late if late > _USUAL else 0.0

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._next - monotonic()))
            self._sum += self._late()
            self._next = monotonic() + _TICK
