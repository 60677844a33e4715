"""What became of a request to sync, of an attempt, and of a fleet's time."""

from enum import StrEnum
from typing import NamedTuple

from pisync.model.device import Device, ErrorLog


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
