"""Reads that do something in a fleet in memory."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from heapq import merge
from itertools import islice
from typing import TypeVar

from pisync.model.device import Device, DevicePage
from pisync.model.fleet import Stats
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.syncs import EmbeddedFinisher, same
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer
from pisync.stores.errors import FleetReplaced, StoreUnavailable

_Result = TypeVar("_Result")
_Read = Callable[[Transaction, FleetState], tuple[_Result, bool]]
"""Reads something in a mutation; says also whether it shows what would finish by itself."""


class EmbeddedActingReads:
    """What the methods promise is written in pisync.stores.base.

    Each is a mutation, which sees what those before it in its transaction have done. One that moves
    a clock is the only one that does so until all is done that is due then.
    """

    def __init__(self, registry: FleetRegistry, writer: Writer, finisher: EmbeddedFinisher) -> None:
        self._registry = registry
        self._writer = writer
        self._finisher = finisher

    def acts(self, fleet: str) -> bool:
        chosen = self._registry.fleets.get(fleet)
        return chosen is not None and (chosen.clock.is_auto or bool(chosen.polls))

    async def device(self, fleet: str, device_id: int) -> Device:
        def read(transaction: Transaction, chosen: FleetState) -> tuple[Device, bool]:
            position = chosen.position(device_id)
            device = _device(transaction, chosen, position)
            self._count_polls(transaction, chosen, {position: device})
            return device, device.finishes_by_itself

        return await self._read(fleet, read)

    async def devices(
        self, fleet: str, *, after: int, limit: int, statuses: frozenset[int] | None
    ) -> DevicePage:
        def read(transaction: Transaction, chosen: FleetState) -> tuple[DevicePage, bool]:
            found, total = _find(transaction, chosen, after, statuses)
            positions = list(islice(found, limit + 1))
            devices = {each: _device(transaction, chosen, each) for each in positions[:limit]}
            self._count_polls(transaction, chosen, devices)
            page = DevicePage(list(devices.values()), total, len(positions) > limit)
            return page, any(device.finishes_by_itself for device in page.devices)

        return await self._read(fleet, read)

    async def stats(self, fleet: str) -> Stats:
        def read(_: Transaction, chosen: FleetState) -> tuple[Stats, bool]:
            return chosen.stats(), chosen.has_something_due

        return await self._read(fleet, read)

    async def _read(self, name: str, read: _Read[_Result]) -> _Result:
        """Return what is read, which says whether a clock that moves itself is to move then."""
        while True:
            fleet = self._registry.fleet(name)
            if not fleet.clock.is_auto:
                result, _ = await self._writer.write(
                    lambda transaction: read(transaction, transaction.fleet(name))
                )
                return result
            async with fleet.moving:
                # The one that has taken its place is next.
                with suppress(FleetReplaced):
                    return await self._read_and_move(fleet, read)

    async def _read_and_move(self, fleet: FleetState, read: _Read[_Result]) -> _Result:
        await self._finisher.prepare(fleet)

        def mutation(transaction: Transaction) -> tuple[_Result, bool]:
            result, moves = read(transaction, same(transaction, fleet))
            is_over = True
            if moves and transaction.clock_of(fleet).is_auto:
                is_over = self._finisher.step(transaction, fleet)
            return result, is_over

        result, is_over = await self._writer.write(mutation)
        if not is_over:
            # What this can't do is left to the next read.
            with suppress(FleetReplaced, StoreUnavailable):
                await self._finisher.finish_step(fleet)
        return result

    def _count_polls(
        self, transaction: Transaction, fleet: FleetState, shown: Mapping[int, Device]
    ) -> None:
        """Count a read that has shown these devices, by position."""
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
