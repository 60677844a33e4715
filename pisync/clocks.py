"""The machine's two clocks, in the one form in which they are injected everywhere."""

import sys
import time
from typing import Final, Protocol


class MachineClocks(Protocol):
    """The time of day and a clock to measure by, both in microseconds."""

    def wall(self) -> int:
        """Return the time of day: microseconds since 1970-01-01 UTC. It may step back."""

    def monotonic(self) -> int:
        """Return microseconds since an unspecified moment.

        It never steps back, and goes on while the machine sleeps.
        """


class SystemClocks:
    """The clocks of the machine that this runs on."""

    def wall(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000

    if sys.platform == "linux":

        def monotonic(self) -> int:
            """Return microseconds since the machine was started."""
            # CLOCK_MONOTONIC, which `time.monotonic` reads, stands still while Linux sleeps.
            return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    elif sys.platform == "win32":

        def monotonic(self) -> int:
            """Return microseconds since the machine was started."""
            return time.monotonic_ns() // 1000

    else:

        def monotonic(self) -> int:
            """Return microseconds since an unspecified moment."""
            # On macOS `time.monotonic` stands still while the machine sleeps; this goes on.
            return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


class SteadyClocks:
    """The machine's time of day when this is made, from then on carried by its monotonic clock.

    Setting the machine's clock does not move it, nor do tools that replace `time.time` in tests.
    """

    def __init__(self) -> None:
        self._machine = SystemClocks()
        self._start = self._machine.wall() - self._machine.monotonic()

    def wall(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        return self._start + self._machine.monotonic()

    def monotonic(self) -> int:
        """Return microseconds since an unspecified moment."""
        return self._machine.monotonic()


SYSTEM_CLOCKS: Final = SystemClocks()
"""The clocks of whoever is not given others."""
