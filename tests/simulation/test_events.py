"""The broker: every event once, in order, to whoever keeps up; and an honest word to the others."""

import asyncio

import pytest

from pisync.model.device import Device, synced
from pisync.model.sync import Change
from pisync.simulation.events import (
    KEPT,
    LONGEST_QUEUE,
    Broker,
    Event,
    Overrun,
    TooManySubscribers,
)

FLEET = "default"


def changes(first: int, last: int) -> list[Change]:
    return [Change(f"e-{number}", synced(number, 0)) for number in range(first, last + 1)]


def ids(events: list[Event] | None) -> list[int]:
    assert events is not None
    return [event.what.device_id for event in events if isinstance(event.what, Device)]


def tells_of_a_gap(events: list[Event] | None) -> bool:
    return events is not None and events[0].what is None


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
        broker.publish(FLEET, changes(1, 5))
        assert ids(await subscription.next(most=3)) == [1, 2, 3]
        assert ids(await subscription.next(most=3)) == [4, 5]


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
    broker.publish(FLEET, changes(1, KEPT + 1))
    with broker.subscribe(FLEET, event_id) as subscription:
        events = await subscription.next()
        assert tells_of_a_gap(events)
        assert ids(events) == []


async def test_as_many_events_are_kept_as_is_said() -> None:
    broker = Broker(10)
    broker.publish(FLEET, changes(1, KEPT + 1))
    with broker.subscribe(FLEET, "e-2") as subscription:
        assert len(ids(await subscription.next(most=KEPT))) == KEPT - 1


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
    with broker.subscribe(FLEET, resync.event_id) as second:
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
        for start in range(1, LONGEST_QUEUE + 2, 1000):
            broker.publish(FLEET, changes(start, start + 999))
            seen += ids(await quick.next(most=1000))
        assert told == ["slow"]
        assert seen == list(range(1, len(seen) + 1))
        with pytest.raises(Overrun):
            await slow.next()


async def test_a_burst_of_a_thousand_is_no_overrun() -> None:
    broker = Broker(10)
    with broker.subscribe(FLEET) as subscription:
        broker.publish(FLEET, changes(1, 1000))
        assert len(ids(await subscription.next(most=1000))) == 1000


async def test_only_so_many_may_subscribe_and_one_that_leaves_makes_room() -> None:
    broker = Broker(1)
    with broker.subscribe(FLEET):
        assert broker.subscribers == 1
        with pytest.raises(TooManySubscribers):
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


async def test_an_event_is_encoded_once_for_all() -> None:
    calls: list[str] = []

    def encode(event: Event) -> bytes:
        calls.append(event.event_id)
        return b"x"

    event = Event("e-1", None)
    assert event.encoded(encode) == event.encoded(encode) == b"x"
    assert calls == ["e-1"]
