"""Short words for what tests of stores do all the time."""

import random
from collections.abc import Iterable, Mapping, Sequence

from pisync.model.clock import MAX_SPEED
from pisync.model.device import Device, ErrorFilter, ErrorLog
from pisync.model.fleet import DEFAULT_FLEET, DeviceSpec, FleetView, Generated, Listed
from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.sync import (
    SyncDecision,
    SyncResult,
)
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from tests.support.stores.harness import StoreHarness

F = DEFAULT_FLEET
TWENTY = Generated(20)
FULL = Outcome(400, "Storage Full")
TIMEOUT = Outcome(500, "Connection Timeout")

PROFILE = Profile(seed=7, delay=ConstantDelay(10))
"""Every sync takes ten seconds."""
FAILING = Profile(seed=7, outcomes=(WeightedOutcome(FULL, 1),), delay=ConstantDelay(10))
"""And fails."""
SUCCEEDING = Profile(seed=7, outcomes=(WeightedOutcome(SUCCEEDED, 1),), delay=ConstantDelay(10))
"""Or succeeds."""

HOLD = Script((Step(None),))


def ids(many: Iterable[Device | SyncResult]) -> list[int]:
    """Return the ids of devices."""
    devices = (each.device if isinstance(each, SyncResult) else each for each in many)
    return [device.device_id for device in devices if device is not None]


def verdicts(begun: Iterable[SyncResult]) -> list[SyncDecision]:
    return [each.decision for each in begun]


async def start(store: Store, *device_ids: int, fleet: str = F) -> list[Device]:
    """Begin attempts that nothing speaks against; return the devices."""
    begun = await store.starter.begin(fleet, device_ids)
    assert verdicts(begun) == [SyncDecision.STARTED] * len(device_ids)
    return [each.device for each in begun if each.device is not None]


async def hold(store: Store, device_id: int, *, fleet: str = F) -> Device:
    """Begin an attempt that is held."""
    await store.fleets.set_script(fleet, device_id, HOLD)
    (device,) = await start(store, device_id, fleet=fleet)
    return device


async def planned(
    store: Store, delays: Mapping[int, float], outcome: Outcome = SUCCEEDED, *, fleet: str = F
) -> None:
    """Begin attempts that come to an outcome after so many seconds, by device."""
    for device_id, seconds in delays.items():
        step = Step(outcome, round(seconds * SECOND))
        await store.fleets.set_script(fleet, device_id, Script((step,)))
    await start(store, *delays, fleet=fleet)


async def manual(store: Store, fleet: str = F) -> int:
    """Stop a fleet's clock; return its time."""
    return (await store.finisher.set_clock(fleet, 0)).now


async def now(store: Store, fleet: str = F) -> int:
    return (await store.queries.fleet(fleet)).clock.now


async def advance(store: Store, seconds: float, fleet: str = F) -> int:
    """Move a manual clock; return how many syncs finished."""
    return (await store.finisher.advance(fleet, round(seconds * SECOND))).finished


async def hurry(store: Store, home: StoreHarness, fleet: str = F) -> None:
    """Let at least an hour and a half of a fleet's time pass by itself."""
    await store.finisher.set_clock(fleet, MAX_SPEED)
    await home.pass_time(0.06)


async def finish_all_due(store: Store) -> int:
    """Finish what is due, as the simulator's loop does; return how many."""
    finished = 0
    while some := await store.finisher.finish_due(256):
        finished += some
    return finished


async def devices(store: Store, fleet: str = F) -> list[Device]:
    """Return a fleet's first thousand devices."""
    page = await store.queries.devices(fleet, after=0, limit=1000, statuses=None)
    return list(page.devices)


async def error_logs(store: Store, fleet: str = F) -> list[ErrorLog]:
    """Return a fleet's error logs, oldest first."""
    page = await store.queries.errors(fleet, ErrorFilter(), 1000)
    assert not page.more
    return list(reversed(page.error_logs))


def shuffled(many: Iterable[int], seed: int) -> list[int]:
    """Return the same in another order, each time the same one."""
    mixed = list(many)
    random.Random(seed).shuffle(mixed)  # noqa: S311 - nothing secret hangs on it
    return mixed


async def fleets(store: Store) -> Sequence[FleetView]:
    """All fleets by name, of which there are few."""
    page = await store.queries.fleets(after="", limit=1000)
    assert not page.more
    return page.fleets


def listed(*specs: DeviceSpec) -> Listed:
    return Listed(specs)
