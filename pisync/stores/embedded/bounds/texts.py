"""The error messages of a fleet in memory: each is held once, however many devices have it."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from pisync.model.bounds import Budget, Share
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import FirstData, Listed
from pisync.model.outcome import Outcome
from pisync.model.plans.polls import Polls
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script
from pisync.stores.embedded.bounds.budgets import check_room

_ENTRY = 104
"""Bytes of an entry in a dictionary that is seldom full."""
_FREE_OUTCOMES = 10
"""Every profile may have so many: most have the default ones, which all share."""


class Texts:
    """The texts that a fleet has had since it was made or reset."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._texts: dict[str, str] = {}

    def check_room(self, budget: Budget, texts: Iterable[str | None]) -> None:
        """Return if these texts may be held, too.

        Raises:
            BoundReached: There is no room for those that are new.
        """
        new = {text for text in texts if text is not None and text not in self._texts}
        check_room(budget, sum(map(_cost, new)))

    def shared(self, text: str | None) -> str | None:
        """Return the one text that is equal to this."""
        if text is None:
            return None
        held = self._texts.get(text)
        if held is None:
            held = self._texts[text] = text
            self._share.change(_cost(text))
        return held

    def hold_profile(self, profile: Profile) -> None:
        """Hold the texts of a profile."""
        for text in texts_of_profile(profile):
            self.shared(text)

    def containers(self) -> list[dict[str, str]]:
        """Return what may hold many objects, for whoever frees them."""
        return [self._texts]

    def known(self, outcome: Outcome) -> Outcome:
        """Return an outcome with the text that is held already, if it is."""
        text = outcome.error_message
        return (
            outcome if text is None else outcome._replace(error_message=self._texts.get(text, text))
        )

    def of_outcome(self, outcome: Outcome) -> Outcome:
        """Return an outcome with its text shared."""
        return outcome._replace(error_message=self.shared(outcome.error_message))

    def of_script(self, script: Script) -> Script:
        """Return a script with its texts shared."""
        steps = tuple(
            step if step.outcome is None else step._replace(outcome=self.of_outcome(step.outcome))
            for step in script.steps
        )
        return script._replace(steps=steps)

    def of_polls(self, polls: Polls) -> Polls:
        """Return polls with their outcome's text shared."""
        return polls._replace(outcome=self.of_outcome(polls.outcome))

    def of_first_data(self, first: FirstData) -> FirstData:
        """Return a fleet's first data with their texts shared."""
        if not isinstance(first, Listed):
            return first
        devices = [
            each
            if each.error_message is None
            else each._replace(error_message=self.shared(each.error_message))
            for each in first.devices
        ]
        return Listed(devices, self.of_error_logs(first.error_logs))

    def of_error_logs(self, logs: Iterable[ErrorLog]) -> Sequence[ErrorLog]:
        """Return error logs with their texts shared."""
        return [log._replace(error_message=self.shared(log.error_message) or "") for log in logs]

    def of_device(self, device: Device) -> Device:
        """Return a device with its text, or that of its plan, shared."""
        if device.error_message is not None:
            return device._replace(error_message=self.shared(device.error_message))
        pending = device.pending
        if pending is not None and pending.outcome is not None:
            outcome = self.of_outcome(pending.outcome)
            return device._replace(pending=pending._replace(outcome=outcome))
        return device


def texts_of_profile(profile: Profile) -> Iterator[str | None]:
    """Yield the texts of a profile's outcomes, and of its phases'."""
    for weighted in profile.outcomes:
        yield weighted.outcome.error_message
    for phase in profile.phases:
        for weighted in phase.outcomes or ():
            yield weighted.outcome.error_message


def steps_of_profile(profile: Profile) -> int:
    """Return for how many steps of a script the outcomes of a profile and its phases count."""
    size = len(profile.outcomes) + sum(1 + len(phase.outcomes or ()) for phase in profile.phases)
    return max(0, size - _FREE_OUTCOMES)


def texts_of_script(script: Script) -> Iterator[str | None]:
    """Yield the texts of a script's steps."""
    return (step.outcome.error_message for step in script.steps if step.outcome is not None)


def _cost(text: str) -> int:
    return sys.getsizeof(text) + _ENTRY
