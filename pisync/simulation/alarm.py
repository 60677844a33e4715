"""An alarm, which wakes one waiter at the earliest moment that it was set to."""

import asyncio
import math

NEAREST = 0.002
"""Seconds. uvloop rounds timers to milliseconds; nearer ones would make it spin."""
FARTHEST = 3600.0
"""Seconds. What is due later is looked at again then; an event loop takes no infinity."""


class Alarm:
    """May be set again and again; the earliest moment wins, and a ring clears it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, unless it rings before that anyway."""
        loop = asyncio.get_running_loop()
        at = loop.time() + min(max(seconds, NEAREST), FARTHEST)
        if at < self._at:
            self._cancel()
            self._at = at
            self._timer = loop.call_at(at, self._rung.set)

    async def wait(self) -> None:
        """Wait for the alarm to ring, which clears it."""
        await self._rung.wait()
        self._rung.clear()
        self._cancel()
        self._at = math.inf

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
