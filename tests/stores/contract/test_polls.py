"""Attempts that are pending for so many reads, which `ActingReads` counts."""

import asyncio
from collections.abc import Iterable, Sequence

import pytest

from pisync.model.device import Device, ErrorFilter, Pending
from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.script import Script, Step
from pisync.model.sync import SyncDecision
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchDevice, NoSuchFleet, NothingHeld
from tests.stores.conftest import Reopen
from tests.support.stores.harness import DURABLE
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import (
    FULL,
    PROFILE,
    TIMEOUT,
    TWENTY,
    F,
    advance,
    manual,
    now,
    start,
)


async def polled(store: Store, reads: int, *device_ids: int, outcome: Outcome = FULL) -> None:
    """Begin attempts of devices that are pending for so many reads."""
    for device_id in device_ids:
        await store.fleets.set_script(F, device_id, Script((Step(outcome, polls=reads),)))
    await start(store, *device_ids)


async def page(
    store: Store, *, after: int = 0, limit: int = 100, statuses: Iterable[int] | None = None
) -> Sequence[Device]:
    chosen = None if statuses is None else frozenset(statuses)
    return (await store.acting_reads.devices(F, after=after, limit=limit, statuses=chosen)).devices


def codes(devices: Iterable[Device]) -> list[int]:
    return [device.sync_status_code for device in devices]


class TestPolls:
    async def test_are_the_reads_that_show_the_attempt_as_pending(self, store: Store) -> None:
        await polled(store, 3, 7)
        assert store.acting_reads.acts(F)
        shown = [await store.acting_reads.device(F, 7) for _ in range(5)]
        assert codes(shown) == [202, 202, 202, 400, 400]
        assert shown[-1] == await store.queries.device(F, 7)
        (log,) = (await store.queries.errors(F, ErrorFilter(), 10)).error_logs
        assert (log.device_id, log.attempt, log.error_message) == (7, 1, "Storage Full")
        ledger = await store.queries.ledger(F)
        assert (ledger.pending, ledger.held, ledger.failures, ledger.balanced) == (0, 0, 1, True)

    async def test_count_as_held_and_no_clock_moves_them(self, store: Store) -> None:
        await manual(store)
        await polled(store, 1, 7)
        held = await store.queries.device(F, 7)
        assert held.pending == Pending(None, None)
        assert (await store.queries.ledger(F)).held == 1
        assert await advance(store, 86_400) == 0
        await store.finisher.set_clock(F, 1000)
        assert await store.finisher.finish_due(10) == 0
        assert (await store.finisher.settle(F)).finished == 0
        assert await store.queries.device(F, 7) == held

    async def test_that_succeed_leave_the_time_of_the_attempt(self, store: Store) -> None:
        present = await manual(store)
        await polled(store, 1, 7, outcome=SUCCEEDED)
        await advance(store, 60)
        await store.acting_reads.device(F, 7)
        assert (await store.queries.device(F, 7)).last_sync_at == present

    async def test_that_fail_occur_when_they_were_read(self, store: Store) -> None:
        present = await manual(store)
        await polled(store, 1, 7)
        await advance(store, 60)
        await store.acting_reads.device(F, 7)
        (log,) = (await store.queries.errors(F, ErrorFilter(), 10)).error_logs
        assert log.occurred_at == present + 60 * SECOND == await now(store)

    async def test_are_counted_by_nothing_that_only_looks(self, store: Store) -> None:
        await polled(store, 1, 7)
        await store.queries.device(F, 7)
        await store.queries.devices(F, after=0, limit=100, statuses=None)
        await store.queries.stats(F)
        assert (await store.acting_reads.stats(F)).pending == 1
        assert (await store.queries.device(F, 7)).is_pending

    async def test_are_told_when_they_are_over(
        self, store: Store, heard: RecordingObserver
    ) -> None:
        await polled(store, 2, 7)
        await store.acting_reads.device(F, 7)
        assert heard.order_finished(F) == []
        await store.acting_reads.device(F, 7)
        assert heard.order_finished(F) == [7]

    async def test_end_sooner_by_a_release(self, store: Store) -> None:
        await polled(store, 3, 7)
        released = await store.finisher.release(F, 7, TIMEOUT)
        assert (released.sync_status_code, released.error_message) == TIMEOUT
        assert await store.acting_reads.device(F, 7) == released
        with pytest.raises(NothingHeld):
            await store.finisher.release(F, 7, TIMEOUT)

    async def test_are_joined_and_go_on(self, store: Store) -> None:
        await polled(store, 2, 7)
        await store.acting_reads.device(F, 7)
        (joined,) = await store.starter.begin(F, (7,))
        assert joined.decision is SyncDecision.JOINED
        shown = [await store.acting_reads.device(F, 7) for _ in range(2)]
        assert codes(shown) == [202, 400]

    async def test_of_a_sticky_step_begin_anew_with_each_attempt(self, store: Store) -> None:
        script = Script((Step(SUCCEEDED, polls=1), Step(FULL, polls=2)), sticky=True)
        await store.fleets.set_script(F, 7, script)
        shown = []
        for _ in range(3):
            await start(store, 7)
            shown += [await store.acting_reads.device(F, 7) for _ in range(3)]
        assert codes(shown) == [202, 200, 200, 202, 202, 400, 202, 202, 400]

    async def test_stay_though_the_script_is_taken_away(self, store: Store) -> None:
        await polled(store, 1, 7)
        await store.fleets.set_script(F, 7, None)
        shown = [await store.acting_reads.device(F, 7) for _ in range(2)]
        assert codes(shown) == [202, 400]

    async def test_go_with_a_reset(self, store: Store) -> None:
        await polled(store, 2, 7)
        await store.finisher.release(F, 7, SUCCEEDED)
        await polled(store, 2, 7)
        await store.fleets.reset(F)
        assert not (await store.acting_reads.device(F, 7)).is_pending
        assert not store.acting_reads.acts(F)
        await store.fleets.set_script(F, 7, Script((Step(None),)))
        await start(store, 7)
        assert codes([await store.acting_reads.device(F, 7) for _ in range(4)]) == [202] * 4

    async def test_go_with_a_replacement_or_deletion(self, store: Store) -> None:
        await polled(store, 2, 7)
        await store.fleets.put(F, TWENTY, PROFILE)
        assert not (await store.acting_reads.device(F, 7)).is_pending
        assert not store.acting_reads.acts(F)
        assert not store.acting_reads.acts("nowhere")


@pytest.mark.parametrize("home", DURABLE, indirect=True)
async def test_survive_a_restart(store: Store, reopen: Reopen) -> None:
    await polled(store, 3, 7)
    await store.acting_reads.device(F, 7)
    store = await reopen()
    assert store.acting_reads.acts(F)
    shown = [await store.acting_reads.device(F, 7) for _ in range(3)]
    assert codes(shown) == [202, 202, 400]


class TestPages:
    async def test_count_a_read_of_each_device_that_they_show(self, store: Store) -> None:
        await polled(store, 2, 3, 7)
        assert codes(await page(store, limit=5)) == [200, 200, 202, 200, 200]
        assert codes(await page(store, after=2, limit=1)) == [202]
        assert codes(await page(store, limit=7)) == [200, 200, 400, 200, 200, 200, 202]
        assert codes(await page(store, after=6, limit=1)) == [202]
        assert codes(await page(store, after=6, limit=1)) == [400]

    async def test_with_a_filter_count_only_what_they_show(self, store: Store) -> None:
        await polled(store, 1, 3, 7)
        assert await page(store, statuses=(400, 500)) == []
        shown = await store.acting_reads.devices(F, after=3, limit=100, statuses=frozenset((202,)))
        assert [device.device_id for device in shown.devices] == [7]
        assert (shown.total, shown.more) == (2, False)
        failed = await store.acting_reads.devices(F, after=0, limit=1, statuses=frozenset((400,)))
        assert [device.device_id for device in failed.devices] == [7]
        assert (failed.total, failed.more) == (1, False)
        assert [device.device_id for device in await page(store, statuses=(202,))] == [3]
        assert await page(store, statuses=(202,)) == []

    async def test_that_come_at_once_see_each_others_effect(self, store: Store) -> None:
        await polled(store, 4, 2, 3)
        pages = await asyncio.gather(
            *(
                store.acting_reads.devices(F, after=0, limit=3, statuses=frozenset((202,)))
                for _ in range(10)
            )
        )
        assert sorted(len(each.devices) for each in pages) == [0] * 6 + [2] * 4
        assert all(each.total == len(each.devices) for each in pages)
        assert codes(await page(store, limit=3)) == [200, 400, 400]


async def test_of_fifty_readers_at_once_as_many_see_it_pending_as_there_are_polls(
    store: Store,
) -> None:
    await polled(store, 10, 7)
    shown = await asyncio.gather(*(store.acting_reads.device(F, 7) for _ in range(50)))
    assert sorted(codes(shown)) == [202] * 10 + [400] * 40
    ledger = await store.queries.ledger(F)
    assert (ledger.failures, ledger.error_logs, ledger.balanced) == (1, 1, True)


async def test_a_read_of_what_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(NoSuchFleet):
        await store.acting_reads.device("nowhere", 7)
    with pytest.raises(NoSuchFleet):
        await store.acting_reads.devices("nowhere", after=0, limit=1, statuses=None)
    with pytest.raises(NoSuchDevice):
        await store.acting_reads.device(F, 21)
