"""Reads of the fleets in memory."""

from collections.abc import Hashable
from itertools import islice
from typing import NamedTuple

from pisync.model.device import Device, DevicePage, ErrorFilter, ErrorPage
from pisync.model.fleet import FleetPage, FleetView, Ledger, Stats
from pisync.stores.embedded.fleet_registry import FleetRegistry


class _DevicesVersion(NamedTuple):
    """How often the devices of some blocks, from `first` to before `end`, have changed."""

    generation: int
    first: int
    end: int
    changes: int


class EmbeddedQueries:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, registry: FleetRegistry) -> None:
        self._registry = registry

    async def fleets(self, *, after: str, limit: int) -> FleetPage:
        fleets = self._registry.fleets
        names = sorted(name for name in fleets if name > after)
        views = [self._registry.view(fleets[name]) for name in names[:limit]]
        return FleetPage(views, len(fleets), len(names) > limit)

    async def fleet(self, name: str) -> FleetView:
        return self._registry.view(self._registry.fleet(name))

    async def device(self, fleet: str, device_id: int) -> Device:
        chosen = self._registry.fleet(fleet)
        return chosen.devices.load(chosen.position(device_id))

    async def is_polled(self, fleet: str, device_id: int) -> bool:
        chosen = self._registry.fleet(fleet)
        polls = chosen.polls.get(device_id)
        return polls is not None and polls.are_of(chosen.devices.load(chosen.position(device_id)))

    async def devices(
        self,
        fleet: str,
        *,
        after: int,
        limit: int,
        statuses: frozenset[int] | None,
        known: Hashable = None,
    ) -> DevicePage:
        chosen = self._registry.fleet(fleet)
        table = chosen.devices
        rest = table.after(after)
        if statuses is not None:
            positions = list(islice(table.having(statuses, rest), limit + 1))
            devices = [table.load(position) for position in positions[:limit]]
            return DevicePage(devices, table.count(statuses), len(positions) > limit)
        blocks = table.blocks(rest[:limit])
        version = _DevicesVersion(chosen.generation, *blocks, table.changes(*blocks))
        devices = [table.load(position) for position in rest[:limit]]
        return DevicePage(devices, table.count(), len(rest) > limit, version)

    async def errors(self, fleet: str, criteria: ErrorFilter, limit: int) -> ErrorPage:
        return await self._registry.fleet(fleet).errors.page(criteria, limit)

    def is_current(self, fleet: str, version: Hashable) -> bool:
        chosen = self._registry.fleets.get(fleet)
        if chosen is None:
            return False
        if type(version) is _DevicesVersion:
            generation, first, end, changes = version
            return generation == chosen.generation and chosen.devices.changes(first, end) == changes
        return version is chosen.errors.version

    async def device_count(self, *, without: str) -> int:
        fleets = self._registry.fleets.items()
        return sum(len(fleet.devices) for name, fleet in fleets if name != without)

    async def pending(self) -> int:
        return sum(fleet.pending for fleet in self._registry.fleets.values())

    async def stats(self, fleet: str) -> Stats:
        return self._registry.fleet(fleet).stats()

    async def ledger(self, fleet: str) -> Ledger:
        return self._registry.fleet(fleet).ledger()
