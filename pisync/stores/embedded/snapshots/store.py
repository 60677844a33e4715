"""Snapshots of the fleets in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from pisync.model.clock import Clock
from pisync.model.device import Device
from pisync.model.fleet import DEFAULT_FLEET, LOGGED, FleetView, Lifetime
from pisync.model.plans.polls import Polls
from pisync.model.plans.script import Script
from pisync.model.snapshot import (
    DeviceScript,
    RequestCount,
    Snapshot,
    SnapshotHead,
    SnapshotPart,
)
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.bounds.budgets import FleetShares, check_room
from pisync.stores.embedded.device_table import DeviceTable
from pisync.stores.embedded.error_history import log_of
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.moments import Moments
from pisync.stores.embedded.snapshots.frozen_table import BLOCK, FrozenTable
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer
from pisync.stores.errors import BoundReached, NoSuchFleet


class EmbeddedSnapshots:
    """What the methods promise is written in pisync.stores.fleet_snapshots."""

    def __init__(self, registry: FleetRegistry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer

    @asynccontextmanager
    async def take(self, fleet: str) -> AsyncIterator[Snapshot]:
        chosen = self._registry.fleet(fleet)
        # All in one step: nothing changes in between.
        with FrozenTable(chosen.devices) as table:
            logs = chosen.errors.since_first()
            head = self._head(chosen, len(logs))
            scripts = sorted(chosen.scripts.items())
            counts = sorted(chosen.requests.counts.items())
            living = None if chosen.moments is None else chosen.moments.frozen()
            moments = _Moments(living, chosen.devices, head.clock.now)
            polls = dict(chosen.polls)
            yield Snapshot(head, _parts(table, moments, polls, scripts, logs, counts))

    def _head(self, fleet: FleetState, error_logs: int) -> SnapshotHead:
        lifetime = fleet.lifetime
        return SnapshotHead(
            fleet=fleet.name,
            first=fleet.first,
            profile=fleet.profile,
            clock=fleet.clock.view(self._registry.clocks.monotonic()),
            made_at=fleet.made_at,
            started_at=fleet.started_at,
            counts=dict(fleet.counts),
            error_logs=error_logs,
            journal=fleet.requests.journal.size,
            ttl=lifetime and lifetime.ttl,
            faults=fleet.requests.rules,
            live_since=fleet.live_since,
        )

    async def restore(self, name: str, snapshot: Snapshot) -> tuple[FleetView, bool]:
        head = snapshot.head
        fleet = await self._registry.make(
            name,
            head.first,
            head.profile,
            made_at=head.made_at,
            started_at=head.started_at,
        )
        try:
            await self._fill(fleet, snapshot)
            is_new = await self._writer.write(
                lambda transaction: self._put_in_place(transaction, fleet, head)
            )
        except BaseException:
            self._writer.discard(fleet)
            raise
        return self._registry.view(fleet), is_new

    async def _fill(self, fleet: FleetState, snapshot: Snapshot) -> None:
        """Bring a fleet that nobody sees yet to the state of a snapshot."""
        head = snapshot.head
        if head.live_since is not None:
            fleet.start_living(head.live_since)
        fleet.requests.restore(tuple(head.faults), head.journal, {})
        # The next that is appended is the oldest that the snapshot has.
        fleet.errors.restore((), head.counts.get(LOGGED, 0) - head.error_logs)
        changes = FleetChanges(fleet)
        changes.counts.update(head.counts)
        await self._apply(changes)
        texts = fleet.texts
        async for part in snapshot.parts:
            changes = FleetChanges(fleet)
            changes.devices = {
                fleet.position(each.device_id): texts.of_device(each) for each in part.devices
            }
            if fleet.moments is not None:
                changes.moments = {
                    position: part.moments.get(each.device_id)
                    for position, each in changes.devices.items()
                    if each.pending is None
                }
            changes.polls = {each: texts.of_polls(polls) for each, polls in part.polls.items()}
            changes.scripts = {each: texts.of_script(script) for each, script in part.scripts}
            changes.error_logs = list(texts.of_error_logs(part.error_logs))
            changes.request_counts = dict(part.request_counts)
            await self._apply(changes)

    async def _apply(self, changes: FleetChanges[FleetState]) -> None:
        await self._writer.write_ahead(changes)
        changes.fleet.apply(changes)
        self._check_room(changes.fleet.shares)
        # One part takes some milliseconds: others get their turn.
        await asyncio.sleep(0)

    def _check_room(self, shares: FleetShares) -> None:
        """Return if a fleet that does not count yet holds no more than there is room for.

        Raises:
            BoundReached: It would not find a place, however it goes on.
        """
        budgets = self._registry.budgets
        for budget, share in (
            (budgets.script_steps, shares.script_steps),
            (budgets.text_bytes, shares.text_bytes),
            (budgets.fault_counters, shares.fault_counters),
        ):
            if share.held > budget.bound.size:
                raise BoundReached(f"All fleets together may have at most {budget.bound}.")

    def _put_in_place(
        self, transaction: Transaction, fleet: FleetState, head: SnapshotHead
    ) -> bool:
        try:
            old = transaction.fleet(fleet.name).shares.fault_counters.held
            is_new = False
        except NoSuchFleet:
            old = 0
            is_new = True
        check_room(self._registry.budgets.fault_counters, fleet.shares.fault_counters.held, old)
        now = self._registry.clocks.monotonic()
        fleet.clock = Clock(head.clock.now, now, head.clock.speed, head.clock.is_auto)
        self._registry.replace(transaction, fleet.name, fleet)
        stays = head.ttl is None or fleet.name == DEFAULT_FLEET
        transaction.lifetimes[fleet] = None if stays else Lifetime(head.ttl or 0, now)
        return is_new


class _Moments(NamedTuple):
    """When devices begin their own attempts, as of the moment of a snapshot."""

    living: Moments | None
    table: DeviceTable
    now: int

    def of(self, devices: Sequence[Device]) -> dict[int, int]:
        """Return the moments of those of these devices that have one, by id."""
        moments = ((each.device_id, self._of(each)) for each in devices if each.pending is None)
        return {device_id: moment for device_id, moment in moments if moment is not None}

    def _of(self, device: Device) -> int | None:
        position = self.table.position(device.device_id)
        if self.living is None or position is None:
            return None
        moment = self.living.moment_of(position)
        if moment is None and self.living.takes_part(device.device_id):
            # Its attempt is just being written: it begins at once.
            return self.now
        return moment


def _polls_of(devices: Sequence[Device], polls: dict[int, Polls]) -> dict[int, Polls]:
    """Return the polls of those of these devices that have some, by id."""
    if not polls:
        return {}
    ids = [each.device_id for each in devices]
    return {device_id: polls[device_id] for device_id in ids if device_id in polls}


async def _parts(
    table: FrozenTable,
    moments: _Moments,
    polls: dict[int, Polls],
    scripts: list[tuple[int, Script]],
    logs: list[tuple[Any, ...]],
    counts: list[tuple[int, int]],
) -> AsyncIterator[SnapshotPart]:
    for block in table.blocks():
        if devices := block.attempted():
            yield SnapshotPart(
                devices=devices, moments=moments.of(devices), polls=_polls_of(devices, polls)
            )
        await asyncio.sleep(0)
    for first in range(0, len(scripts), BLOCK):
        of_devices = scripts[first : first + BLOCK]
        yield SnapshotPart(scripts=[DeviceScript(*each) for each in of_devices])
    for first in range(0, len(logs), BLOCK):
        yield SnapshotPart(error_logs=[log_of(entry) for entry in logs[first : first + BLOCK]])
    for first in range(0, len(counts), BLOCK):
        some = counts[first : first + BLOCK]
        yield SnapshotPart(request_counts=[RequestCount(*each) for each in some])
