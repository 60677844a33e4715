"""A fleet's devices in columns: 42 bytes a device (50 if listed), whatever its state."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from copy import copy
from functools import lru_cache
from heapq import merge
from typing import Protocol

from pisync.model.device import Device, Pending
from pisync.model.fleet import FirstData, FleetTimes, Generated
from pisync.model.outcome import PENDING, STATUS_CODES, SUCCESS, Outcome

_NONE = -(2**63)
"""Stands for None in a column of times."""
# A named tuple's own constructor takes twice as long.
_new = tuple.__new__
_BLOCK_BITS = 6
"""Changes are counted by blocks of 64 devices: one elsewhere leaves a page's version as it is."""


_COLUMNS = (
    *("ids", "_synced", "_attempted", "_status", "_message"),
    *("_attempt", "_due", "_planned"),
)


class ChangeListener(Protocol):
    """Who must know of a device before it changes."""

    def before_change(self, position: int) -> None:
        """The device at this position is about to change."""


class DeviceTable:
    """Devices by position; positions are in order of device ids.

    Columns instead of objects: a million of them cost no garbage collection, and `bytearray.find`
    looks for a status at gigabytes a second, so that filtered pages need no index.
    """

    def __init__(self, first: FirstData, times: FleetTimes) -> None:
        if isinstance(first, Generated):
            count = first.count
            self.ids: Sequence[int] = range(1, count + 1)
            self._synced = array("q", [times.made_at]) * count
            self._attempted = self._synced[:]
            self._status = bytearray([_CODE_BYTE[SUCCESS]]) * count
            self._message: list[str | None] = [None] * count
        else:
            devices = [each.made(times) for each in first.devices]
            count = len(devices)
            self.ids = array("q", [each.device_id for each in devices])
            self._synced = array("q", [_or_none(each.last_sync_at) for each in devices])
            self._attempted = array("q", [each.last_attempt_at for each in devices])
            self._status = bytearray(_CODE_BYTE[each.sync_status_code] for each in devices)
            self._message = [each.error_message for each in devices]
        self._attempt = array("q", [0]) * count
        # Of a pending device: when it is due, and its planned code; the message column holds the
        # planned message. Of others they mean nothing.
        self._due = array("q", [0]) * count
        self._planned = bytearray(count)
        # How often devices of each block have changed: by it, a page is known to be the same.
        self._changes = array("q", [0]) * ((count >> _BLOCK_BITS) + 1)
        self._counts = [self._status.count(code) for code in range(len(STATUS_CODES))]
        self.held = 0
        self.listeners: Sequence[ChangeListener] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def messages(self) -> list[str | None]:
        """The column of error messages."""
        return self._message

    def position(self, device_id: int) -> int | None:
        """Return the position of a device, or None if there is no such device."""
        if isinstance(self.ids, range):
            # Without a search, which takes 1 µs among a hundred thousand.
            return device_id - 1 if 0 < device_id <= len(self.ids) else None
        place = bisect_left(self.ids, device_id)
        return place if place < len(self.ids) and self.ids[place] == device_id else None

    def load(self, position: int) -> Device:
        """Return the device at a position."""
        code = STATUS_CODES[self._status[position]]
        message = self._message[position]
        pending = None
        if code == PENDING:
            due = self._due[position]
            if due == _NONE:
                pending = Pending(None, None)
            else:
                outcome = _outcome(STATUS_CODES[self._planned[position]], message)
                pending = _new(Pending, (outcome, due))
            message = None
        synced = self._synced[position]
        return _new(
            Device,
            (
                self.ids[position],
                None if synced == _NONE else synced,
                code,
                message,
                self._attempted[position],
                self._attempt[position],
                pending,
            ),
        )

    def save(self, position: int, device: Device) -> None:
        """Replace the device at a position."""
        for listener in self.listeners:
            listener.before_change(position)
        _, synced, code, message, attempted, attempt, pending = device
        before, status = self._status[position], _CODE_BYTE[code]
        if before == _PENDING_BYTE and self._due[position] == _NONE:
            self.held -= 1
        self._changes[position >> _BLOCK_BITS] += 1
        self._counts[before] -= 1
        self._counts[status] += 1
        self._status[position] = status
        self._synced[position] = _NONE if synced is None else synced
        self._attempted[position] = attempted
        self._attempt[position] = attempt
        if pending is not None:
            outcome, due = pending
            self._due[position] = _or_none(due)
            self.held += due is None
            if outcome is not None:
                planned, message = outcome
                self._planned[position] = _CODE_BYTE[planned]
        self._message[position] = message

    def part(self, positions: range) -> "DeviceTable":
        """Return a copy of the devices at these positions, to be read alone."""
        part, window = copy(self), slice(positions.start, positions.stop)
        for column in _COLUMNS:
            setattr(part, column, getattr(self, column)[window])
        return part

    def attempted(self) -> list[Device]:
        """Return the devices that have ever made an attempt."""
        return [self.load(position) for position, attempt in enumerate(self._attempt) if attempt]

    @staticmethod
    def blocks(positions: range) -> tuple[int, int]:
        """Return the first of the blocks with these positions, and the one behind the last."""
        if not positions:
            return 0, 0
        return positions[0] >> _BLOCK_BITS, (positions[-1] >> _BLOCK_BITS) + 1

    def changes(self, first: int, end: int) -> int:
        """Return a number that has grown when any device of these blocks has changed."""
        return sum(self._changes[first:end])

    @property
    def pending(self) -> int:
        """How many devices are pending."""
        return self._counts[_PENDING_BYTE]

    def count(self, statuses: frozenset[int] | None = None) -> int:
        """Count the devices that have one of these statuses; all if None."""
        if statuses is None:
            return len(self)
        return sum(self._counts[_CODE_BYTE[status]] for status in statuses)

    def after(self, device_id: int) -> range:
        """Return the positions of devices with a greater id."""
        if isinstance(self.ids, range):
            return range(min(device_id, len(self)), len(self))
        return range(bisect_right(self.ids, device_id), len(self))

    def having(self, statuses: frozenset[int], positions: range) -> Iterator[int]:
        """Yield the positions from the first of these on whose devices have one of the statuses."""
        return merge(*(self._with_status(_CODE_BYTE[each], positions.start) for each in statuses))

    def _with_status(self, code: int, start: int) -> Iterator[int]:
        position = self._status.find(code, start)
        while position >= 0:
            yield position
            position = self._status.find(code, position + 1)


_outcome = lru_cache(maxsize=1024)(Outcome)
_CODE_BYTE = {code: place for place, code in enumerate(STATUS_CODES)}
_PENDING_BYTE = _CODE_BYTE[PENDING]


def _or_none(moment: int | None) -> int:
    return _NONE if moment is None else moment
