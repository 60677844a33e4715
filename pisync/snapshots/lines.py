"""The lines of which a document has many: checked by hand, a million of them in seconds."""

from functools import lru_cache
from typing import Any, Final

from pisync.model import timestamp
from pisync.model.device import MAX_DEVICE_ID, Device, ErrorLog, Pending
from pisync.model.outcome import FAILURES, PENDING, SUCCESS, Outcome, why_not_an_outcome
from pisync.model.plans.polls import MAX_POLLS, Polls

MAX_ATTEMPT: Final = 2**53 - 1

_DEVICE: Final = frozenset(
    (
        *("device_id", "last_sync_at", "sync_status_code"),
        *("error_message", "last_attempt_at", "attempt"),
    )
)
_PENDING_DEVICE: Final = _DEVICE | {"pending"}
_PENDING: Final = frozenset(("due_at", "sync_status_code", "error_message"))
_POLLED: Final = frozenset(("polls", "sync_status_code", "error_message"))
_ERROR_LOG: Final = frozenset(ErrorLog._fields)
# A device that succeeded shows a moment twice.
_parse = lru_cache(maxsize=4096)(timestamp.parse)


class WrongLine(ValueError):
    """What is wrong with a line."""


def read_device(value: Any) -> tuple[Device, int | None, Polls | None]:
    """Return the device of a line, when it begins its own attempt, and its attempt's polls.

    Either of these is None where there is none.

    Raises:
        WrongLine: It is no device that has made an attempt.
    """
    if type(value) is not dict:
        raise WrongLine("Must be an object.")
    code: Any = value.get("sync_status_code")
    moment = polls = None
    if code != PENDING and "own_sync_at" in value:
        moment = _moment(value, "own_sync_at")
        del value["own_sync_at"]
    _check_fields(value, _PENDING_DEVICE if code == PENDING else _DEVICE)
    device_id = integer(value, "device_id", 1, MAX_DEVICE_ID)
    attempt = integer(value, "attempt", 1, MAX_ATTEMPT)
    attempted = _moment(value, "last_attempt_at")
    synced = None if value["last_sync_at"] is None else _moment(value, "last_sync_at")
    message = value["error_message"]
    if code == PENDING:
        if message is not None:
            raise WrongLine("error_message: Must be null, since a sync is pending.")
        polls = _polls(value["pending"], attempt)
        pending = _pending(value["pending"]) if polls is None else Pending(None, None)
    else:
        _check_outcome(code, message)
        pending = None
    if code == SUCCESS and synced != attempted:
        raise WrongLine("last_sync_at: Must equal last_attempt_at, since that attempt succeeded.")
    if synced is not None and synced > attempted:
        raise WrongLine("last_sync_at: Must not be after last_attempt_at.")
    return Device(device_id, synced, code, message, attempted, attempt, pending), moment, polls


def _polls(value: Any, attempt: int) -> Polls | None:
    if type(value) is not dict or "polls" not in value:
        return None
    _check_fields(value, _POLLED, "pending")
    remaining = integer(value, "polls", 1, MAX_POLLS)
    code, message = value["sync_status_code"], value["error_message"]
    _check_outcome(code, message)
    return Polls(attempt, remaining, Outcome(code, message))


def _pending(value: Any) -> Pending:
    if value == {"hold": True}:
        return Pending(None, None)
    _check_fields(value, _PENDING, "pending")
    code, message = value["sync_status_code"], value["error_message"]
    _check_outcome(code, message)
    return Pending(Outcome(code, message), _moment(value, "due_at"))


def read_error_log(value: Any) -> ErrorLog:
    """Return the error log of a line.

    Raises:
        WrongLine: It is none.
    """
    _check_fields(value, _ERROR_LOG)
    code, message = value["sync_status_code"], value["error_message"]
    _check_outcome(code, message)
    if code not in FAILURES:
        raise WrongLine("sync_status_code: Must be that of a failure.")
    return ErrorLog(
        integer(value, "error_id", 1, MAX_ATTEMPT),
        integer(value, "device_id", 1, MAX_DEVICE_ID),
        integer(value, "attempt", 0, MAX_ATTEMPT),
        code,
        message,
        _moment(value, "occurred_at"),
    )


def _check_fields(value: Any, names: frozenset[str], where: str = "") -> None:
    if type(value) is not dict or value.keys() != names:
        prefix = f"{where}: " if where else ""
        raise WrongLine(f"{prefix}Must be an object with: {', '.join(sorted(names))}.")


def integer(value: dict[str, Any], name: str, least: int, most: int) -> int:
    """Return an integer field.

    Raises:
        WrongLine: It is none, or out of its bounds.
    """
    number: object = value[name]
    if type(number) is not int or not least <= number <= most:
        raise WrongLine(f"{name}: Must be an integer from {least} to {most}.")
    return number


def _moment(value: dict[str, Any], name: str) -> int:
    text = value[name]
    try:
        return _parse(text)
    except (TypeError, ValueError):
        raise WrongLine(
            f"{name}: Not a timestamp in the form 2026-11-22T07:40:12.000000Z."
        ) from None


def _check_outcome(code: Any, message: Any) -> None:
    if type(code) is not int or not (message is None or type(message) is str):
        raise WrongLine("sync_status_code: Must be an outcome's, with its error_message.")
    for field, text in why_not_an_outcome(code, message).items():
        raise WrongLine(f"{field}: {text}")
    if message is not None and "\0" in message:
        raise WrongLine("error_message: Must not contain NUL.")
