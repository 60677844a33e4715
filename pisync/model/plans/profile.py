"""A profile: what a fleet's attempts come to, and how long they take."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.delay import Delay, LognormalDelay

MAX_SEED = 2**53 - 1
MAX_PENDING = 2**53 - 1
MAX_OUTCOMES = 1_000


@dataclass(frozen=True, slots=True)
class WeightedOutcome:
    """An outcome, and how often it comes relative to the others of its profile."""

    outcome: Outcome
    weight: float


DEFAULT_OUTCOMES = (
    WeightedOutcome(SUCCEEDED, 70),
    WeightedOutcome(Outcome(400, "Authentication Failure"), 6),
    WeightedOutcome(Outcome(400, "Storage Full"), 6),
    WeightedOutcome(Outcome(404, "Server Not Reachable"), 6),
    WeightedOutcome(Outcome(500, "Connection Timeout"), 6),
    WeightedOutcome(Outcome(500, "Unknown Sync Error"), 6),
)
DEFAULT_DELAY = LognormalDelay(median=2.0, sigma=0.5, max=10.0)
DEFAULT_MAX_PENDING = 1_000_000


@dataclass(frozen=True)
class Profile:
    """What a fleet's attempts come to: a value; a change makes a new one.

    `refuse_pending` says what a sync of a pending device gets: a refusal, or a place in the attempt
    under way. `max_pending` bounds the fleet's pending syncs.
    """

    seed: int
    outcomes: tuple[WeightedOutcome, ...] = DEFAULT_OUTCOMES
    delay: Delay = DEFAULT_DELAY
    refuse_pending: bool = False
    max_pending: int = DEFAULT_MAX_PENDING

    def choose(self, u: float) -> Outcome:
        """Return the outcome at `u` (0 < u < 1) when [0, 1) is divided in proportion to weights."""
        thresholds, last = self._thresholds
        return self.outcomes[min(bisect_right(thresholds, u * thresholds[-1]), last)].outcome

    @cached_property
    def _thresholds(self) -> tuple[list[float], int]:
        """Rising bounds, one an outcome, and the index of the last one with a weight.

        Rounding may carry `u` times the total up to the total itself: that is the last one's.
        """
        # Scaled first: the sum of the largest floats would be infinite.
        largest = max(weighted.weight for weighted in self.outcomes)
        bounds = list(accumulate(weighted.weight / largest for weighted in self.outcomes))
        return bounds, bisect_left(bounds, bounds[-1])


ProfileChanges = Mapping[str, Any]
"""Some of the arguments of a `Profile`, by name."""


def new_profile(changes: ProfileChanges, seed: int) -> Profile:
    """Return a profile with these arguments, the defaults, and `seed` if they have none."""
    return replace(Profile(seed), **changes)
