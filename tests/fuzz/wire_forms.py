"""What clients read and write, as the twin has it."""

from collections.abc import Mapping
from typing import Any

from pisync.model import timestamp
from pisync.model.device import Device
from pisync.model.plans.script import Step
from pisync.model.timestamp import SECOND


def first_device(shown: Mapping[str, Any]) -> Device:
    """Return a device that no attempt was made of yet."""
    synced = shown["last_sync_at"]
    return Device(
        shown["device_id"],
        None if synced is None else timestamp.parse(synced),
        shown["sync_status_code"],
        shown["error_message"],
        timestamp.parse(shown["last_attempt_at"]),
        0,
    )


def error_log(shown: Mapping[str, Any]) -> tuple[object, ...]:
    """Return an error log as the twin has it."""
    occurred_at = timestamp.parse(shown["occurred_at"])
    named = ("device_id", "attempt", "sync_status_code", "error_message")
    return (*(shown[name] for name in named), occurred_at)


def script_step(step: Step) -> dict[str, object]:
    """Return a script's step as a client writes it."""
    if step.outcome is None:
        return {"hold": True}
    delay = {} if step.delay is None else {"delay": step.delay / SECOND}
    return {**step.outcome._asdict(), **delay}
