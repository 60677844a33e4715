"""What becomes of the news from a store: counts, events, and the next time to look."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from pisync.model.device import Device
from pisync.model.sync import (
    Change,
    FinishedSync,
    Steps,
    SyncDecision,
    SyncResult,
    UnreadChanges,
)
from pisync.simulation.alarm import Alarm
from pisync.simulation.events import Broker
from pisync.simulation.lateness import Lateness, LatenessView
from pisync.simulation.rates import Rates
from pisync.simulation.waiting.waiters import Waiters
from pisync.telemetry.metrics import Metrics

_DECISIONS: Final = tuple(SyncDecision)


class SimulationObserver:
    """A store's observer: counts what happens in it, and tells of it.

    The store tells of each sync by itself, and many begin in one turn of the event loop. Beginnings
    and changes of a turn are counted and published together before the next one.
    """

    def __init__(
        self,
        metrics: Metrics,
        broker: Broker,
        waiters: Waiters,
        alarm: Alarm,
        wall: Callable[[], int],
    ) -> None:
        """Take who is told, and the wall clock (microseconds) by which rates are counted."""
        self._metrics = metrics
        self._broker = broker
        self._waiters = waiters
        self._alarm = alarm
        self.rates = Rates(wall)
        self._begun: list[SyncResult] = []
        self._changes: dict[str, list[Change]] = {}
        """Changes of this turn, by fleet."""
        self._is_due = False
        """Whether this turn's changes will be passed on."""
        self._lateness: defaultdict[tuple[str, int], Lateness] = defaultdict(Lateness)
        """By name and generation of the fleet."""

    def lateness(self, fleet: str, generation: int) -> LatenessView:
        """Return how late those syncs of a fleet were that finished by themselves."""
        return self._lateness.get((fleet, generation), Lateness()).view()

    def began(self, _fleet: str, results: Sequence[SyncResult]) -> None:
        """Count what became of requests to sync."""
        self._begun += results
        self._pass_on_soon()

    def finished(self, fleet: str, generation: int, syncs: Sequence[FinishedSync]) -> None:
        """Count finished attempts."""
        for status, count in Counter([each.device.sync_status_code for each in syncs]).items():
            self._metrics.finished(status, count)
        late = [each.lateness for each in syncs if each.lateness is not None]
        if late:
            self._lateness[fleet, generation].add(late)
            self._metrics.late(late)

    def changed(self, fleet: str, changes: Sequence[Change]) -> None:
        """Publish what happened."""
        self._waiters.changed(fleet, changes)
        of_fleet = self._changes.get(fleet)
        if of_fleet is None:
            self._changes[fleet] = [*changes]
        else:
            of_fleet += changes
        self._pass_on_soon()

    def heard(self, fleet: str, changes: UnreadChanges) -> None:
        """Publish what happened; read it first only where somebody waits for it."""
        known: Sequence[Change] | UnreadChanges = changes
        if self._waiters.are_in(fleet):
            known = changes.read()
            self._waiters.changed(fleet, known)
        # At once: they come many together, and to put them among others would be to read them.
        self._broker.publish(fleet, known)
        self.rates.count(fleet, changes.steps)

    def _pass_on_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._pass_on)

    def _pass_on(self) -> None:
        self._is_due = False
        begun, self._begun = self._begun, []
        decisions = [decision for decision, _ in begun]
        # To hash a member of an enumeration takes longer than to compare it with five.
        for decision in _DECISIONS:
            self._metrics.began(decision, decisions.count(decision))
        changes, self._changes = self._changes, {}
        for fleet, of_fleet in changes.items():
            self._broker.publish(fleet, of_fleet)
            devices = [what for _, what in of_fleet if isinstance(what, Device)]
            self.rates.count(fleet, Steps.of([device.sync_status_code for device in devices]))

    def replaced(self, fleet: str) -> None:
        """Forget what was known of a fleet."""
        self._pass_on()
        for known in [key for key in self._lateness if key[0] == fleet]:
            del self._lateness[known]
        self.rates.forget(fleet)
        self._broker.start_over(fleet)
        self._waiters.replaced(fleet)

    def reads_changed(self, fleet: str) -> None:
        """Let those look who wait in a fleet: their reads may move its clock from now on."""
        self._waiters.look(fleet)

    def missed(self) -> None:
        """Tell everyone who listens or waits that they may have missed something."""
        self._pass_on()
        self._broker.start_all_over()
        self._waiters.missed()

    def due_in(self, seconds: float) -> None:
        """Look at the store again by then."""
        self._alarm.set(seconds)
