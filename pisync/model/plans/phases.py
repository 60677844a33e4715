"""Phases: stretches of a fleet's time in which other outcomes or delays apply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pisync.model.plans.delay import Delay
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.timestamp import SECOND, from_seconds

MAX_PHASES = 1_000
MAX_PHASE_TIME = 100 * 366 * 86_400.0
"""The latest end of a phase and the longest cycle, in seconds: a hundred years."""
MIN_CYCLE = 1 / SECOND
"""The shortest cycle, in seconds."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What differs from `start` until just before `end`, in seconds since the fleet's beginning.

    None leaves outcomes or delays as the profile has them.
    """

    start: float
    end: float
    outcomes: tuple[WeightedOutcome, ...] | None = None
    delay: Delay | None = None

    @property
    def span(self) -> range:
        """The microseconds that belong to it."""
        return range(from_seconds(self.start), from_seconds(self.end))


def phase_errors(
    phases: Sequence[Phase], repeat_every: float | None
) -> Mapping[int, Mapping[str, str]]:
    """Say, phase by phase and field by field, why these can't apply together; empty if they can."""
    errors: dict[int, dict[str, str]] = {}
    order = sorted(range(len(phases)), key=lambda index: phases[index].start)
    latest = None
    for index in order:
        phase = phases[index]
        if not phase.span:
            errors[index] = {"until": "Must be after from."}
        elif repeat_every is not None and phase.end > repeat_every:
            errors[index] = {"until": "Must not be after repeat_every."}
        elif latest is not None and phase.span.start < phases[latest].span.stop:
            errors[index] = {"from": f"Overlaps phase {latest}."}
        if latest is None or phase.end > phases[latest].end:
            latest = index
    return errors
