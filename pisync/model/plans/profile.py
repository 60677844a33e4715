"""A profile: what a fleet's attempts come to, and how long they take."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.delay import Delay, LognormalDelay
from pisync.model.plans.phases import Phase, phase_errors
from pisync.model.plans.traffic import Traffic
from pisync.model.plans.weights import Choice, WeightedOutcome
from pisync.model.timestamp import from_seconds

MAX_SEED = 2**53 - 1
MAX_PENDING = 2**53 - 1


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


class Rules(NamedTuple):
    """What decides attempts that begin at a moment."""

    choice: Choice
    delay: Delay


class PhasesClash(Exception):
    """Phases overlap, or end after the cycle in which they repeat: `errors` says which."""

    def __init__(self, errors: Mapping[int, Mapping[str, str]]) -> None:
        super().__init__(f"{len(errors)} phases clash")
        self.errors = errors


@dataclass(frozen=True)
class Profile:
    """What a fleet's attempts come to: a value; a change makes a new one.

    `refuse_pending` says what a sync of a pending device gets: a refusal, or a place in the attempt
    under way. `max_pending` bounds the fleet's pending syncs. `mean_length` is that of spells, in
    attempts; 1 if each draws for itself. `repeat_every` is in seconds. With `traffic`, devices sync
    by themselves.

    Raises:
        PhasesClash: The phases can't apply together.
    """

    seed: int
    outcomes: tuple[WeightedOutcome, ...] = DEFAULT_OUTCOMES
    delay: Delay = DEFAULT_DELAY
    refuse_pending: bool = False
    max_pending: int = DEFAULT_MAX_PENDING
    mean_length: float = 1.0
    phases: tuple[Phase, ...] = ()
    repeat_every: float | None = None
    traffic: Traffic | None = None

    def __post_init__(self) -> None:
        if self.phases and (errors := phase_errors(self.phases, self.repeat_every)):
            raise PhasesClash(errors)

    def rules_at(self, elapsed: int) -> Rules:
        """Return what decides attempts that begin so many microseconds after the beginning."""
        if not self.phases or elapsed < 0:
            return self._rules
        if self.repeat_every is not None:
            elapsed %= from_seconds(self.repeat_every)
        starts, phases = self._phases
        place = bisect_right(starts, elapsed) - 1
        if place < 0:
            return self._rules
        end, rules = phases[place]
        return rules if elapsed < end else self._rules

    @cached_property
    def _rules(self) -> Rules:
        return Rules(Choice(self.outcomes), self.delay)

    @cached_property
    def _phases(self) -> tuple[list[int], list[tuple[int, Rules]]]:
        """The phases' beginnings, rising, and of each its end and its rules."""
        phases = sorted(self.phases, key=lambda phase: phase.start)
        rules = [
            Rules(
                self._rules.choice if phase.outcomes is None else Choice(phase.outcomes),
                self.delay if phase.delay is None else phase.delay,
            )
            for phase in phases
        ]
        spans = [phase.span for phase in phases]
        ends = [(span.stop, each) for span, each in zip(spans, rules, strict=True)]
        return [span.start for span in spans], ends


ProfileChanges = Mapping[str, Any]
"""Some of the arguments of a `Profile`, by name."""


def new_profile(changes: ProfileChanges, seed: int) -> Profile:
    """Return a profile with these arguments, the defaults, and `seed` if they have none."""
    return replace(Profile(seed), **changes)
