"""The machine's two clocks, in one place, so that tests can put others there."""

import time
from typing import Protocol


class MachineClocks(Protocol):
    """Microseconds by the machine's clocks."""

    def wall(self) -> int:
        """Return the time of day: microseconds since 1970-01-01 UTC. It may step back."""

    def monotonic(self) -> int:
        """Return microseconds since some moment. It never steps back."""


class SystemClocks:
    """The clocks of the machine that this runs on."""

    def wall(self) -> int:
        """Return microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> int:
        """Return microseconds since some moment."""
        return time.monotonic_ns() // 1000
