"""Transitions that are broken on purpose: tests must see it."""

from collections.abc import Callable

import pytest

from pisync.model.device import Device, Failure, finish

Finish = Callable[[Device], tuple[Device, Failure | None]]


def loses_error_logs(device: Device) -> tuple[Device, Failure | None]:
    """Finish, but let a failure leave nothing behind."""
    finished, _ = finish(device)
    return finished, None


def finishes_twice() -> Finish:
    """Return a transition after which an attempt is still pending, to finish once more."""
    seen: set[tuple[int, int]] = set()

    def finish_again(device: Device) -> tuple[Device, Failure | None]:
        finished, failure = finish(device)
        if (device.device_id, device.attempt) in seen:
            return finished, failure
        seen.add((device.device_id, device.attempt))
        return device, failure

    return finish_again


def forgets_the_sync(device: Device) -> tuple[Device, Failure | None]:
    """Finish, but leave the time of the last success as it was."""
    finished, failure = finish(device)
    return finished._replace(last_sync_at=device.last_sync_at), failure


def break_finish(monkeypatch: pytest.MonkeyPatch, broken: Finish) -> None:
    """Put a broken transition in the place of `finish`, for every store."""
    monkeypatch.setattr("pisync.model.device.finish", broken)
