"""Times, counted by length: the one histogram, for metrics and for `pisync load`."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, Self

_STEP: Final = 1.01
_SHORTEST: Final = 1e-6
_LONGEST: Final = 1000.0

TO_1_PERCENT: Final = tuple(
    _SHORTEST * _STEP**step
    for step in range(math.ceil(math.log(_LONGEST / _SHORTEST) / math.log(_STEP)) + 1)
)
"""Bounds, in seconds, each 1 % above the one before: for percentiles that are right to 1 %."""


class Histogram:
    """Counts times between bounds, in a space that does not grow with their number.

    Args:
        bounds: Seconds, in ascending order; each belongs to the times below it. What is longer than
            the last is counted by itself.
    """

    __slots__ = ("_bounds", "_counts", "max", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """All times together, in seconds."""
        self.max = 0.0
        """The longest."""

    def add(self, seconds: float) -> None:
        """Count a time."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds
        self.max = max(self.max, seconds)

    def add_all(self, times: Iterable[float]) -> None:
        """Count several times."""
        for seconds in times:
            self.add(seconds)

    @property
    def count(self) -> int:
        """How many times were counted."""
        return sum(self._counts)

    def merge(self, others: Iterable["Histogram"]) -> Self:
        """Count the times of others with the same bounds, too; return itself."""
        for other in others:
            pairs = zip(self._counts, other._counts, strict=True)  # noqa: SLF001 - one of us
            self._counts = [one + another for one, another in pairs]
            self.total += other.total
            self.max = max(self.max, other.max)
        return self

    def cumulative(self) -> list[tuple[float, int]]:
        """Return for each bound, and for infinity, how many times do not exceed it."""
        return [*zip((*self._bounds, math.inf), accumulate(self._counts), strict=True)]

    def percentile(self, percent: float) -> float:
        """Return the bound that so many percent do not exceed, or the maximum; 0 without times."""
        wanted = math.ceil(self.count * percent / 100)
        for bound, count in self.cumulative():
            if count >= wanted:
                return min(self.max, bound)
        return self.max
