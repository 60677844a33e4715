"""What is due finishes along with what begins: where others begin all the time, in their commits.

A commit costs as much as ten syncs, however many it is about. Nothing depends on what is kept here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from pisync.model.clock import Clock
from pisync.model.timestamp import from_seconds
from pisync.stores.changes import Due
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.snapshot import FleetSnapshot

PATIENCE = 0.02
"""Seconds for which what is due waits for a commit in which others begin; after one, the next is
expected within as many."""
_LASTING = 0.1
"""Seconds for which a clock is taken to go on as it was read. What is not due yet is given back."""
MOST = 128
"""How many syncs finish along with others at most: these wait for them."""
_REMEMBERED = 256
"""How many fleets are remembered before those are forgotten in which nothing begins."""


@dataclass(slots=True)
class Lent:
    """Syncs that may finish in a commit. Those that have not by its end are given back."""

    fleet_id: int = 0
    due: list[Due] = field(default_factory=list)

    def of(self, fleet: FleetSnapshot) -> list[Due]:
        """Return those that are due in a fleet as it was read, if its time runs by itself."""
        if fleet.fleet_id != self.fleet_id or fleet.clock.stands_still:
            return []
        if fleet.profile.traffic is not None:
            return []
        return [each for each in self.due if each.moment <= fleet.now]

    def are_done(self, due: list[Due]) -> None:
        """Take note that what `of` has returned is finished."""
        del self.due[: len(due)]


@dataclass(slots=True)
class _Beginnings:
    """What is known of a fleet in which something begins: not the devices, which may be many."""

    fleet_id: int
    clock: Clock
    real_time: int
    read_at: float
    """When the fleet was read, at that `real_time`."""
    expected_until: float = inf
    """Until when another commit is expected; while one is under way, there is no end to that."""


class DueAlong:
    """The due syncs that this replica began, for the commits in which it begins others."""

    def __init__(self, own: OwnSyncs, now: Callable[[], float] = monotonic) -> None:
        """Take what this replica has begun, and a clock (seconds)."""
        self._own = own
        self._now = now
        self._known: dict[str, _Beginnings] = {}

    @contextmanager
    def lent(self, name: str, most: int = MOST) -> Iterator[Lent]:
        """Lend a commit what is due in a fleet by now; nothing where the last was long ago."""
        lent = Lent()
        known = self._known.get(name)
        if known is not None and (passed := self._now() - known.read_at) <= _LASTING:
            until = known.clock.now(known.real_time + from_seconds(passed))
            lent = Lent(known.fleet_id, self._own.take(known.fleet_id, until, most))
        try:
            yield lent
        finally:
            if lent.due:
                self._own.add(lent.fleet_id, lent.due)
            if (known := self._known.get(name)) is not None:
                known.expected_until = self._now() + PATIENCE

    def begins_in(self, fleet: FleetSnapshot) -> None:
        """Take note that a commit is under way in a fleet that was read just now."""
        now = self._now()
        if len(self._known) >= _REMEMBERED:
            self._known = {
                name: known for name, known in self._known.items() if now < known.expected_until
            }
        self._known[fleet.name] = _Beginnings(fleet.fleet_id, fleet.clock, fleet.real_time, now)

    def is_expected(self) -> bool:
        """Whether what is due somewhere may finish along with others soon."""
        now = self._now()
        return any(now < known.expected_until for known in self._known.values())

    def left_for(self, fleet: FleetSnapshot, wait: float) -> float:
        """Return for how many seconds to leave what is due in a fleet in `wait` seconds to others.

        Until it is due, and then until none begin any more, or it has waited long enough.
        """
        known = self._known.get(fleet.name)
        if known is None or known.fleet_id != fleet.fleet_id:
            return wait
        expected = known.expected_until - self._now()
        return max(wait, min(wait + PATIENCE, expected))
