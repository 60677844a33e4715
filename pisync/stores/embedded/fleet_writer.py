"""Fleets come and go, and what their attempts come to is changed."""

from collections.abc import Callable

from pisync.model.fleet import DEFAULT_FLEET, FirstData, FleetView, Lifetime, NewTtl
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script
from pisync.stores.embedded.bounds.budgets import check_room
from pisync.stores.embedded.bounds.texts import (
    steps_of_profile,
    texts_of_profile,
    texts_of_script,
)
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer
from pisync.stores.errors import DefaultFleetProtected, NoSuchFleet


class EmbeddedFleetWriter:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, registry: FleetRegistry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer

    async def put(
        self,
        name: str,
        first: FirstData,
        profile: Profile,
        *,
        journal: int | None = None,
        ttl: int | None = None,
    ) -> tuple[FleetView, bool]:
        fleet = await self._registry.make(name, first, profile)
        if journal is not None:
            fleet.requests.journal.resize(journal)

        def mutation(transaction: Transaction) -> bool:
            try:
                transaction.fleet(name)
            except NoSuchFleet:
                is_new = True
            else:
                is_new = False
            self._registry.replace(transaction, name, fleet)
            transaction.lifetimes[fleet] = self._lifetime(ttl)
            return is_new

        is_new = await self._writer.write(mutation)
        return self._registry.view(fleet), is_new

    async def reset(self, name: str) -> None:
        while not await self._reset(name):
            pass

    async def _reset(self, name: str) -> bool:
        """Reset a fleet and return true, unless another takes its place before that is done."""
        old = self._registry.fleet(name)
        new = await self._registry.make(name, old.first, old.profile, made_at=old.made_at)

        def mutation(transaction: Transaction) -> bool:
            if transaction.fleet(name) is not old:
                return False
            changes = transaction.changes_of(old)
            if changes.profile is not new.profile:
                new.take_profile(changes.profile)
                new.start_living(new.started_at)
            new.requests.take_settings(old.requests, changes)
            self._registry.replace(transaction, name, new)
            lifetime = transaction.lifetime_of(old)
            transaction.lifetimes[new] = self._lifetime(lifetime and lifetime.ttl)
            return True

        return await self._writer.write(mutation)

    async def delete(self, name: str) -> None:
        def mutation(transaction: Transaction) -> None:
            transaction.fleet(name)
            if name == DEFAULT_FLEET:
                raise DefaultFleetProtected
            self._registry.replace(transaction, name, None)

        await self._writer.write(mutation)

    async def change_profile(
        self,
        name: str,
        change: Callable[[Profile], Profile],
        ttl: NewTtl | None = None,
        journal: int | None = None,
    ) -> FleetView:
        def mutation(transaction: Transaction) -> FleetState:
            changes = transaction.changes_of(transaction.fleet(name))
            profile = change(changes.profile)
            if profile is not changes.profile:
                budgets, texts = self._registry.budgets, changes.fleet.texts
                held = steps_of_profile(changes.profile)
                check_room(budgets.script_steps, steps_of_profile(profile), held)
                texts.check_room(budgets.text_bytes, texts_of_profile(profile))
            now = changes.clock.now(self._registry.clocks.monotonic())
            changes.change_profile(profile, now)
            transaction.on_commit(lambda: self._registry.look_soon(changes.fleet))
            if ttl is not None:
                transaction.lifetimes[changes.fleet] = self._lifetime(ttl.seconds)
            if journal is not None:
                changes.journal_size = journal
            return changes.fleet

        return self._registry.view(await self._writer.write(mutation))

    async def set_script(self, fleet: str, device_id: int, script: Script | None) -> None:
        def mutation(transaction: Transaction) -> None:
            chosen = transaction.fleet(fleet)
            chosen.position(device_id)
            changes = transaction.changes_of(chosen)
            changes.scripts[device_id] = (
                None if script is None else self._bounded(script, transaction, chosen)
            )

        await self._writer.write(mutation)

    def _bounded(self, script: Script, transaction: Transaction, fleet: FleetState) -> Script:
        """Return a script whose texts are those of its fleet.

        Raises:
            BoundReached: All fleets together would have too many steps or texts.
        """
        budgets = self._registry.budgets
        scripts = [
            each.steps
            for changes in transaction.changes.values()
            for each in changes.scripts.values()
            if each is not None
        ]
        check_room(budgets.script_steps, len(script.steps) + sum(map(len, scripts)))
        fleet.texts.check_room(budgets.text_bytes, texts_of_script(script))
        return fleet.texts.of_script(script)

    def _lifetime(self, ttl: int | None) -> Lifetime | None:
        return None if ttl is None else Lifetime(ttl, self._registry.clocks.monotonic())
