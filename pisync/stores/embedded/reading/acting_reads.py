"""Reads that do something in a fleet in memory."""

from collections.abc import Iterable, Mapping
from heapq import merge
from itertools import islice

from pisync.model.device import Device, DevicePage
from pisync.model.fleet import Stats
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer


class EmbeddedActingReads:
    """What the methods promise is written in pisync.stores.base.

    Each is a mutation, which sees what those before it in its transaction have done.
    """

    def __init__(self, registry: FleetRegistry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer

    def acts(self, fleet: str) -> bool:
        chosen = self._registry.fleets.get(fleet)
        return chosen is not None and bool(chosen.polls)

    async def device(self, fleet: str, device_id: int) -> Device:
        def mutation(transaction: Transaction) -> Device:
            chosen = transaction.fleet(fleet)
            position = chosen.position(device_id)
            device = _device(transaction, chosen, position)
            self._act(transaction, chosen, {position: device})
            return device

        return await self._writer.write(mutation)

    async def devices(
        self, fleet: str, *, after: int, limit: int, statuses: frozenset[int] | None
    ) -> DevicePage:
        def mutation(transaction: Transaction) -> DevicePage:
            chosen = transaction.fleet(fleet)
            found, total = _find(transaction, chosen, after, statuses)
            positions = list(islice(found, limit + 1))
            devices = {each: _device(transaction, chosen, each) for each in positions[:limit]}
            self._act(transaction, chosen, devices)
            return DevicePage(list(devices.values()), total, len(positions) > limit)

        return await self._writer.write(mutation)

    async def stats(self, fleet: str) -> Stats:
        return self._registry.fleet(fleet).stats()

    def _act(
        self, transaction: Transaction, fleet: FleetState, shown: Mapping[int, Device]
    ) -> None:
        """Do what a read does that has shown these devices, by position."""
        if not fleet.polls and fleet not in transaction.changes:
            return
        known = transaction.changes.get(fleet) or FleetChanges(fleet)
        positions = [
            position for position, device in shown.items() if known.polls_of(device) is not None
        ]
        if positions:
            self._count(transaction, fleet, positions)

    def _count(self, transaction: Transaction, fleet: FleetState, positions: Iterable[int]) -> None:
        changes = transaction.changes_of(fleet)
        now = changes.clock.now(self._registry.clocks.monotonic())
        finished = changes.count_reads(positions, now)
        if finished:
            transaction.on_commit(lambda: self._registry.tell_finished(fleet, finished))
            if fleet.moments is not None:
                transaction.on_commit(lambda: self._registry.look_soon(fleet))


def _device(transaction: Transaction, fleet: FleetState, position: int) -> Device:
    """Return a device as the mutations so far leave it."""
    changes = transaction.changes.get(fleet)
    return fleet.devices.load(position) if changes is None else changes.device(position)


def _find(
    transaction: Transaction, fleet: FleetState, after: int, statuses: frozenset[int] | None
) -> tuple[Iterable[int], int]:
    """Return the positions of devices as the mutations so far leave them, and how many there are.

    Those of devices with an id above `after`, and the number of all, if they have one of the
    statuses.
    """
    table = fleet.devices
    rest = table.after(after)
    if statuses is None:
        return rest, len(table)
    found, total = table.having(statuses, rest), table.count(statuses)
    changes = transaction.changes.get(fleet)
    if changes is None or not changes.devices:
        return found, total
    changed = changes.devices
    before = [position for position in changed if table.load(position).sync_status_code in statuses]
    now = sorted(place for place, each in changed.items() if each.sync_status_code in statuses)
    unchanged = (position for position in found if position not in changed)
    return (
        merge(unchanged, (position for position in now if position >= rest.start)),
        total + len(now) - len(before),
    )
