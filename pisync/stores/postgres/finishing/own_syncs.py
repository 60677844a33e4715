"""What this replica has begun: it finishes these syncs itself, and others only what it leaves.

Nothing depends on what is kept here: it spares replicas work that another one does already.
"""

import heapq
import random
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet

from pisync.model.timestamp import from_seconds
from pisync.stores.changes import Due

MAX_SYNCS = 1_000_000
"""How many are kept, of all fleets; those beyond it are finished as others' are."""
GRACE = 1.0
"""Seconds. A replica that is only busy, and late, should not lose its work to others."""


class OwnSyncs:
    """When the syncs that this replica has begun fall due, in fleet time, by fleet."""

    def __init__(self, grace: float) -> None:
        """Take the seconds for which a due sync is left to the replica that began it."""
        # Each replica has another one: not all of them take over at the same moment.
        self.grace = from_seconds(grace * random.uniform(1, 1.6))  # noqa: S311 - guards no secret
        """The same in microseconds, and up to three fifths more."""
        self._dues: dict[int, list[Due]] = {}
        self._added: dict[int, int] = {}
        self._time = 0
        self._kept = 0

    def add(self, fleet_id: int, dues: Iterable[Due]) -> None:
        """Note what has begun."""
        heap = self._dues.setdefault(fleet_id, [])
        self._added[fleet_id] = self._time
        for due in dues:
            if self._kept < MAX_SYNCS:
                heapq.heappush(heap, due)
                self._kept += 1

    def fleet_ids(self) -> AbstractSet[int]:
        """Return the ids of the fleets of which something is kept."""
        return self._dues.keys()

    def first(self, fleet_id: int) -> int | None:
        """Return the earliest moment at which one of a fleet falls due, if any."""
        heap = self._dues.get(fleet_id)
        return heap[0].moment if heap else None

    def take(self, fleet_id: int, until: int, limit: int) -> list[Due]:
        """Remove and return, in order, what is due in a fleet up to `until`: at most `limit`."""
        heap = self._dues.get(fleet_id, [])
        taken: list[Due] = []
        while heap and heap[0].moment <= until and len(taken) < limit:
            taken.append(heapq.heappop(heap))
        self._kept -= len(taken)
        return taken

    def tick(self) -> int:
        """Return a moment, for `keep`."""
        self._time += 1
        return self._time

    def keep(self, fleet_ids: Collection[int], since: int) -> None:
        """Forget all fleets but these, and those to which something was added since a `tick`."""
        for fleet_id in self._dues.keys() - fleet_ids:
            if self._added[fleet_id] < since:
                self._kept -= len(self._dues.pop(fleet_id))
                del self._added[fleet_id]
