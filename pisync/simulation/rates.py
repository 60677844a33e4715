"""How many attempts began, succeeded and failed in each of the last seconds, by fleet."""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from pisync.model.sync import Steps
from pisync.model.timestamp import SECOND

SECONDS: Final = 300
"""How far back the rates go."""
MAX_FLEETS: Final = 1_000
"""How many fleets have rates, of 4 KiB each; those where nothing has happened for longest have
none."""

_SIZE = SECONDS + 1
"""The present second has not passed yet."""
_STARTED, _SUCCEEDED, _FAILED = range(3)


class RateHistory(NamedTuple):
    """Attempts by second: the first one's number (wall clock), and a count for each."""

    start: int
    started: Sequence[int]
    succeeded: Sequence[int]
    failed: Sequence[int]


class _Ring:
    """Counts of one fleet, of the newest second and those before it."""

    __slots__ = ("_columns", "newest")

    def __init__(self, now: int) -> None:
        self._columns = [array("I", [0]) * _SIZE for _ in range(3)]
        self.newest = now

    def advance(self, now: int) -> None:
        """Empty the seconds that have passed."""
        for passed in range(max(self.newest + 1, now - _SIZE + 1), now + 1):
            for column in self._columns:
                column[passed % _SIZE] = 0
        # The clock may have been set back.
        self.newest = max(self.newest, now)

    def add(self, column: int, attempts: int) -> None:
        """Count attempts in the newest second."""
        self._columns[column][self.newest % _SIZE] += attempts

    def history(self, seconds: int) -> RateHistory:
        """Return the last whole seconds."""
        start = self.newest - seconds
        places = [at % _SIZE for at in range(start, self.newest)]
        return RateHistory(
            start, *([column[place] for place in places] for column in self._columns)
        )


class Rates:
    """The rates of all fleets, as this process hears of them."""

    def __init__(self, wall: Callable[[], int]) -> None:
        self._wall = wall
        self._rings: OrderedDict[str, _Ring] = OrderedDict()

    def count(self, fleet: str, steps: Steps) -> None:
        """Count what has begun and ended."""
        ring = self._ring(fleet)
        ring.add(_STARTED, steps.began)
        ring.add(_SUCCEEDED, steps.succeeded)
        ring.add(_FAILED, steps.failed)

    def forget(self, fleet: str) -> None:
        """Forget a fleet."""
        self._rings.pop(fleet, None)

    def history(self, fleet: str, seconds: int) -> RateHistory:
        """Return a fleet's rates over the last whole seconds, at most `SECONDS` of them."""
        now = self._wall() // SECOND
        ring = self._rings.get(fleet)
        if ring is None:
            return _Ring(now).history(seconds)
        ring.advance(now)
        return ring.history(seconds)

    def _ring(self, fleet: str) -> _Ring:
        now = self._wall() // SECOND
        ring = self._rings.get(fleet)
        if ring is None:
            ring = self._rings[fleet] = _Ring(now)
            if len(self._rings) > MAX_FLEETS:
                self._rings.popitem(last=False)
        elif ring.newest != now:
            ring.advance(now)
            self._rings.move_to_end(fleet)
        return ring
