"""Faults and journals of the fleets in memory."""

import asyncio
from collections.abc import Sequence

from pisync.model.bounds import Budget
from pisync.model.fleet import FAULTS, Count
from pisync.model.requests.fault import MAX_REQUEST_COUNTERS, FaultRule
from pisync.model.requests.fault_draw import CallOfUser, MetFault, draw_fault
from pisync.model.requests.journal import (
    READ_AT_ONCE,
    Journal,
    JournalEntry,
    JournalPage,
    RequestFilter,
)
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.bounds.budgets import check_room
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.requests.state import size_of
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer


class EmbeddedRequests:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, registry: FleetRegistry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer

    def is_watched(self, fleet: str) -> bool:
        chosen = self._registry.fleets.get(fleet)
        return chosen is not None and bool(chosen.requests.rules)

    def journal_in_memory(self, fleet: str) -> Journal | None:
        chosen = self._registry.fleets.get(fleet)
        if chosen is None:
            return None
        journal = chosen.requests.journal
        return journal if journal.size else None

    async def set_faults(self, fleet: str, rules: tuple[FaultRule, ...]) -> None:
        def mutation(transaction: Transaction) -> None:
            chosen = transaction.fleet(fleet)
            held = chosen.shares.fault_counters.held
            check_room(self._registry.budgets.fault_counters, size_of(rules), held)
            changes = transaction.changes_of(chosen)
            changes.fault_rules = rules
            changes.request_counts.clear()

        await self._writer.write(mutation)

    async def faults(self, fleet: str) -> Sequence[tuple[FaultRule, int]]:
        requests = self._registry.fleet(fleet).requests
        return [(rule, requests.counts.get(place, 0)) for place, rule in enumerate(requests.rules)]

    async def meet_fault(self, fleet: str, call: CallOfUser) -> MetFault | None:
        def mutation(transaction: Transaction) -> MetFault | None:
            changes = transaction.changes_of(transaction.fleet(fleet))
            return _meet_fault(changes, call, self._registry.budgets.fault_counters)

        return await self._writer.write(mutation)

    async def record(self, fleet: str, entry: JournalEntry) -> None:
        journal = self.journal_in_memory(fleet)
        if journal is not None:
            journal.append(entry)

    async def journal(self, fleet: str, criteria: RequestFilter, limit: int) -> JournalPage:
        journal = self._registry.fleet(fleet).requests.journal
        if len(journal) <= READ_AT_ONCE:
            return journal.page(criteria, limit)
        return await asyncio.to_thread(journal.copy().page, criteria, limit)

    async def clear_journal(self, fleet: str) -> None:
        self._registry.fleet(fleet).requests.journal.clear()


def _meet_fault(
    changes: FleetChanges[FleetState], call: CallOfUser, budget: Budget
) -> MetFault | None:
    is_new = changes.fault_rules is not None
    rules = changes.fleet.requests.rules if changes.fault_rules is None else changes.fault_rules
    if not any(rule.is_about(call.call, call.device_id) for rule in rules):
        return None
    kept = {} if is_new else changes.fleet.requests.counts
    counts, counter = changes.request_counts, call.counter
    earlier = counts.get(counter, kept.get(counter))
    if earlier is None:
        known = len(kept) + len(counts)
        if known >= MAX_REQUEST_COUNTERS or not budget.has_room(1 + len(counts)):
            return None
        earlier = 0
    counts[counter] = earlier + 1
    met = draw_fault(changes.profile.seed, rules, call, earlier)
    if met is not None:
        counts[met.rule] = counts.get(met.rule, kept.get(met.rule, 0)) + 1
        when = "after" if met.is_after else "before"
        changes.counts[Count(FAULTS[when], met.fault.kind)] += 1
    return met
