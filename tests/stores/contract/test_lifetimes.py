"""Fleets with a ttl, which are deleted when nobody uses them any more."""

import asyncio
from dataclasses import replace

import pytest

from pisync.model.fleet import FleetView, Generated, NewTtl
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet
from tests.stores.conftest import Reopen
from tests.support.stores.harness import DURABLE, StoreHarness
from tests.support.stores.recording_observer import RecordingObserver, Replaced
from tests.support.stores.short import PROFILE, TWENTY, F, fleets, start

TTL = 60
"""Seconds."""
A_LONG_TIME = TTL + 1


async def make(store: Store, *names: str, ttl: int | None = TTL) -> None:
    for name in names:
        await store.fleets.put(name, Generated(3), PROFILE, ttl=ttl)


async def names(store: Store) -> list[str]:
    return [fleet.name for fleet in await fleets(store)]


async def seconds_left(home: StoreHarness, fleet: FleetView) -> float:
    assert fleet.expires_at is not None
    return (fleet.expires_at - await home.wall()) / SECOND


class TestTtl:
    async def test_none_is_none(self, store: Store) -> None:
        await make(store, "kept", ttl=None)
        for name in (F, "kept"):
            view = await store.queries.fleet(name)
            assert (view.ttl, view.expires_at) == (None, None)

    async def test_counts_from_when_the_fleet_is_made(
        self, store: Store, home: StoreHarness
    ) -> None:
        made, is_new = await store.fleets.put("short", TWENTY, PROFILE, ttl=60)
        assert is_new
        listed = (await fleets(store))[1]
        for view in (made, listed, await store.queries.fleet("short")):
            assert view.ttl == 60
            assert await seconds_left(home, view) == pytest.approx(60, abs=2)

    async def test_is_given_and_taken_away(self, store: Store, home: StoreHarness) -> None:
        await make(store, "short", ttl=None)
        view = await store.fleets.change_profile("short", lambda same: same, NewTtl(60))
        assert view.ttl == 60
        assert await seconds_left(home, view) == pytest.approx(60, abs=2)
        view = await store.fleets.change_profile("short", lambda same: same, NewTtl(600))
        assert view.ttl == 600
        view = await store.fleets.change_profile("short", lambda same: replace(same, seed=9))
        assert (view.ttl, view.profile.seed) == (600, 9)
        view = await store.fleets.change_profile("short", lambda same: same, NewTtl(None))
        assert (view.ttl, view.expires_at) == (None, None)

    async def test_changes_with_the_profile_or_not_at_all(self, store: Store) -> None:
        await make(store, "short")

        def fail(_: object) -> object:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.fleets.change_profile("short", fail, NewTtl(600))  # type: ignore[arg-type]
        assert (await store.queries.fleet("short")).ttl == TTL

    async def test_stays_with_a_reset_and_goes_with_a_replacement(
        self, store: Store, home: StoreHarness
    ) -> None:
        await make(store, "short")
        await home.skip_time(A_LONG_TIME)
        await store.fleets.reset("short")
        view = await store.queries.fleet("short")
        assert view.ttl == TTL
        assert await seconds_left(home, view) == pytest.approx(TTL, abs=2)
        assert await store.lifetimes.forget(10, 0) == []
        await store.fleets.put("short", TWENTY, PROFILE)
        assert (await store.queries.fleet("short")).ttl is None
        await home.skip_time(A_LONG_TIME)
        assert await store.lifetimes.forget(10, 0) == []


class TestForgetting:
    async def test_deletes_just_those_that_nobody_used(
        self, store: Store, home: StoreHarness, heard: RecordingObserver
    ) -> None:
        await make(store, "used", "idle", "idle-2")
        await make(store, "kept", ttl=None)
        await make(store, "long", ttl=600)
        await start(store, 1, fleet="idle")
        assert await store.lifetimes.forget(10, 0) == []
        await home.skip_time(A_LONG_TIME)
        await store.lifetimes.extend(["used", "no-such-fleet", F, "kept", "é\0"])
        await home.hear()
        heard.forget()
        assert await store.lifetimes.forget(10, 600) == []
        assert sorted(await store.lifetimes.forget(10, 0)) == ["idle", "idle-2"]
        assert await store.lifetimes.forget(10, 0) == []
        assert await names(store) == [F, "kept", "long", "used"]
        with pytest.raises(NoSuchFleet):
            await store.queries.device("idle", 1)
        await home.hear()
        assert {name: told for name, told in heard.events.items() if Replaced() in told} == {
            "idle": [Replaced()],
            "idle-2": [Replaced()],
        }

    async def test_deletes_no_more_than_it_is_asked_to(
        self, store: Store, home: StoreHarness
    ) -> None:
        await make(store, *(f"idle-{number}" for number in range(5)))
        await home.skip_time(A_LONG_TIME)
        forgotten = [len(await store.lifetimes.forget(2, 0)) for _ in range(4)]
        assert forgotten == [2, 2, 1, 0]

    async def test_by_several_at_once_deletes_each_fleet_once(
        self, store: Store, home: StoreHarness
    ) -> None:
        idle = [f"idle-{number}" for number in range(10)]
        await make(store, *idle)
        await home.skip_time(A_LONG_TIME)
        calls = await asyncio.gather(*(store.lifetimes.forget(10, 0) for _ in range(5)))
        assert sorted(name for forgotten in calls for name in forgotten) == idle

    async def test_of_a_fleet_made_anew_has_no_say_in_it(
        self, store: Store, home: StoreHarness
    ) -> None:
        await make(store, "again")
        await home.skip_time(A_LONG_TIME)
        _, forgotten = await asyncio.gather(make(store, "again"), store.lifetimes.forget(10, 0))
        assert forgotten in (["again"], [])
        assert (await store.queries.fleet("again")).ttl == TTL

    async def test_a_use_counts_from_when_it_is_noted(
        self, store: Store, home: StoreHarness
    ) -> None:
        await make(store, "used")
        for _ in range(3):
            await home.skip_time(TTL * 0.6)
            await store.lifetimes.extend(["used"])
            assert await store.lifetimes.forget(10, 0) == []
        assert await seconds_left(home, await store.queries.fleet("used")) > TTL / 2


@pytest.mark.parametrize("home", DURABLE, indirect=True)
class TestRestart:
    async def test_keeps_ttl_and_time_of_use(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        await make(store, "used", "idle", ttl=TTL)
        await make(store, "long", ttl=600)
        await home.skip_time(TTL * 0.6)
        await store.lifetimes.extend(["used"])
        store = await reopen()
        assert [fleet.ttl for fleet in await fleets(store)] == [None, TTL, 600, TTL]
        await home.skip_time(TTL * 0.5)
        assert await store.lifetimes.forget(10, 0) == ["idle"]

    async def test_after_the_wall_clock_stepped_back_forgets_nothing_early(
        self, store: Store, home: StoreHarness, reopen: Reopen
    ) -> None:
        await home.pass_time(1.2)  # a database gets to know the time within a second
        await make(store, "short")
        await home.step_wall_clock(-3600)
        store = await reopen()
        assert await store.lifetimes.forget(10, 0) == []
        # A database's time may stand still for a moment after such a step.
        await home.skip_time(A_LONG_TIME + 2)
        assert await store.lifetimes.forget(10, 0) == ["short"]
