"""Devices and accounts as rows of their tables, whatever the database."""

from collections.abc import Iterable, Sequence
from typing import Any

from pisync.model.account import Account
from pisync.model.device import Device, Pending
from pisync.model.outcome import PENDING, Outcome
from pisync.model.plans.polls import Polls

DeviceRow = tuple[Any, ...]
"""The columns of `tables.devices`, in its order, without the fleet's id."""

_NOTHING = (None, None)
_new = tuple.__new__


def device_row(device: Device, moment: int | None = None) -> DeviceRow:
    """Return a device as a row; one that is not pending begins its own attempt at `moment`."""
    if device.pending is None:
        return *device[:6], moment, None, None
    outcome, due_at = device.pending
    return *device[:6], due_at, *(outcome or _NOTHING)


def read_device(row: Iterable[Any]) -> Device:
    """Return the device that is in a row."""
    device_id, synced, status, error, attempted, attempt, due_at, code, message = row
    # A named tuple's own constructor takes twice as long.
    pending = None
    if status == PENDING:
        outcome = None if code is None else _new(Outcome, (code, message))
        pending = _new(Pending, (outcome, due_at))
    return _new(Device, (device_id, synced, status, error, attempted, attempt, pending))


def read_moment(row: Sequence[Any]) -> int | None:
    """Return when the device in a row begins its own attempt; None if something is pending."""
    _, _, status, _, _, _, due_at, _, _ = row
    return None if status == PENDING else due_at


def polls_row(polls: Polls) -> tuple[Any, ...]:
    """Return the columns of `tables.polls`, in its order, without the keys."""
    return polls.attempt, polls.remaining, *polls.outcome


def read_polls(row: Iterable[Any]) -> Polls:
    """Return the polls that are in a row, which comes without the keys."""
    attempt, remaining, *outcome = row
    return Polls(attempt, remaining, Outcome(*outcome))


def account_row(account: Account) -> tuple[Any, ...]:
    """Return the columns of `tables.accounts`, in its order."""
    return account.key, account.name, account.password_hash, " ".join(account.scopes)


def read_scopes(written: str) -> tuple[str, ...]:
    """Return the scopes in a row of an account."""
    return tuple(written.split())
