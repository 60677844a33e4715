"""An alarm, which wakes one waiter at the earliest moment that it was set to."""

import asyncio
import math

from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.model.timestamp import SECOND

MIN_DELAY = 0.002
"""Seconds. uvloop rounds timers to milliseconds; shorter ones would make it spin."""
MAX_DELAY = 1.0
"""Seconds. A timer stands still while the machine sleeps, so the clock is read this often."""


class Alarm:
    """May be set again and again; the earliest moment wins, and ringing clears it."""

    def __init__(self, clocks: MachineClocks = SYSTEM_CLOCKS) -> None:
        self._now = clocks.monotonic
        self._rung = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def set(self, seconds: float) -> None:
        """Ring in so many seconds, unless it rings before that anyway."""
        now = self._now()
        at = now + seconds * SECOND
        if at < self._at:
            self._cancel()
            self._at = at
            self._start_timer(now)

    async def wait(self) -> None:
        """Wait for the alarm to ring, which clears it."""
        await self._rung.wait()
        self._rung.clear()
        self._cancel()
        self._at = math.inf

    def _start_timer(self, now: int) -> None:
        delay = min(max((self._at - now) / SECOND, MIN_DELAY), MAX_DELAY)
        self._timer = asyncio.get_running_loop().call_later(delay, self._ring_if_due)

    def _ring_if_due(self) -> None:
        now = self._now()
        if now >= self._at:
            self._rung.set()
        else:
            self._start_timer(now)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
