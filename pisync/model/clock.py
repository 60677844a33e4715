"""A fleet's clock: how its time follows from real time. Time stands still at speed 0."""

from math import inf
from typing import NamedTuple

from pisync.model.timestamp import LATEST

MAX_SPEED = 100_000.0


class ClockSetting(NamedTuple):
    """How a fleet's time is to run from its present time on."""

    speed: float = 1.0
    is_auto: bool = False
    """Of a clock of speed 0: whether reads move it."""


REAL = ClockSetting()
MANUAL = ClockSetting(0.0)
AUTO = ClockSetting(0.0, is_auto=True)


class ClockView(NamedTuple):
    """A fleet's clock at a moment: `mode` is `real`, `manual` or `auto`, `now` fleet time."""

    mode: str
    speed: float
    now: int

    @property
    def is_auto(self) -> bool:
        """Whether reads move it."""
        return self.mode == "auto"


class Clock(NamedTuple):
    """Fleet time was `fleet_time` at real time `real_time`, and runs at `speed` since then.

    Both times are in microseconds. Real time may have any origin, so long as it never steps back.
    """

    fleet_time: int
    real_time: int
    speed: float = 1.0
    is_auto: bool = False
    """Whether it moves itself: a clock that stands still, and that reads move."""

    @property
    def stands_still(self) -> bool:
        """Whether fleet time stands still until it is moved, by a call or by a read."""
        return self.speed == 0

    @property
    def mode(self) -> str:
        """`real`, `manual` or `auto`."""
        if not self.stands_still:
            return "real"
        return "auto" if self.is_auto else "manual"

    def now(self, real_time: int) -> int:
        """Return the fleet time at a real time; it stops at the end of the year 9999."""
        elapsed = real_time - self.real_time
        # Full speed is the rule, and integers keep it exact.
        run = elapsed if self.speed == 1 else int(elapsed * self.speed)
        return min(self.fleet_time + max(run, 0), LATEST)

    def view(self, real_time: int) -> ClockView:
        """Return the clock as clients see it at a real time."""
        return ClockView(self.mode, self.speed, self.now(real_time))

    def real_wait(self, due: int, real_time: int) -> float | None:
        """Return the real microseconds from `real_time` until fleet time `due`; None for never."""
        if self.stands_still:
            return None
        wait = max(due - self.now(real_time), 0) / self.speed
        # So slow a clock never gets there: no float holds the time that it would take.
        return wait if wait < inf else None

    def lateness(self, due: int, now: int) -> float:
        """Return how many real microseconds fleet time `now` is after fleet time `due`.

        From the last change of speed at most: what came before went by at another one. A clock that
        stands still makes nothing late.
        """
        if self.stands_still:
            return 0.0
        return (now - max(due, self.fleet_time)) / self.speed

    def real_time_of(self, fleet_time: int) -> float:
        """Return the real time at which fleet time is `fleet_time`; infinity for never."""
        if self.stands_still:
            return inf
        return self.real_time + (fleet_time - self.fleet_time) / self.speed

    def set_to(self, setting: ClockSetting, real_time: int) -> "Clock":
        """Go on in another way from the present fleet time."""
        return Clock(self.now(real_time), real_time, *setting)

    def moved_to(self, fleet_time: int, real_time: int) -> "Clock":
        """Go on from another fleet time; never from an earlier one."""
        return Clock(max(fleet_time, self.now(real_time)), real_time, self.speed, self.is_auto)
