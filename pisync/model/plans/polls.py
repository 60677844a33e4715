"""Attempts that are pending for so many reads, whatever the time."""

from typing import Final, NamedTuple

from pisync.model.device import Device
from pisync.model.outcome import Outcome

MAX_POLLS: Final = 1_000


class Polls(NamedTuple):
    """How many more reads show a device's attempt as pending, and what it comes to after them.

    The device itself is that of a held attempt.
    """

    attempt: int
    remaining: int
    outcome: Outcome

    def are_of(self, device: Device) -> bool:
        """Say whether it is this device's present attempt that they are about."""
        return device.pending is not None and device.attempt == self.attempt

    def after_read(self) -> "Polls | None":
        """Return what is left after one more read; None when that was the last."""
        return self._replace(remaining=self.remaining - 1) if self.remaining > 1 else None
