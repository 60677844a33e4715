"""Transitions that are broken on purpose: tests must see it."""

from collections.abc import Callable

import pytest

from pisync.model.device import Device, Failure, finish

Finish = Callable[[Device, int], tuple[Device, Failure | None]]


def loses_error_logs(device: Device, now: int) -> tuple[Device, Failure | None]:
    """Finish, but let a failure leave nothing behind."""
    finished, _ = finish(device, now)
    return finished, None


def finishes_twice(device: Device, now: int) -> tuple[Device, Failure | None]:
    """Finish, but leave the device pending, to finish once more."""
    finished, failure = finish(device, now)
    if device.last_sync_at == device.last_attempt_at:
        return finished, failure
    # The mark by which the second time is known.
    return device._replace(last_sync_at=device.last_attempt_at), failure


def forgets_the_sync(device: Device, now: int) -> tuple[Device, Failure | None]:
    """Finish, but leave the time of the last success as it was."""
    finished, failure = finish(device, now)
    return finished._replace(last_sync_at=device.last_sync_at), failure


def break_finish(monkeypatch: pytest.MonkeyPatch, broken: Finish) -> None:
    """Put a broken transition in the place of `finish`, for every store."""
    monkeypatch.setattr("pisync.model.device.finish", broken)
