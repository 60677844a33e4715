"""What became of a request to sync, of an attempt, and of a fleet's time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from pisync.model.device import Device, ErrorLog
from pisync.model.outcome import PENDING, SUCCESS


class SyncDecision(StrEnum):
    """What became of a request to sync a device."""

    STARTED = "started"
    JOINED = "joined"
    """It was pending, and the request joined the attempt under way."""
    PENDING = "pending"
    """It was pending, and its fleet refuses to join."""
    FULL = "full"
    """Its fleet has reached its limit of pending syncs."""
    UNKNOWN = "unknown"
    """The fleet has no such device."""


class SyncResult(NamedTuple):
    """What became of a request to sync a device, and the device then (None if unknown)."""

    decision: SyncDecision
    device: Device | None


class FinishedSync(NamedTuple):
    """An attempt that has finished: the device as it is now, and what a failure left behind.

    `lateness` is in real seconds, finished minus due; None if time was moved to finish it, or it
    was released.
    """

    device: Device
    error_log: ErrorLog | None
    lateness: float | None


class ClockAdvance(NamedTuple):
    """A fleet's time after it was moved, and how many syncs that finished."""

    now: int
    finished: int


class Change(NamedTuple):
    """A device as an attempt of it began or finished, or the error log of one that failed.

    `event_id` names the change, the same on every replica, and a stream is resumed by it. It is
    made of `[A-Za-z0-9-]`.
    """

    event_id: str
    what: Device | ErrorLog


class Steps(NamedTuple):
    """How many attempts began, and how many came to which end."""

    began: int
    succeeded: int
    failed: int

    @classmethod
    def of(cls, codes: Sequence[int]) -> "Steps":
        """Count changes of devices by the status that each left behind."""
        began, succeeded = codes.count(PENDING), codes.count(SUCCESS)
        return cls(began, succeeded, len(codes) - began - succeeded)


class UnreadChanges(ABC):
    """Changes as another process has written them: they are decoded by who needs them.

    Where nobody streams or waits that is nobody. How many they are is known without it.
    """

    __slots__ = ("_size", "steps")

    def __init__(self, size: int, steps: Steps) -> None:
        """Take how many changes these are: such steps, and error logs."""
        self._size = size
        self.steps = steps

    def __len__(self) -> int:
        return self._size

    @abstractmethod
    def may_hold(self, event_id: str) -> bool:
        """Return whether a change of this id may be among them; False only if none is."""

    @abstractmethod
    def read(self) -> Sequence[Change]:
        """Return the changes, decoded anew each time."""
