"""What one fleet knows of the requests of its clients."""

from collections.abc import Mapping
from typing import Any

from pisync.model.requests.fault import FaultRule
from pisync.model.requests.journal import DEFAULT_JOURNAL, Journal
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.bounds.budgets import FleetShares
from pisync.stores.embedded.requests.answers import Answers


class RequestState:
    """Rules for faults, what was counted for them, the journal, and remembered answers."""

    def __init__(self, shares: FleetShares, max_keys: int) -> None:
        self._share = shares.fault_counters
        self.rules: tuple[FaultRule, ...] = ()
        self.counts: dict[int, int] = {}
        """Requests by `CallOfUser.counter`; and by the place of a rule, those that it hit."""
        self.journal = Journal(DEFAULT_JOURNAL, shares.journal_entries)
        self.answers = Answers(shares.answer_bytes, max_keys)

    @property
    def has_settings(self) -> bool:
        """Whether there is anything that a fleet does not have by itself."""
        return bool(self.rules) or self.journal.size != DEFAULT_JOURNAL

    def restore(self, rules: tuple[FaultRule, ...], size: int, counts: Mapping[int, int]) -> None:
        """Take over what was kept."""
        self.rules = rules
        self.journal.resize(size)
        self.counts.update(counts)
        self._count_share()

    def take_settings(self, old: "RequestState", changes: FleetChanges[Any]) -> None:
        """Take over the settings of the fleet that this one's takes the place of."""
        self.rules, size = old.settings_after(changes)
        self.journal.resize(size)
        self._count_share()

    def settings_after(self, changes: FleetChanges[Any]) -> tuple[tuple[FaultRule, ...], int]:
        """Return rules and the size of the journal, as changes leave them."""
        rules, size = changes.fault_rules, changes.journal_size
        return (
            self.rules if rules is None else rules,
            self.journal.size if size is None else size,
        )

    def apply(self, changes: FleetChanges[Any]) -> None:
        """Make changes true."""
        if changes.fault_rules is not None:
            self.rules = changes.fault_rules
            self.counts.clear()
            self._count_share()
        if changes.journal_size is not None:
            self.journal.resize(changes.journal_size)
        if changes.request_counts:
            before = len(self.counts)
            self.counts.update(changes.request_counts)
            self._share.change(len(self.counts) - before)
        if changes.remembered is not None:
            now = changes.remembered_at
            rows = self.answers.rows(changes.remembered, now)
            self.answers.add(rows, self.answers.gone_after(rows, now))

    def _count_share(self) -> None:
        self._share.change(size_of(self.rules) + len(self.counts) - self._share.held)


def size_of(rules: tuple[FaultRule, ...]) -> int:
    """Return how many counters' room rules take: one for each, and for each device."""
    return sum(1 + len(rule.device_ids or ()) for rule in rules)
