"""When the devices of a fleet that lives begin their own attempts: some 60 bytes a device."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from heapq import heappop, heappush

from pisync.model.plans.traffic import Traffic
from pisync.model.timestamp import LATEST
from pisync.stores.changes import Due

_NONE = -(2**63)
_POSITION_BITS = 23
"""Enough for the positions of the largest fleet."""
_POSITION = (1 << _POSITION_BITS) - 1


def packed(moment: int, position: int) -> int:
    """Return a moment and a position as one integer: 44 bytes in a heap where a tuple takes 150."""
    return moment << _POSITION_BITS | position


def unpacked(entry: int) -> tuple[int, int]:
    """Return the moment and the position in an integer."""
    return entry >> _POSITION_BITS, entry & _POSITION


class Moments:
    """Each device's next own attempt, and the earliest of them.

    The first ones, a pure function of when all this began, are computed some at a time (`prepare`):
    for a million devices it takes seconds. Nothing begins before that is done, or its order would
    be another.

    Of a device that has a moment, the queue has that or an earlier one: a moment that is put off
    needs no new entry until the old one comes up, and there are no more entries than devices,
    however often clients sync them.
    """

    def __init__(self, traffic: Traffic, seed: int, since: int, ids: Sequence[int]) -> None:
        self.since = since
        """When the fleet began to live: the moments of devices that have not synced follow."""
        self._traffic = traffic
        self._seed = seed
        self._ids = ids
        self._at = array("q", [_NONE]) * len(ids)
        self._queue: list[int] = []
        self._prepared = 0

    @property
    def is_ready(self) -> bool:
        """Whether the moments of all devices are known."""
        return self._prepared == len(self._ids)

    def prepare(self, limit: int) -> None:
        """Compute the moments of so many more devices."""
        start, end = self._prepared, min(self._prepared + limit, len(self._ids))
        for position in range(start, end):
            if self._at[position] == _NONE:
                first = self._traffic.first(self._seed, self._ids[position])
                if first is not None and self.since + first <= LATEST:
                    self.set(position, self.since + first)
        self._prepared = end

    def at(self, position: int) -> int | None:
        """Return a device's moment; None if it has none, or it is not prepared."""
        moment = self._at[position]
        return None if moment == _NONE else moment

    def set(self, position: int, moment: int | None) -> None:
        """Let a device begin its own attempt at another moment, or (None) not by itself."""
        before = self._at[position]
        self._at[position] = _NONE if moment is None else moment
        if moment is not None and (before == _NONE or moment < before):
            heappush(self._queue, packed(moment, position))

    def update(self, moments: Mapping[int, int | None]) -> None:
        """Set moments by position."""
        for position, moment in moments.items():
            self.set(position, moment)

    def frozen(self) -> "Moments":
        """Return a copy, to be asked for moments alone."""
        frozen = copy(self)
        frozen._at = self._at[:]  # noqa: SLF001 - of its own class
        return frozen

    def moment_of(self, position: int) -> int | None:
        """Return a device's moment, prepared or not."""
        moment = self._at[position]
        if moment == _NONE and position >= self._prepared:
            first = self._traffic.first(self._seed, self._ids[position])
            return None if first is None or self.since + first > LATEST else self.since + first
        return None if moment == _NONE else moment

    def takes_part(self, device_id: int) -> bool:
        """Return whether a device syncs by itself."""
        return self._traffic.takes_part(self._seed, device_id)

    @property
    def earliest(self) -> int | None:
        """The first entry, packed, which may be that of a moment that has been put off."""
        return self._queue[0] if self._queue and self.is_ready else None

    def take(self) -> Due | None:
        """Take the first entry; None if it is not, or no longer, a device's moment."""
        entry = heappop(self._queue)
        while self._queue and self._queue[0] == entry:
            heappop(self._queue)
        moment, position = unpacked(entry)
        current = self._at[position]
        if current == moment:
            self._at[position] = _NONE
            return Due(moment, position, is_own=True)
        if current != _NONE:
            heappush(self._queue, packed(current, position))
        return None

    def give_back(self, due: Iterable[Due]) -> None:
        """Put back what was taken, unless there is something newer."""
        for moment, position, _ in due:
            if self._at[position] == _NONE:
                self.set(position, moment)
