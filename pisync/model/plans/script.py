"""A script: what a device's next attempts come to, whatever the profile says."""

from typing import NamedTuple

from pisync.model.device import HOLD, Plan
from pisync.model.outcome import Outcome
from pisync.model.plans.draw import Draw, draw
from pisync.model.plans.polls import Polls
from pisync.model.plans.profile import Profile

MAX_STEPS = 1_000


class Step(NamedTuple):
    """One scripted attempt: an outcome, or None to hold it until it is released.

    It comes after a delay (microseconds), or after so many `polls`, reads that show the attempt as
    pending. Without either it takes the delay that the profile draws.
    """

    outcome: Outcome | None
    delay: int | None = None
    polls: int | None = None

    def polls_of(self, attempt: int) -> Polls | None:
        """Return the polls of the attempt of this number, if the step has any."""
        if self.polls is None or self.outcome is None:
            return None
        return Polls(attempt, self.polls, self.outcome)


class Script(NamedTuple):
    """The steps of a device's next attempts, from `position` on; a sticky one repeats its last."""

    steps: tuple[Step, ...]
    sticky: bool = False
    position: int = 0

    @property
    def step(self) -> Step:
        """The next attempt's step."""
        return self.steps[self.position]

    def after(self) -> "Script | None":
        """Return the script that is left after this step; None when it is over."""
        if self.position + 1 < len(self.steps):
            return self._replace(position=self.position + 1)
        return self if self.sticky else None


def plan(
    profile: Profile, script: Script | None, device_id: int, attempt: int, elapsed: int = 0
) -> Plan | Draw:
    """Decide an attempt that begins `elapsed` microseconds after the fleet's beginning.

    By the script's next step where there is one, else by the profile.
    """
    if script is None:
        return draw(profile, device_id, attempt, elapsed)
    outcome, delay, polls = script.step
    if outcome is None or polls is not None:
        return HOLD
    if delay is None:
        delay = draw(profile, device_id, attempt, elapsed).delay
    return Plan(outcome, delay)
