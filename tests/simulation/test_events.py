"""The broker: every event once, in order, to whoever keeps up; and an honest word to the others."""

import asyncio
from itertools import pairwise

import pytest

from pisync.concurrency.places import NoPlaceLeft
from pisync.model.device import Device, synced
from pisync.model.sync import Change
from pisync.simulation.events import (
    KEPT,
    KEPT_IN_ALL,
    MAX_BATCH,
    MAX_READ,
    READERS_A_TURN,
    Batch,
    Broker,
    Event,
    Overrun,
    Resync,
    Subscription,
)

FLEET = "default"


def changes(first: int, last: int) -> list[Change]:
    return [Change(f"e-{number}", synced(number, 0)) for number in range(first, last + 1)]


def ids(batches: list[Batch] | None) -> list[int]:
    assert batches is not None
    return [
        event.what.device_id
        for batch in batches
        for event in batch.events
        if not isinstance(event, Resync) and isinstance(event.what, Device)
    ]


async def read(subscription: Subscription, count: int) -> list[int]:
    """Read so many events, all of which are of devices."""
    seen: list[int] = []
    while len(seen) < count:
        seen += ids(await subscription.next())
    return seen


def tells_of_a_gap(batches: list[Batch] | None) -> bool:
    return batches is not None and isinstance(batches[0].events[0], Resync)


async def test_a_subscriber_gets_what_comes_after_it_in_order() -> None:
    broker = Broker(10)
    broker.publish(FLEET, changes(1, 2))
    with broker.subscribe(FLEET) as subscription:
        broker.publish(FLEET, changes(3, 4))
        broker.publish(FLEET, changes(5, 5))
        assert ids(await subscription.next()) == [3, 4, 5]


async def test_a_fleet_s_events_are_its_own() -> None:
    broker = Broker(10)
    with broker.subscribe("one") as one, broker.subscribe("other") as other:
        broker.publish("one", changes(1, 1))
        broker.publish("other", changes(2, 2))
        assert ids(await one.next()) == [1]
        assert ids(await other.next()) == [2]


async def test_a_batch_is_of_bounded_size() -> None:
    broker = Broker(10)
    with broker.subscribe(FLEET) as subscription:
        broker.publish(FLEET, changes(1, 3 * MAX_BATCH))
        for part in range(3):
            first = part * MAX_BATCH + 1
            assert ids(await subscription.next()) == [*range(first, first + MAX_BATCH)]


async def test_one_who_is_far_behind_reads_more_at_once_but_not_all() -> None:
    broker = Broker(10)
    with broker.subscribe(FLEET) as subscription:
        broker.publish(FLEET, changes(1, KEPT))
        assert ids(await subscription.next()) == [*range(1, MAX_READ + 1)]


async def test_a_stream_resumes_after_the_event_that_it_names() -> None:
    broker = Broker(10)
    broker.publish(FLEET, changes(1, 5))
    with broker.subscribe(FLEET, "e-3") as subscription:
        broker.publish(FLEET, changes(6, 6))
        assert ids(await subscription.next()) == [4, 5, 6]


async def test_the_newest_event_resumes_to_nothing_but_what_comes() -> None:
    broker = Broker(10)
    broker.publish(FLEET, changes(1, 5))
    with broker.subscribe(FLEET, "e-5") as subscription:
        broker.publish(FLEET, changes(6, 6))
        assert ids(await subscription.next()) == [6]


@pytest.mark.parametrize("event_id", ["", "e-0", "nonsense", "e-1"])
async def test_an_event_that_is_not_kept_resumes_with_resync(event_id: str) -> None:
    broker = Broker(10)
    for number in range(1, KEPT + 3):
        broker.publish(FLEET, changes(number, number))
    with broker.subscribe(FLEET, event_id) as subscription:
        events = await subscription.next()
        assert tells_of_a_gap(events)
        assert ids(events) == []


async def test_as_many_events_are_kept_as_is_said() -> None:
    broker = Broker(10)
    for number in range(1, KEPT + 3):
        broker.publish(FLEET, changes(number, number))
    with broker.subscribe(FLEET, "e-2") as subscription:
        assert len(await read(subscription, KEPT)) == KEPT


async def test_starting_over_takes_back_what_is_on_its_way() -> None:
    broker = Broker(10)
    with broker.subscribe(FLEET) as subscription:
        broker.publish(FLEET, changes(1, 3))
        broker.start_over(FLEET)
        broker.publish(FLEET, changes(4, 4))
        events = await subscription.next()
        assert tells_of_a_gap(events)
        assert ids(events) == [4]


async def test_nobody_resumes_across_a_new_start() -> None:
    broker = Broker(10)
    broker.publish(FLEET, changes(1, 3))
    broker.start_over(FLEET)
    with broker.subscribe(FLEET, "e-3") as subscription:
        assert tells_of_a_gap(await subscription.next())


async def test_a_resync_can_itself_be_resumed_from() -> None:
    broker = Broker(10)
    with broker.subscribe(FLEET) as first:
        broker.start_over(FLEET)
        (resync,) = await first.next() or []
        broker.publish(FLEET, changes(1, 1))
    with broker.subscribe(FLEET, resync.events[0].event_id) as second:
        assert ids(await second.next()) == [1]


async def test_what_may_have_been_missed_is_told_to_every_fleet() -> None:
    broker = Broker(10)
    broker.publish("silent", changes(1, 1))
    with broker.subscribe("quiet") as quiet, broker.subscribe("busy") as busy:
        broker.publish("busy", changes(1, 1))
        broker.start_all_over()
        assert tells_of_a_gap(await quiet.next())
        assert tells_of_a_gap(await busy.next())
    with broker.subscribe("silent", "e-1") as silent:
        assert tells_of_a_gap(await silent.next())


async def test_one_who_does_not_keep_up_is_cut_off_and_nobody_else() -> None:
    broker = Broker(10)
    told: list[str] = []
    with broker.subscribe(FLEET) as slow, broker.subscribe(FLEET) as quick:
        slow.on_overrun = lambda: told.append("slow")
        quick.on_overrun = lambda: told.append("quick")
        seen: list[int] = []
        for start in range(1, KEPT + 3002, 1000):
            broker.publish(FLEET, changes(start, start + 999))
            seen += await read(quick, 1000)
        assert told == ["slow"]
        assert seen == list(range(1, len(seen) + 1))
        with pytest.raises(Overrun):
            await slow.next()


async def test_a_burst_is_no_overrun() -> None:
    broker = Broker(10)
    with broker.subscribe(FLEET) as subscription:
        broker.publish(FLEET, changes(1, 3 * KEPT))
        assert await read(subscription, 3 * KEPT) == [*range(1, 3 * KEPT + 1)]


async def test_all_fleets_share_one_budget_and_the_quietest_pays() -> None:
    broker = Broker(10)
    fleets = KEPT_IN_ALL // KEPT + 2
    for number in range(fleets):
        broker.publish(f"fleet-{number}", changes(1, KEPT))
        assert broker.kept <= KEPT_IN_ALL
    with broker.subscribe("fleet-0", "e-5") as first:
        assert tells_of_a_gap(await first.next())
    with broker.subscribe(f"fleet-{fleets - 1}", "e-5") as last:
        assert ids(await last.next())[0] == 6


async def test_readers_take_turns_with_everything_else() -> None:
    broker = Broker(1000)
    readers = 5 * READERS_A_TURN
    woken = 0

    async def reader(subscription: Subscription) -> None:
        nonlocal woken
        while await subscription.next():
            woken += 1

    subscriptions = [broker.subscribe(FLEET) for _ in range(readers)]
    tasks = [asyncio.create_task(reader(subscription)) for subscription in subscriptions]
    await asyncio.sleep(0)
    broker.publish(FLEET, changes(1, 2 * MAX_BATCH))
    turns = [0]
    while turns[-1] < 2 * readers:
        await asyncio.sleep(0)
        turns.append(woken)
    assert max(after - before for before, after in pairwise(turns)) <= READERS_A_TURN
    broker.close()
    await asyncio.gather(*tasks)


async def test_a_fleet_that_is_gone_leaves_nothing_behind() -> None:
    broker = Broker(10)
    for number in range(5):
        with broker.subscribe(f"fleet-{number}") as subscription:
            broker.publish(f"fleet-{number}", changes(1, 3))
            broker.start_over(f"fleet-{number}")
            assert tells_of_a_gap(await subscription.next())
    assert broker.kept == 0
    assert broker._logs == {}  # noqa: SLF001 - what is left can't be seen from outside


async def test_only_so_many_may_subscribe_and_one_that_leaves_makes_room() -> None:
    broker = Broker(1)
    with broker.subscribe(FLEET):
        assert broker.subscribers == 1
        with pytest.raises(NoPlaceLeft):
            broker.subscribe("another")
    assert broker.subscribers == 0
    with broker.subscribe("another") as subscription:
        broker.unsubscribe("another", subscription)
        broker.unsubscribe("another", subscription)
        assert broker.subscribers == 0


async def test_closing_ends_streams_after_what_they_still_have_to_get() -> None:
    broker = Broker(10)
    with broker.subscribe(FLEET) as subscription:
        waiting = asyncio.create_task(subscription.next())
        await asyncio.sleep(0)
        broker.publish(FLEET, changes(1, 1))
        assert ids(await waiting) == [1]
        broker.publish(FLEET, changes(2, 2))
        broker.close()
        assert ids(await subscription.next()) == [2]
        assert await subscription.next() is None
    with broker.subscribe(FLEET) as late:
        assert await late.next() is None


async def test_events_are_encoded_once_for_all() -> None:
    calls: list[str] = []

    def encode(event: Event) -> bytes:
        calls.append(event.event_id)
        return b"x"

    broker = Broker(10)
    with broker.subscribe(FLEET) as one, broker.subscribe(FLEET) as other:
        broker.publish(FLEET, changes(1, 3))
        for subscription in (one, other):
            batches = await subscription.next()
            assert batches is not None
            assert b"".join(batch.encoded(encode) for batch in batches) == b"xxx"
    assert calls == ["e-1", "e-2", "e-3"]
