"""How late attempts finished: finished minus due, in real seconds."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

REMEMBERED = 10_000
"""How many of the newest attempts the percentiles are taken over."""


class LatenessView(NamedTuple):
    """Median, 99th percentile and maximum, in seconds; zeros if nothing has finished by itself."""

    p50: float
    p99: float
    max: float


class Lateness:
    """The lateness of a fleet's attempts in this process."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=REMEMBERED)
        self._max = 0.0

    def add(self, seconds: Sequence[float]) -> None:
        """Note the lateness of attempts."""
        self._newest.extend(seconds)
        self._max = max(self._max, *seconds)

    def view(self) -> LatenessView:
        """Return a summary, with percentiles by nearest rank."""
        if not self._newest:
            return LatenessView(0.0, 0.0, 0.0)
        ranked = sorted(self._newest)
        last = len(ranked) - 1
        return LatenessView(ranked[round(last * 0.5)], ranked[round(last * 0.99)], self._max)
