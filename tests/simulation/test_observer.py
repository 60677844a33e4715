"""What becomes of changes that come undecoded: they stay so until somebody needs to know them."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from pisync.model.device import HOLD, Device, begin, synced
from pisync.model.sync import Change, Steps, UnreadChanges
from pisync.simulation.alarm import Alarm
from pisync.simulation.events import KEPT, Batch, Broker, Event
from pisync.simulation.observer import SimulationObserver
from pisync.simulation.waiting.waiters import Waiters
from pisync.telemetry.metrics import Metrics
from tests.conftest import ManualTime

FLEET = "default"


class CountingUnread(UnreadChanges):
    """Changes of devices of which it is known how often they were decoded."""

    def __init__(self, changes: Sequence[Change]) -> None:
        codes = [each.what.sync_status_code for each in changes if isinstance(each.what, Device)]
        super().__init__(len(changes), Steps.of(codes))
        self._written = changes
        self.reads = 0

    def may_hold(self, event_id: str) -> bool:
        return any(event_id == each.event_id for each in self._written)

    def read(self) -> Sequence[Change]:
        self.reads += 1
        return self._written


def changes(first: int, last: int) -> list[Change]:
    return [Change(f"e-{number}", synced(number, 0)) for number in range(first, last + 1)]


def ids(batches: Sequence[Batch] | None) -> list[str]:
    return [event.event_id for batch in batches or () for event in batch.events]


def encode(event: Event) -> bytes:
    return event.event_id.encode()


class Heard:
    """An observer, and what it passes news on to."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.broker = Broker(10)
        self.waiters = Waiters(self.broker.places)
        alarm = Alarm(self.time)
        self.observer = SimulationObserver(
            Metrics(), self.broker, self.waiters, alarm, self.time.wall
        )

    def hear(self, first: int, last: int, fleet: str = FLEET) -> CountingUnread:
        unread = CountingUnread(changes(first, last))
        self.observer.heard(fleet, unread)
        return unread


@pytest.fixture
def lab() -> Heard:
    return Heard()


async def test_where_nobody_reads_nothing_is_decoded(lab: Heard) -> None:
    with lab.broker.subscribe("other"), lab.waiters.enter("other", 1):
        heard = [lab.hear(number, number + 1) for number in range(1, KEPT + 3, 2)]
        await asyncio.sleep(0)
        assert {each.reads for each in heard} == {0}
        assert KEPT <= lab.broker.kept <= KEPT + 2
        lab.observer.replaced(FLEET)
        assert lab.broker.kept == 0
        assert {each.reads for each in heard} == {0}


async def test_they_are_counted_all_the_same(lab: Heard) -> None:
    pending = Change("p", begin(synced(1, 0), 0, HOLD))
    unread = CountingUnread([pending, *changes(1, 2)])
    lab.observer.heard(FLEET, unread)
    lab.time.pass_seconds(1)
    history = lab.observer.rates.history(FLEET, 1)
    assert (history.started, history.succeeded, history.failed) == ([1], [2], [0])
    assert unread.reads == 0


async def test_all_streams_share_what_the_first_decodes(lab: Heard) -> None:
    with lab.broker.subscribe(FLEET) as one, lab.broker.subscribe(FLEET) as other:
        first, second = lab.hear(1, 2), lab.hear(3, 3)
        for stream in (one, other):
            batches = await stream.next() or []
            assert b"".join(each.encoded(encode) for each in batches) == b"e-1e-2e-3"
    with lab.broker.subscribe(FLEET, "e-1") as late:
        assert ids(await late.next()) == ["e-2", "e-3"]
    assert first.reads == second.reads == 1


async def test_one_who_resumes_late_finds_an_event_that_nobody_has_decoded(lab: Heard) -> None:
    old, its, new = lab.hear(1, 3), lab.hear(4, 6), lab.hear(7, 9)
    with lab.broker.subscribe(FLEET, "e-5") as late:
        assert ids(await late.next()) == ["e-6", "e-7", "e-8", "e-9"]
    assert (old.reads, its.reads, new.reads) == (0, 1, 1)


async def test_an_event_that_is_not_among_them_is_told_so_without_decoding(lab: Heard) -> None:
    heard = lab.hear(1, 3)
    with lab.broker.subscribe(FLEET, "e-4") as late:
        (resync,) = ids(await late.next())
        assert resync.startswith("r")
    assert heard.reads == 0


async def test_who_waits_is_woken_by_what_is_decoded_for_that(lab: Heard) -> None:
    with lab.waiters.enter(FLEET, 2) as waiter:
        heard = lab.hear(1, 3)
        assert await waiter.woken(time.monotonic() + 20)
        with lab.broker.subscribe(FLEET, "e-1") as late:
            assert ids(await late.next()) == ["e-2", "e-3"]
        assert heard.reads == 1
    assert lab.hear(4, 4).reads == 0


async def test_they_come_in_the_order_in_which_they_were_heard(lab: Heard) -> None:
    with lab.broker.subscribe(FLEET) as stream:
        with lab.waiters.enter(FLEET, 1):
            lab.hear(1, 1)
        lab.hear(2, 2)
        assert ids(await stream.next()) == ["e-1", "e-2"]
