"""What one fleet knows of the requests of its clients."""

from collections.abc import Mapping
from typing import Any

from pisync.model.requests.fault import FaultRule
from pisync.model.requests.journal import DEFAULT_JOURNAL, Journal
from pisync.stores.changes import FleetChanges


class RequestState:
    """Rules for faults, what was counted for them, and the journal."""

    def __init__(self) -> None:
        self.rules: tuple[FaultRule, ...] = ()
        self.counts: dict[int, int] = {}
        """Requests by `CallOfUser.counter`; and by the place of a rule, those that it hit."""
        self.journal = Journal(DEFAULT_JOURNAL)

    @property
    def has_settings(self) -> bool:
        """Whether there is anything that a fleet does not have by itself."""
        return bool(self.rules) or self.journal.size != DEFAULT_JOURNAL

    def restore(self, rules: tuple[FaultRule, ...], size: int, counts: Mapping[int, int]) -> None:
        """Take over what was kept."""
        self.rules = rules
        self.journal.resize(size)
        self.counts.update(counts)

    def take_settings(self, old: "RequestState", changes: FleetChanges[Any]) -> None:
        """Take over the settings of the fleet that this one's takes the place of."""
        self.rules = old.rules if changes.fault_rules is None else changes.fault_rules
        size = changes.journal_size
        self.journal.resize(old.journal.size if size is None else size)

    def apply(self, changes: FleetChanges[Any]) -> None:
        """Make changes true."""
        if changes.fault_rules is not None:
            self.rules = changes.fault_rules
            self.counts.clear()
        if changes.journal_size is not None:
            self.journal.resize(changes.journal_size)
        if changes.request_counts:
            self.counts.update(changes.request_counts)
