"""The budgets of the fleets in memory, and what each fleet holds of them."""

from collections.abc import Iterator

from pisync.model.bounds import (
    ANSWER_BYTES,
    ERROR_LOGS,
    ERROR_PAGE_LOGS,
    FAULT_COUNTERS,
    FLEETS,
    JOURNAL_ENTRIES,
    SCRIPT_STEPS,
    TEXT_BYTES,
    Budget,
    Share,
)
from pisync.model.requests.idempotency import MAX_KEYS
from pisync.stores.errors import BoundReached


class FleetBudgets:
    """What all fleets of a process hold together."""

    def __init__(self, max_error_logs: int, max_keys: int = MAX_KEYS) -> None:
        """Take how many error logs one fleet may have: all may have as many at least.

        And how many idempotency keys one fleet remembers.
        """
        self.max_error_logs = max_error_logs
        self.max_keys = max_keys
        error_logs = ERROR_LOGS._replace(size=max(max_error_logs, ERROR_LOGS.size))
        self.fleets = Budget(FLEETS)
        self.script_steps = Budget(SCRIPT_STEPS)
        self.text_bytes = Budget(TEXT_BYTES)
        self.fault_counters = Budget(FAULT_COUNTERS)
        self.journal_entries = Budget(JOURNAL_ENTRIES)
        self.error_logs = Budget(error_logs)
        self.error_page_logs = Budget(ERROR_PAGE_LOGS)
        self.answer_bytes = Budget(ANSWER_BYTES)

    def __iter__(self) -> Iterator[Budget]:
        yield from (self.fleets, self.script_steps, self.text_bytes, self.fault_counters)
        yield from (self.journal_entries, self.error_logs, self.error_page_logs, self.answer_bytes)


class FleetShares:
    """What one fleet holds of the budgets."""

    def __init__(self, budgets: FleetBudgets) -> None:
        self._fleet = Share(budgets.fleets)
        self._fleet.change(1)
        self.script_steps = Share(budgets.script_steps)
        self.text_bytes = Share(budgets.text_bytes)
        self.fault_counters = Share(budgets.fault_counters)
        self.journal_entries = Share(budgets.journal_entries)
        self.error_logs = Share(budgets.error_logs)
        self.error_page_logs = Share(budgets.error_page_logs)
        self.answer_bytes = Share(budgets.answer_bytes)

    def __iter__(self) -> Iterator[Share]:
        yield from (self._fleet, self.script_steps, self.text_bytes, self.fault_counters)
        yield from (self.journal_entries, self.error_logs, self.error_page_logs, self.answer_bytes)

    def enter(self) -> None:
        """Count what the fleet holds from now on: it is there."""
        for share in self:
            share.enter()

    def leave(self) -> None:
        """Give everything back: the fleet is gone."""
        for share in self:
            share.leave()


def check_room(budget: Budget, amount: int, without: int = 0) -> None:
    """Return if so much more may be held, once `without` is given back.

    Raises:
        BoundReached: There is no room.
    """
    # What shrinks is let through even where too much is there already, as after a restart.
    if amount > without and not budget.has_room(amount - without):
        raise BoundReached(f"All fleets together may have at most {budget.bound}.")
