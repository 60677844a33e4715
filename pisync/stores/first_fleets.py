"""Fill a store that is being opened with the fleets that it should have."""

from collections.abc import Iterable

from pisync.model.clock import REAL
from pisync.model.fleet import DEFAULT_FLEET, FirstData, FleetDefinition
from pisync.model.plans.profile import Profile
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet


def first_fleets(
    first: FirstData, profile: Profile, others: Iterable[FleetDefinition]
) -> list[FleetDefinition]:
    """Return the default fleet of this data, unless `others` has one, and these."""
    default = FleetDefinition(DEFAULT_FLEET, first, profile)
    return list({fleet.name: fleet for fleet in (default, *others)}.values())


async def make_missing(store: Store, definitions: Iterable[FleetDefinition]) -> None:
    """Make those fleets that are not there, and leave the others as they are."""
    for definition in definitions:
        try:
            await store.queries.fleet(definition.name)
        except NoSuchFleet:
            await _make(store, definition)


async def _make(store: Store, definition: FleetDefinition) -> None:
    await store.fleets.put(
        definition.name,
        definition.first,
        definition.profile,
        journal=definition.journal,
        ttl=definition.ttl,
    )
    if definition.clock != REAL:
        await store.finisher.set_clock(definition.name, *definition.clock)
    for device_id, script in definition.scripts.items():
        await store.fleets.set_script(definition.name, device_id, script)
    if definition.faults:
        await store.requests.set_faults(definition.name, definition.faults)
