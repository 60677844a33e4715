"""Outcomes by weight, and the choice among them."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pisync.model.outcome import Outcome

MAX_OUTCOMES = 1_000


@dataclass(frozen=True, slots=True)
class WeightedOutcome:
    """An outcome, and how often it comes relative to the others of its profile."""

    outcome: Outcome
    weight: float


class Choice:
    """The choice among outcomes: [0, 1) divided in proportion to their weights."""

    __slots__ = ("_bounds", "_last", "_outcomes")

    def __init__(self, outcomes: Sequence[WeightedOutcome]) -> None:
        self._outcomes = outcomes
        # Scaled first: the sum of the largest floats would be infinite.
        largest = max(weighted.weight for weighted in outcomes)
        self._bounds = list(accumulate(weighted.weight / largest for weighted in outcomes))
        # Rounding may carry `u` times the total up to the total itself: that is the last one's that
        # has a weight.
        self._last = bisect_left(self._bounds, self._bounds[-1])

    def at(self, u: float) -> Outcome:
        """Return the outcome at `u` (0 < u < 1)."""
        bounds = self._bounds
        return self._outcomes[min(bisect_right(bounds, u * bounds[-1]), self._last)].outcome
