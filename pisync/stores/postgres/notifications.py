"""What replicas tell each other: what has changed, and when there will be something to do.

A notification is a JSON array. The database writes its first element, the id of the fleet's newest
error log before the change; error logs are numbered from there.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from secrets import token_hex
from typing import Any

import orjson

from pisync.model.device import Device, ErrorLog
from pisync.model.outcome import PENDING
from pisync.model.sync import Change, Steps, UnreadChanges
from pisync.model.timestamp import SECOND
from pisync.stores.base import StoreObserver
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.requests.settings import KnownSettings
from pisync.stores.schema.rows import (
    device_row,
    read_device,
)

CHANNEL = "pisync"
"""Where notices are sent; the functions that send them, in the migrations, know it too."""
TELL = "SELECT tell_replicas($1)"
"""Sends a complete notice with the transaction: to replicas that listen, and to those that read."""

_LONGEST = 7900
"""What PostgreSQL carries in one notice, in bytes, with a margin for what it writes itself."""

_CHANGED, _DUE, _MARK = "changed", "due", "mark"
_REPLACED = "replaced"
"""Written by the functions that put a fleet into its place or delete it."""
_REQUESTS = "requests"
"""A fleet's settings for requests have changed."""

_LOG_FIELDS = len(ErrorLog._fields)
_new = tuple.__new__


class ObserverHolder:
    """Holds who observes the store, which is set when the store is opened, and what it knows."""

    observer: StoreObserver

    def __init__(self, settings: KnownSettings, own: OwnSyncs) -> None:
        self.settings = settings
        self.grace = own.grace / SECOND
        """Seconds for which syncs that another replica began are left to it."""

    def missed(self) -> None:
        """Tell that changes may have been missed."""
        self.settings.missed()
        self.observer.missed()


def changed(
    fleet_id: int, name: str, what: Iterable[Device | ErrorLog], due_in: float | None
) -> list[str]:
    """Write notices of changes, in their order, and of what will be due; few but not too long."""
    head = orjson.dumps([_CHANGED, due_in, name, fleet_id])[1:-1].decode()
    room = _LONGEST - len(head)
    notices: list[str] = []
    entries: list[bytes] = []
    length = 0
    for each in what:
        entry = orjson.dumps(device_row(each) if isinstance(each, Device) else tuple(each))
        length += len(entry) + 1
        if length > room:
            notices.append(_joined(head, entries))
            entries, length = [], len(entry) + 1
        entries.append(entry)
    if entries:
        notices.append(_joined(head, entries))
    return notices


def _joined(head: str, entries: Sequence[bytes]) -> str:
    return f"{head},{b','.join(entries).decode()}]"


def due(seconds: float) -> str:
    """Write a notice that there will be something to do in so many real seconds."""
    return orjson.dumps([_DUE, seconds])[1:].decode()


def mark() -> str:
    """Write a complete notice that tells nothing and equals no other."""
    return orjson.dumps([0, _MARK, token_hex(8)]).decode()


def tell(holder: ObserverHolder, notice: str) -> None:
    """Tell an observer what is in a notice."""
    _, kind, *rest = orjson.loads(notice)
    observer = holder.observer
    if kind == _CHANGED:
        due_in, name, _, *entries = rest
        observer.heard(name, _Unread(notice, entries))
        if due_in is not None:
            observer.due_in(due_in + holder.grace)
    elif kind == _REQUESTS:
        holder.settings.changed(*rest)
        observer.reads_changed(*rest)
    elif kind == _REPLACED:
        holder.settings.changed(*rest)
        observer.replaced(*rest)
    elif kind == _DUE:
        observer.due_in(*rest)


class _Unread(UnreadChanges):
    """The changes in a notice, of which the text is kept: it takes less room than they do."""

    __slots__ = ("_notice",)

    def __init__(self, notice: str, entries: Sequence[Sequence[Any]]) -> None:
        """Take a notice, and what is in it.

        Raises:
            ValueError: An entry is neither a device nor an error log. So no reader meets one.
        """
        devices = [each for each in entries if len(each) != _LOG_FIELDS]
        codes = [code for _, _, code, _, _, _, _, _, _ in devices]
        super().__init__(len(entries), Steps.of(codes))
        self._notice = notice

    def may_hold(self, event_id: str) -> bool:
        """Look for what the id is made of in the text: to decode all that is kept takes long."""
        device_id, attempt, error_id = _sought(event_id)
        if error_id:
            newest_error = int(self._notice[1 : self._notice.index(",")])
            return f"[{error_id - newest_error}," in self._notice
        return device_id in self._notice and attempt in self._notice

    def read(self) -> Sequence[Change]:
        newest_error, _, _, _, fleet_id, *entries = orjson.loads(self._notice)
        # A tuple takes less room than a list, which leaves some to grow.
        return tuple([_change(fleet_id, newest_error, each) for each in entries])


def _change(fleet_id: int, newest_error: int, entry: Sequence[Any]) -> Change:
    if len(entry) == _LOG_FIELDS:
        log = ErrorLog(newest_error + entry[0], *entry[1:])
        return Change(f"{fleet_id}-e{log.error_id}", log)
    device = read_device(entry)
    step = "begun" if device.sync_status_code == PENDING else "finished"
    # A named tuple's own constructor takes twice as long.
    return _new(Change, (f"{fleet_id}-{device.device_id}-{device.attempt}-{step}", device))


@lru_cache(maxsize=1)
def _sought(event_id: str) -> tuple[str, str, int]:
    """Return a device and an attempt as they stand in a notice, or the id of an error log."""
    if log := re.fullmatch(r"[0-9]+-e([0-9]{1,19})", event_id):
        return "", "", int(log[1])
    _, device_id, attempt, *_ = *event_id.split("-"), "", ""
    return f"[{device_id},", f",{attempt},", 0
