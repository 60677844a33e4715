"""A device, and the two transitions of its life: an attempt begins, an attempt finishes."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pisync.model.outcome import PENDING, SUCCESS, Outcome
from pisync.model.timestamp import LATEST

MAX_DEVICE_ID = 2**53 - 1
# A named tuple's own constructor takes twice as long.
_new = tuple.__new__


class Plan(NamedTuple):
    """What an attempt comes to, decided when it begins: an outcome, after microseconds of delay.

    A plan with neither (`HOLD`) holds the attempt until somebody releases it with an outcome.
    """

    outcome: Outcome | None
    delay: int | None


HOLD = Plan(None, None)


class Pending(NamedTuple):
    """What is still to come of a device's attempt: an outcome at fleet time `due_at`.

    A held attempt has neither. Where the attempt's time is ahead of the fleet's, `due_at` may lie
    before it.
    """

    outcome: Outcome | None
    due_at: int | None

    @property
    def is_held(self) -> bool:
        """Whether the attempt waits for its release."""
        return self.due_at is None


class Device(NamedTuple):
    """A device: the five fields that everyone sees, its attempt number, and what it waits for.

    Times are fleet time, in microseconds. `attempt` is the number of the last attempt, 0 before the
    first. `pending` is there exactly while the status is 202.
    """

    device_id: int
    last_sync_at: int | None
    sync_status_code: int
    error_message: str | None
    last_attempt_at: int
    attempt: int = 0
    pending: Pending | None = None

    @property
    def is_pending(self) -> bool:
        """Whether an attempt is under way."""
        return self.pending is not None

    @property
    def finishes_by_itself(self) -> bool:
        """Whether an attempt is under way that is not held."""
        return self.pending is not None and self.pending.due_at is not None


class ErrorLog(NamedTuple):
    """What a failed attempt leaves behind; `error_id` grows within its fleet."""

    error_id: int
    device_id: int
    attempt: int
    sync_status_code: int
    error_message: str
    occurred_at: int


class Failure(NamedTuple):
    """An error log to be, before its fleet has numbered it."""

    device_id: int
    attempt: int
    sync_status_code: int
    error_message: str
    occurred_at: int

    def logged_as(self, error_id: int) -> ErrorLog:
        """Return the error log with its number."""
        return _new(ErrorLog, (error_id, *self))


class DevicePage(NamedTuple):
    """Devices by rising id, how many there are on all pages, and whether a page follows.

    Answers to the same question with the same `version` are equal; None says nothing.
    """

    devices: Sequence[Device]
    total: int
    more: bool
    version: Hashable = None


class ErrorPage(NamedTuple):
    """Error logs, newest first, and whether older ones follow.

    Answers to the same question with the same `version` are equal; None says nothing.
    """

    error_logs: Sequence[ErrorLog]
    more: bool
    version: Hashable = None


@dataclass(frozen=True, slots=True)
class ErrorFilter:
    """Error logs with an id below `before`, of a device, of some statuses, not before `since`."""

    before: int | None = None
    device_id: int | None = None
    statuses: frozenset[int] | None = None
    since: int | None = None


class InvalidTransition(Exception):
    """The device is not in the state that the transition starts from."""


def synced(device_id: int, at: int) -> Device:
    """Return a device that starts as synced at fleet time `at`."""
    return Device(device_id, at, SUCCESS, None, at)


def begin(device: Device, now: int, plan: tuple[Outcome | None, int | None]) -> Device:
    """Begin the device's next attempt, as planned (see `Plan`), at fleet time `now`.

    An attempt's time is never before the previous one's, even if `now` is.

    Raises:
        InvalidTransition: An attempt is under way.
    """
    device_id, synced, _, _, attempted, attempt, pending = device
    if pending is not None:
        raise InvalidTransition(f"device {device_id} is pending")
    at = max(now, attempted)
    outcome, delay = plan
    # From now, not from `at`: a last attempt in the future must not hold this one up.
    pending = _new(Pending, (outcome, None if delay is None else min(now + delay, LATEST)))
    return _new(Device, (device_id, synced, PENDING, None, at, attempt + 1, pending))


def release(device: Device, outcome: Outcome, now: int) -> Device:
    """Give a held attempt its outcome, due at once.

    Raises:
        InvalidTransition: The device holds no attempt.
    """
    if device.pending is None or not device.pending.is_held:
        raise InvalidTransition(f"device {device.device_id} holds no attempt")
    return device._replace(pending=Pending(outcome, now))


def finish(device: Device, now: int) -> tuple[Device, Failure | None]:
    """Let the attempt under way come to its planned outcome at fleet time `now`.

    Returns the device as it is then, and what a failure leaves behind. That occurs when the attempt
    is due, or `now` if that is sooner.

    Raises:
        InvalidTransition: Nothing is pending, or the attempt is held.
    """
    device_id, synced, _, _, at, attempt, pending = device
    if pending is None or pending.outcome is None or pending.due_at is None:
        raise InvalidTransition(f"device {device_id} has nothing to finish")
    code, message = pending.outcome
    if message is None:
        return _new(Device, (device_id, at, SUCCESS, None, at, attempt, None)), None
    # No error occurs before its attempt.
    occurred_at = max(min(pending.due_at, now), at)
    return (
        _new(Device, (device_id, synced, code, message, at, attempt, None)),
        _new(Failure, (device_id, attempt, code, message, occurred_at)),
    )
