"""The index of waiting calls: a change wakes those whom it concerns, and nobody else."""

import asyncio

import pytest

from pisync.concurrency.places import NoPlaceLeft, Places
from pisync.model.device import HOLD, begin, synced
from pisync.model.sync import Change
from pisync.simulation.waiting.waiters import WOKEN_A_TURN, Waiter, Waiters

FLEET = "default"


def finished(*device_ids: int) -> list[Change]:
    return [Change(f"e-{number}", synced(number, 0)) for number in device_ids]


def began(device_id: int) -> list[Change]:
    return [Change(f"b-{device_id}", begin(synced(device_id, 0), 0, HOLD))]


def until() -> float:
    return asyncio.get_running_loop().time() + 20


async def turns(count: int = 1) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def is_woken(waiter: Waiter) -> bool:
    return waiter._turn.is_set()  # noqa: SLF001 - whoever asks in another way sleeps


def woken(waiters: list[Waiter]) -> int:
    return sum(map(is_woken, waiters))


@pytest.fixture
def waiters() -> Waiters:
    return Waiters(Places(10_000))


async def test_a_change_wakes_those_who_wait_for_its_device_alone(waiters: Waiters) -> None:
    mine, others = waiters.enter(FLEET, 7), waiters.enter(FLEET, 8)
    elsewhere = waiters.enter("another", 7)
    waiters.changed(FLEET, finished(7))
    await turns()
    assert is_woken(mine)
    assert not is_woken(others)
    assert not is_woken(elsewhere)
    assert await mine.woken(until())


async def test_what_happened_before_somebody_waits_is_not_missed(waiters: Waiters) -> None:
    waiter = waiters.enter(FLEET, 7)
    waiters.changed(FLEET, finished(7))
    assert await waiter.woken(until())


async def test_time_is_up_however_often_something_happens(waiters: Waiters) -> None:
    waiter = waiters.enter(FLEET, 7)
    waiter.wake()
    assert not await waiter.woken(asyncio.get_running_loop().time())
    assert not await waiter.woken(asyncio.get_running_loop().time() - 1)
    assert await waiter.woken(until())
    assert not await waiter.woken(asyncio.get_running_loop().time() + 0.01)


async def test_all_who_wait_in_a_fleet_may_be_woken_to_look(waiters: Waiters) -> None:
    mine = [waiters.enter(FLEET, subject) for subject in (7, 8, None, None)]
    elsewhere = waiters.enter("another", 7)
    waiters.look(FLEET)
    await turns()
    assert woken(mine) == 4
    assert not is_woken(elsewhere)
    assert not any(waiter.has_started_over for waiter in mine)


async def test_one_of_those_who_wait_for_a_fleet_looks_for_all(waiters: Waiters) -> None:
    all_of_them = [waiters.enter(FLEET, None) for _ in range(100)]
    waiters.changed(FLEET, began(1))
    await turns(9)
    assert woken(all_of_them) == 0
    for _ in range(3):
        waiters.changed(FLEET, finished(1, 2, 3))
        await turns(9)
    assert woken(all_of_them) == 1


async def test_who_leaves_unseeing_leaves_the_look_to_another(waiters: Waiters) -> None:
    first, second, third = (waiters.enter(FLEET, None) for _ in range(3))
    waiters.changed(FLEET, finished(1))
    await turns()
    assert [is_woken(each) for each in (first, second, third)] == [True, False, False]
    with first:
        pass
    await turns()
    assert [is_woken(each) for each in (second, third)] == [True, False]


async def test_who_has_seen_it_wakes_the_others(waiters: Waiters) -> None:
    first, *others = (waiters.enter(FLEET, None) for _ in range(10))
    with first:
        first.has_seen_it = True
    await turns()
    assert woken(others) == 9


async def test_many_are_woken_a_few_at_a_time(waiters: Waiters) -> None:
    all_of_them = [waiters.enter(FLEET, 7) for _ in range(3 * WOKEN_A_TURN)]
    for _ in range(5):
        waiters.changed(FLEET, finished(7))
    counts = []
    for _ in range(5):
        await turns()
        counts.append(woken(all_of_them))
    assert counts == [WOKEN_A_TURN, 2 * WOKEN_A_TURN, *[3 * WOKEN_A_TURN] * 3]


@pytest.mark.parametrize("subject", [7, None])
async def test_a_fleet_that_starts_over_wakes_all_who_wait_in_it(
    waiters: Waiters, subject: int | None
) -> None:
    mine, elsewhere = waiters.enter(FLEET, subject), waiters.enter("another", subject)
    waiters.replaced(FLEET)
    waiters.replaced("nowhere")
    await turns()
    assert (is_woken(mine), mine.has_started_over) == (True, True)
    assert (is_woken(elsewhere), elsewhere.has_started_over) == (False, False)
    waiters.missed()
    await turns()
    assert (is_woken(elsewhere), elsewhere.has_started_over) == (True, True)


async def test_nobody_waits_any_more_once_it_is_closed(waiters: Waiters) -> None:
    waiter = waiters.enter(FLEET, 7)
    waiting = asyncio.create_task(waiter.woken(until()))
    await turns()
    waiters.close()
    assert not await waiting
    assert not await waiters.enter(FLEET, 7).woken(until())


async def test_nothing_is_left_of_those_who_have_gone(waiters: Waiters) -> None:
    for subject in (7, 7, 8, None):
        with waiters.enter(FLEET, subject):
            assert waiters.count == 1
            assert waiters.followed() == [FLEET]
    assert waiters.count == 0
    assert waiters._fleets == {}  # noqa: SLF001 - what is left can't be seen from outside


async def test_there_are_only_so_many_places() -> None:
    places = Places(2)
    waiters = Waiters(places)
    places.take()
    with waiters.enter(FLEET, 7), pytest.raises(NoPlaceLeft):
        waiters.enter(FLEET, 8)
    with waiters.enter(FLEET, 8):
        assert places.taken == 2
    assert places.taken == 1
