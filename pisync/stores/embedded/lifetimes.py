"""Fleets that have a ttl are deleted when nobody uses them any more."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from pisync.model.timestamp import from_seconds
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer
from pisync.stores.errors import NoSuchFleet


class EmbeddedLifetimes:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, registry: FleetRegistry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer
        self._now = registry.clocks.monotonic

    async def extend(self, names: Sequence[str]) -> None:
        def mutation(transaction: Transaction) -> None:
            now = self._now()
            for name in names:
                with suppress(NoSuchFleet):
                    fleet = transaction.fleet(name)
                    lifetime = transaction.lifetime_of(fleet)
                    if lifetime is not None:
                        transaction.lifetimes[fleet] = lifetime._replace(used_at=now)

        await self._writer.write(mutation)

    async def forget(self, limit: int, lead: float) -> Sequence[str]:
        def mutation(transaction: Transaction) -> list[str]:
            latest = self._now() - from_seconds(lead)
            expired = (
                name
                for name, fleet in self._registry.fleets.items()
                if fleet.lifetime is not None
                and not transaction.has_ended(fleet)
                and (lifetime := transaction.lifetime_of(fleet)) is not None
                and lifetime.expires_at < latest
            )
            names = list(islice(expired, limit))
            for name in names:
                self._registry.replace(transaction, name, None)
            return names

        return await self._writer.write(mutation)
