"""Which fleets are in use, and what becomes of those that are not."""

import asyncio
from collections.abc import Sequence

import pytest

from pisync.model.fleet import Generated
from pisync.model.plans.profile import Profile
from pisync.simulation import idle_fleets
from pisync.simulation.events import Broker
from pisync.simulation.idle_fleets import GRACE, LEAD, ROUND, IdleFleets
from pisync.stores.base import Store
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.errors import StoreUnavailable
from pisync.telemetry.metrics import Metrics
from tests.conftest import ManualTime
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import F, fleets
from tests.support.waiting import eventually

TTL = 60


class House:
    """A store in memory, and what forgets its fleets, by a clock that is moved by hand."""

    def __init__(self, *, lifetimes: "Flaky | None" = None) -> None:
        self.time = ManualTime()
        self.metrics = Metrics()
        self.broker = Broker(100)
        self.store: Store = EmbeddedStore(Generated(3), Profile(seed=1), self.time)
        if lifetimes is not None:
            lifetimes.store = self.store
        self.idle = IdleFleets(
            lifetimes or self.store.lifetimes, self.broker.followed, self.metrics, self.time
        )

    async def make(self, *names: str, ttl: int | None = TTL) -> None:
        for name in names:
            await self.store.fleets.put(name, Generated(3), Profile(seed=1), ttl=ttl)

    async def names(self) -> list[str]:
        return [fleet.name for fleet in await fleets(self.store)]

    async def live(self, seconds: float, *named: str) -> None:
        """Let time go by, round by round; in each, requests name some fleets."""
        for _ in range(round(seconds / ROUND)):
            self.time.pass_seconds(ROUND)
            for name in named:
                self.idle.named(name)
            await self.idle.round()


class Flaky:
    """A store's part that can be made to fail."""

    store: Store

    def __init__(self) -> None:
        self.fails = False
        self.extended: list[str] = []

    async def extend(self, names: Sequence[str]) -> None:
        if self.fails:
            raise StoreUnavailable
        self.extended += names
        await self.store.lifetimes.extend(names)

    async def forget(self, limit: int, lead: float) -> Sequence[str]:
        return await self.store.lifetimes.forget(limit, lead)


@pytest.fixture
async def house() -> House:
    house = House()
    await house.store.open(RecordingObserver())
    await house.live(GRACE + ROUND)
    return house


async def test_a_fleet_that_requests_name_stays_and_another_goes_within_a_minute(
    house: House,
) -> None:
    await house.make("used", "idle")
    await house.make("kept", ttl=None)
    await house.live(TTL, "used")
    assert await house.names() == [F, "idle", "kept", "used"]
    await house.live(LEAD + ROUND, "used")
    assert await house.names() == [F, "kept", "used"]
    await house.live(10 * TTL, "used")
    assert await house.names() == [F, "kept", "used"]
    assert b"pisync_fleets_forgotten_total 1.0" in house.metrics.render()


async def test_a_fleet_that_a_stream_follows_stays(house: House) -> None:
    await house.make("followed")
    with house.broker.subscribe("followed"):
        await house.live(10 * TTL)
        assert await house.names() == [F, "followed"]
    await house.live(TTL + LEAD + ROUND)
    assert await house.names() == [F]


async def test_a_use_is_saved_once_a_round_and_the_default_fleets_never() -> None:
    lifetimes = Flaky()
    house = House(lifetimes=lifetimes)
    await house.store.open(RecordingObserver())
    await house.make("used")
    for _ in range(3):
        for name in ("used", F, "used", "x" * 64):
            house.idle.named(name)
        await house.idle.save()
    assert lifetimes.extended == ["used"]
    await house.idle.round()
    house.idle.named("used")
    await house.idle.save()
    assert lifetimes.extended == ["used", "used"]


async def test_after_time_in_which_nobody_could_look_nothing_goes_at_once(house: House) -> None:
    await house.make("idle")
    house.time.pass_seconds(10 * TTL)  # the machine slept, say
    await house.live(GRACE)
    assert await house.names() == [F, "idle"]
    await house.live(2 * ROUND)
    assert await house.names() == [F]


async def test_after_a_start_nothing_goes_at_once() -> None:
    house = House()
    await house.store.open(RecordingObserver())
    await house.make("idle", ttl=1)
    await house.live(GRACE - ROUND)
    assert await house.names() == [F, "idle"]
    await house.live(2 * ROUND)
    assert await house.names() == [F]


async def test_what_could_not_be_saved_is_saved_later_and_nothing_goes_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idle_fleets, "ROUND", 0.01)
    lifetimes = Flaky()
    house = House(lifetimes=lifetimes)
    await house.store.open(RecordingObserver())
    await house.make("used", "idle")
    house.time.pass_seconds(LEAD - 1)
    running = asyncio.create_task(house.idle.run())
    lifetimes.fails = True
    house.idle.named("used")
    await asyncio.sleep(0.05)
    for _ in range(20):  # rounds go on, and time with them
        house.time.pass_seconds(LEAD - 1)
        await asyncio.sleep(0.02)
    lifetimes.fails = False
    await eventually(lambda: "used" in lifetimes.extended)
    assert await house.names() == [F, "idle", "used"]
    running.cancel()


async def test_many_go_in_one_round(house: House) -> None:
    names = [f"idle-{number}" for number in range(250)]
    await house.make(*names)
    await house.live(TTL + LEAD + ROUND)
    assert await house.names() == [F]
