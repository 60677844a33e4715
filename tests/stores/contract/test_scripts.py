import pytest

from pisync.model.device import Pending
from pisync.model.outcome import SUCCEEDED
from pisync.model.plans.delay import LognormalDelay
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import MAX_STEPS, Script, Step
from pisync.model.sync import SyncDecision
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchDevice, NoSuchFleet
from tests.stores.conftest import MakeStore
from tests.support.stores.short import (
    FULL,
    PROFILE,
    TIMEOUT,
    F,
    manual,
    now,
    start,
    verdicts,
)


async def outcomes(store: Store, device_id: int, attempts: int) -> list[tuple[int, str | None]]:
    """Sync a device so many times; return what came of it."""
    came = []
    for _ in range(attempts):
        await start(store, device_id)
        await store.finisher.settle(F)
        device = await store.queries.device(F, device_id)
        came.append((device.sync_status_code, device.error_message))
    return came


def drawn(device_id: int, attempt: int, profile: Profile = PROFILE) -> tuple[int, str | None]:
    return draw(profile, device_id, attempt).outcome


class TestScript:
    async def test_decides_one_attempt_a_step_and_then_the_profile_does(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(FULL), Step(TIMEOUT), Step(SUCCEEDED))))
        came = await outcomes(store, 7, 5)
        assert came == [FULL, TIMEOUT, SUCCEEDED, drawn(7, 4), drawn(7, 5)]

    async def test_that_is_sticky_repeats_its_last_step(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(SUCCEEDED), Step(FULL)), sticky=True))
        assert await outcomes(store, 7, 5) == [SUCCEEDED, FULL, FULL, FULL, FULL]

    async def test_decides_the_delay_where_it_names_one(self, make_store: MakeStore) -> None:
        profile = Profile(seed=3, delay=LognormalDelay(2, 0.5, 10))
        store = await make_store(profile=profile)
        present = await manual(store)
        script = Script((Step(FULL, 1_500_000), Step(FULL, 0), Step(FULL)))
        await store.fleets.set_script(F, 7, script)
        for attempt, delay in enumerate((1_500_000, 0, draw(profile, 7, 3).delay), start=1):
            (device,) = await start(store, 7)
            assert device.attempt == attempt
            assert device.pending == Pending(FULL, present + delay)
            present = (await store.finisher.settle(F)).now

    async def test_decides_the_next_attempts_not_the_one_under_way(self, store: Store) -> None:
        (pending,) = await start(store, 7)
        await store.fleets.set_script(F, 7, Script((Step(FULL),)))
        assert await store.queries.device(F, 7) == pending
        await store.finisher.settle(F)
        assert (await store.queries.device(F, 7)).error_message == drawn(7, 1)[1]
        assert await outcomes(store, 7, 1) == [FULL]

    async def test_takes_the_place_of_the_one_before(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(FULL),), sticky=True))
        assert await outcomes(store, 7, 1) == [FULL]
        await store.fleets.set_script(F, 7, Script((Step(TIMEOUT), Step(SUCCEEDED))))
        assert await outcomes(store, 7, 3) == [TIMEOUT, SUCCEEDED, drawn(7, 4)]

    async def test_that_is_taken_away_leaves_the_profile(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(FULL), Step(FULL))))
        assert await outcomes(store, 7, 1) == [FULL]
        await store.fleets.set_script(F, 7, None)
        await store.fleets.set_script(F, 7, None)
        assert await outcomes(store, 7, 1) == [drawn(7, 2)]

    async def test_is_its_devices_own(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(FULL),), sticky=True))
        assert await outcomes(store, 8, 2) == [drawn(8, 1), drawn(8, 2)]

    async def test_is_used_up_by_attempts_that_start_and_by_no_others(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(FULL), Step(TIMEOUT))))
        await start(store, 7)
        for _ in range(3):
            assert verdicts(await store.starter.begin(F, [7])) == [SyncDecision.JOINED]
        await store.finisher.settle(F)
        assert await outcomes(store, 7, 1) == [TIMEOUT]

    async def test_of_many_devices_goes_on_for_each(self, store: Store) -> None:
        for device_id in range(1, 21):
            script = Script((Step(FULL),) * (device_id % 3) + (Step(TIMEOUT),))
            await store.fleets.set_script(F, device_id, script)
        for round_ in range(3):
            await start(store, *range(1, 21))
            await store.finisher.settle(F)
            for device_id in range(1, 21):
                fails, device = device_id % 3, await store.queries.device(F, device_id)
                if round_ <= fails:
                    expected = FULL if round_ < fails else TIMEOUT
                    assert device.error_message == expected.error_message

    async def test_may_be_as_long_as_it_can(self, store: Store) -> None:
        steps = tuple(
            Step(TIMEOUT if place == MAX_STEPS - 1 else FULL) for place in range(MAX_STEPS)
        )
        await store.fleets.set_script(F, 7, Script(steps, position=MAX_STEPS - 2))
        assert await outcomes(store, 7, 3) == [FULL, TIMEOUT, drawn(7, 3)]

    async def test_is_refused_where_there_is_no_such_device(self, store: Store) -> None:
        with pytest.raises(NoSuchDevice):
            await store.fleets.set_script(F, 21, Script((Step(FULL),)))
        with pytest.raises(NoSuchFleet):
            await store.fleets.set_script("other", 1, Script((Step(FULL),)))


class TestHold:
    async def test_leaves_the_attempt_pending_whatever_the_clock_does(self, store: Store) -> None:
        await manual(store)
        await store.fleets.set_script(F, 7, Script((Step(None), Step(FULL))))
        (held,) = await start(store, 7)
        assert held.pending == Pending(None, None)
        assert (await store.finisher.advance(F, 86_400 * SECOND)).finished == 0
        await store.finisher.set_clock(F, 1000)
        assert await store.finisher.finish_due(10) == 0
        assert (await store.finisher.settle(F)).finished == 0
        assert await store.queries.device(F, 7) == held

    async def test_goes_on_with_the_next_step_once_it_is_released(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(None), Step(FULL))))
        await start(store, 7)
        await store.finisher.release(F, 7, TIMEOUT)
        assert (await store.queries.device(F, 7)).error_message == "Connection Timeout"
        assert await outcomes(store, 7, 2) == [FULL, drawn(7, 3)]

    async def test_that_is_sticky_holds_every_attempt(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(None),), sticky=True))
        for attempt in (1, 2, 3):
            (held,) = await start(store, 7)
            assert held.attempt == attempt
            assert (await store.finisher.settle(F)).finished == 0
            await store.finisher.release(F, 7, SUCCEEDED)
        assert (await store.queries.ledger(F)).succeeded == 3

    async def test_stays_though_the_script_is_taken_away(self, store: Store) -> None:
        await store.fleets.set_script(F, 7, Script((Step(None),), sticky=True))
        (held,) = await start(store, 7)
        await store.fleets.set_script(F, 7, None)
        assert await store.queries.device(F, 7) == held
        await store.finisher.release(F, 7, FULL)
        assert await outcomes(store, 7, 1) == [drawn(7, 2)]

    async def test_of_one_holds_up_no_other(self, store: Store) -> None:
        present = await manual(store)
        await store.fleets.set_script(F, 7, Script((Step(None),)))
        await start(store, 6, 7, 8)
        assert (await store.finisher.settle(F)).finished == 2
        assert await now(store) == present + 10 * SECOND
