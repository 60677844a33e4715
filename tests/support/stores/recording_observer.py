"""An observer that remembers what it heard."""

from collections.abc import Sequence
from typing import NamedTuple

from pisync.model.device import Device, ErrorLog
from pisync.model.sync import (
    Change,
    FinishedSync,
    SyncResult,
    UnreadChanges,
)


class Replaced(NamedTuple):
    """That a fleet was replaced, among its changes."""


class RecordingObserver:
    """What a store has told, by fleet."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start with a clean slate."""
        self.begun: dict[str, list[SyncResult]] = {}
        self.finishes: dict[str, list[FinishedSync]] = {}
        self.generations: dict[str, list[int]] = {}
        """Those of the finishes, one each time that some were told."""
        self.events: dict[str, list[Change | Replaced]] = {}
        """Changes and replacements, in the order in which they were told."""
        self.due: list[float] = []
        self.misses = 0

    def changes(self, fleet: str) -> list[Device | ErrorLog]:
        """Return what has changed in a fleet since it was last replaced."""
        told = self.events.get(fleet, [])
        after = max((place for place, each in enumerate(told) if each == Replaced()), default=-1)
        return [each.what for each in told[after + 1 :] if isinstance(each, Change)]

    def order_finished(self, fleet: str) -> list[int]:
        """Return the ids of a fleet's devices in the order in which their attempts finished."""
        return [each.device.device_id for each in self.finishes.get(fleet, [])]

    # As an observer

    def began(self, fleet: str, begun: Sequence[SyncResult]) -> None:
        self.begun.setdefault(fleet, []).extend(begun)

    def finished(self, fleet: str, generation: int, finished: Sequence[FinishedSync]) -> None:
        self.finishes.setdefault(fleet, []).extend(finished)
        self.generations.setdefault(fleet, []).append(generation)

    def changed(self, fleet: str, changes: Sequence[Change]) -> None:
        self.events.setdefault(fleet, []).extend(changes)

    def heard(self, fleet: str, changes: UnreadChanges) -> None:
        self.changed(fleet, changes.read())

    def replaced(self, fleet: str) -> None:
        self.events.setdefault(fleet, []).append(Replaced())

    def reads_changed(self, fleet: str) -> None:
        pass

    def missed(self) -> None:
        self.misses += 1

    def due_in(self, seconds: float) -> None:
        self.due.append(seconds)
