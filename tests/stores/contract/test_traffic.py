"""Fleets that live: their devices sync by themselves, on every store with the same history."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from pisync.model.device import Device, ErrorFilter, ErrorLog
from pisync.model.fleet import Generated
from pisync.model.outcome import SUCCEEDED
from pisync.model.plans.delay import ConstantDelay, LognormalDelay, UniformDelay
from pisync.model.plans.draw import draw
from pisync.model.plans.phases import Phase
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.traffic import Traffic
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.sync import SyncDecision
from pisync.model.timestamp import SECOND
from pisync.stores.base import Store
from pisync.stores.errors import FleetReplaced, NoSuchFleet
from tests.stores.conftest import Reopen
from tests.support.stores.harness import DURABLE, StoreHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import (
    FULL,
    HOLD,
    F,
    devices,
    finish_all_due,
    manual,
    start,
    verdicts,
)

EVERY = Traffic(UniformDelay(60, 120))
LIVING = Profile(seed=7, delay=LognormalDelay(2, 0.5, 10), traffic=EVERY)
STILL = replace(LIVING, traffic=None)
PATIENT = replace(LIVING, delay=ConstantDelay(10), traffic=Traffic(ConstantDelay(100)))

Happening = tuple[int, int, int, int]


def expected(profile: Profile, count: int, seconds: int) -> list[Happening]:
    """Return device, attempt, microsecond and status of all that happens, by the book."""
    traffic = profile.traffic
    assert traffic is not None
    happenings = []
    for device_id in range(1, count + 1):
        attempt, moment = 0, traffic.first(profile.seed, device_id)
        while moment is not None and moment <= seconds * SECOND:
            attempt += 1
            outcome, delay = draw(profile, device_id, attempt, moment)
            happenings.append((moment, device_id, attempt, 202))
            end = moment + delay
            if end <= seconds * SECOND:
                happenings.append((end, device_id, attempt, outcome.sync_status_code))
            moment = end + traffic.pause(profile.seed, device_id, attempt)
    return [(device, attempt, at, code) for at, device, attempt, code in sorted(happenings)]


async def told(
    home: StoreHarness, heard: RecordingObserver, fleet: str = F
) -> list[tuple[int, int, int]]:
    """Return device, attempt and status of all that was told, in its order."""
    await home.hear()
    return [
        (each.device_id, each.attempt, each.sync_status_code)
        for each in heard.changes(fleet)
        if isinstance(each, Device)
    ]


async def fresh(store: Store, profile: Profile, count: int = 20, name: str = "lab") -> None:
    """Make a fleet, and stop its clock at its beginning or a little after."""
    await store.fleets.put(name, Generated(count), profile)
    await manual(store, name)


async def advance_to(store: Store, seconds: float, name: str = "lab") -> int:
    """Move a fleet's clock to so many seconds after its beginning."""
    view = await store.queries.fleet(name)
    until = view.started_at + round(seconds * SECOND)
    return (await store.finisher.advance(name, until - view.clock.now)).finished


def relative(found: Sequence[Device], started_at: int) -> list[Device]:
    """Return devices whose times begin with their fleet."""
    return [
        each._replace(
            last_attempt_at=each.last_attempt_at - started_at,
            last_sync_at=each.last_sync_at and each.last_sync_at - started_at,
            pending=each.pending
            and each.pending._replace(
                due_at=each.pending.due_at and each.pending.due_at - started_at
            ),
        )
        for each in found
    ]


async def history(store: Store, name: str) -> tuple[list[Device], list[ErrorLog]]:
    """Return all that a fleet's first devices and error logs tell, from its beginning on."""
    started_at = (await store.queries.fleet(name)).started_at
    logs = [
        log._replace(occurred_at=log.occurred_at - started_at) for log in await logs_of(store, name)
    ]
    return relative(await devices(store, name), started_at), logs


async def logs_of(store: Store, name: str) -> list[ErrorLog]:
    page = await store.queries.errors(name, ErrorFilter(), 1000)
    return list(reversed(page.error_logs))


async def test_devices_sync_as_the_seed_says_and_are_told_in_due_order(
    store: Store, home: StoreHarness, heard: RecordingObserver
) -> None:
    await fresh(store, LIVING)
    finished = await advance_to(store, 1000)
    by_the_book = expected(LIVING, 20, 1000)
    assert await told(home, heard, "lab") == [
        (device, attempt, code) for device, attempt, _, code in by_the_book
    ]
    assert finished == len([1 for *_, code in by_the_book if code != 202])
    found, logs = await history(store, "lab")
    for device in found:
        last = [each for each in by_the_book if each[0] == device.device_id and each[3] == 202][-1]
        assert (device.attempt, device.last_attempt_at) == (last[1], last[2])
    assert [(log.device_id, log.attempt, log.occurred_at) for log in logs] == [
        (device, attempt, at) for device, attempt, at, code in by_the_book if code not in (200, 202)
    ]
    ledger = await store.queries.ledger("lab")
    assert ledger.balanced
    assert ledger.accepted == len([1 for *_, code in by_the_book if code == 202])


async def test_no_step_is_too_small_and_none_too_large_to_change_the_history(store: Store) -> None:
    await fresh(store, LIVING, name="a")
    await fresh(store, LIVING, name="b")
    await advance_to(store, 600, "a")
    for seconds in (1, 2.5, 61, 62, 62.000001, 300, 599, 600):
        await advance_to(store, seconds, "b")
    assert await history(store, "a") == await history(store, "b")


async def test_a_real_clock_gives_the_same_history_however_late_it_is_looked_at(
    store: Store, home: StoreHarness
) -> None:
    await store.fleets.put("real", Generated(20), LIVING)
    await store.finisher.set_clock("real", 3600)
    for _ in range(3):
        await home.pass_time(0.1)
        await finish_all_due(store)
    await manual(store, "real")
    view = await store.queries.fleet("real")
    seconds = (view.clock.now - view.started_at) / SECOND
    assert seconds > 1000
    await store.finisher.advance("real", 0)
    await fresh(store, LIVING)
    await advance_to(store, seconds)
    assert await history(store, "real") == await history(store, "lab")


@pytest.mark.parametrize("home", DURABLE, indirect=True)
async def test_the_next_store_goes_on_with_the_same_history(store: Store, reopen: Reopen) -> None:
    await fresh(store, LIVING, name="a")
    await fresh(store, LIVING, name="b")
    for seconds in (30, 100, 400):
        await advance_to(store, seconds, "a")
        await advance_to(store, seconds, "b")
        store = await reopen()
    await advance_to(store, 700, "a")
    await fresh(store, LIVING, name="b")
    await advance_to(store, 700, "b")
    assert await history(store, "a") == await history(store, "b")


async def test_a_clients_sync_puts_off_the_devices_own(store: Store) -> None:
    await fresh(store, PATIENT, 1)
    first = PATIENT.traffic.first(7, 1) if PATIENT.traffic else None
    assert first is not None
    assert first > 20 * SECOND, "a seed for which there is time before"
    await advance_to(store, 5)
    await start(store, 1, fleet="lab")
    await advance_to(store, 114.9)
    assert (await store.queries.device("lab", 1)).attempt == 1
    await advance_to(store, 115.1)
    device = await store.queries.device("lab", 1)
    assert (device.attempt, device.is_pending) == (2, True)
    assert await store.starter.begin("lab", [1]) == [(SyncDecision.JOINED, device)]


async def test_a_moment_passes_where_something_is_held_until_then(store: Store) -> None:
    await fresh(store, PATIENT, 1)
    await store.fleets.set_script("lab", 1, HOLD)
    await start(store, 1, fleet="lab")
    await advance_to(store, 5000)
    assert (await store.queries.device("lab", 1)).attempt == 1
    await store.finisher.release("lab", 1, SUCCEEDED)
    await advance_to(store, 5099)
    assert (await store.queries.device("lab", 1)).attempt == 1
    await advance_to(store, 5101)
    assert (await store.queries.device("lab", 1)).attempt == 2


async def test_own_attempts_follow_scripts_and_phases(store: Store) -> None:
    failing = (WeightedOutcome(FULL, 1),)
    profile = replace(
        PATIENT,
        outcomes=(WeightedOutcome(SUCCEEDED, 1),),
        phases=(Phase(0, 150, failing),),
    )
    await fresh(store, profile, 1)
    await store.fleets.set_script("lab", 1, Script((Step(SUCCEEDED, 0), Step(FULL, 3 * SECOND))))
    await advance_to(store, 140)
    await advance_to(store, 600)
    logs = await logs_of(store, "lab")
    assert [log.attempt for log in logs] == [2]
    assert [log.error_message for log in logs] == ["Storage Full"]


async def test_a_fleet_that_is_full_lets_moments_pass(store: Store) -> None:
    profile = replace(PATIENT, max_pending=1, delay=ConstantDelay(50))
    await fresh(store, profile)
    for seconds in range(50, 1000, 50):
        await advance_to(store, seconds)
        assert (await store.queries.stats("lab")).pending <= 1
    ledger = await store.queries.ledger("lab")
    assert ledger.balanced
    assert ledger.refused > 20
    assert ledger.accepted > 5


async def test_a_share_of_the_devices_lives(store: Store) -> None:
    traffic = Traffic(ConstantDelay(10), 0.3)
    await fresh(store, replace(LIVING, traffic=traffic))
    await advance_to(store, 100)
    living = [each.device_id for each in await devices(store, "lab") if each.attempt]
    assert living == [each for each in range(1, 21) if traffic.takes_part(7, each)]
    assert 0 < len(living) < 20
    # Those that do not still do what clients ask, and no more.
    (still, *_) = set(range(1, 21)) - set(living)
    await start(store, still, fleet="lab")
    await advance_to(store, 500)
    assert (await store.queries.device("lab", still)).attempt == 1


async def test_a_change_of_the_profile_begins_and_ends_it(store: Store) -> None:
    await fresh(store, STILL)
    await advance_to(store, 1000)
    assert (await store.queries.ledger("lab")).accepted == 0
    await store.fleets.change_profile("lab", lambda each: replace(each, traffic=EVERY))
    await advance_to(store, 1121)
    accepted = (await store.queries.ledger("lab")).accepted
    assert accepted >= 20
    assert {each.attempt for each in await devices(store, "lab")} <= {1, 2}
    await store.fleets.change_profile("lab", lambda each: replace(each, traffic=None))
    await advance_to(store, 9000)
    ledger = await store.queries.ledger("lab")
    assert (ledger.accepted, ledger.pending) == (accepted, 0)
    # Again, from now on, though moments from before were left over.
    await store.fleets.change_profile(
        "lab", lambda each: replace(each, traffic=Traffic(ConstantDelay(5000)))
    )
    await advance_to(store, 9000 + 5001)
    assert (await store.queries.ledger("lab")).accepted == accepted + 20


async def test_a_fleet_that_lives_no_longer_settles_and_finishes(store: Store) -> None:
    """Moments that are left over stand in the way of nothing."""
    await fresh(store, LIVING, count=2000)
    await advance_to(store, 200)
    await store.fleets.change_profile("lab", lambda each: replace(each, traffic=None))
    await store.finisher.settle("lab")
    await store.finisher.set_clock("lab", 1)
    assert await store.finisher.next_due() is None
    await store.starter.begin("lab", range(1, 21))
    async with asyncio.timeout(20):
        assert (await store.finisher.settle("lab")).finished == 20
    assert (await store.queries.ledger("lab")).balanced


async def test_another_change_of_the_profile_leaves_the_moments(store: Store) -> None:
    await fresh(store, PATIENT)
    await fresh(store, PATIENT, name="other")
    await advance_to(store, 300, "other")
    await advance_to(store, 150)
    await store.fleets.change_profile("lab", lambda each: replace(each, max_pending=500))
    await advance_to(store, 300)
    assert await history(store, "lab") == await history(store, "other")


async def test_a_reset_takes_it_back_to_its_beginning(store: Store) -> None:
    await fresh(store, LIVING)
    await advance_to(store, 500)
    before = await history(store, "lab")
    await store.fleets.reset("lab")
    await manual(store, "lab")
    await advance_to(store, 500)
    assert await history(store, "lab") == before


async def test_a_deleted_fleet_takes_it_along(
    store: Store, home: StoreHarness, heard: RecordingObserver
) -> None:
    await store.fleets.put("lab", Generated(20), LIVING)
    await store.finisher.set_clock("lab", 3600)
    await store.fleets.delete("lab")
    heard.forget()
    await home.pass_time(0.1)
    await finish_all_due(store)
    assert await told(home, heard, "lab") == []
    assert await store.finisher.next_due() is None


async def test_settle_looks_at_what_is_pending_alone(store: Store) -> None:
    await fresh(store, PATIENT)
    await advance_to(store, 1000)
    pending = [each for each in await devices(store, "lab") if each.pending]
    moved = await store.finisher.settle("lab")
    dues = [each.pending.due_at for each in pending if each.pending and each.pending.due_at]
    assert moved.now == max(dues, default=moved.now)
    # With a real clock, time does not move, and so nothing begins.
    await store.finisher.set_clock("lab", 1)
    accepted = (await store.queries.ledger("lab")).accepted
    await store.finisher.settle("lab")
    stats = await store.queries.stats("lab")
    assert (stats.attempts, stats.pending) == (accepted, 0)


async def test_beside_clients_resets_and_clocks_that_change_nothing_is_lost_or_doubled(
    store: Store, home: StoreHarness
) -> None:
    profile = replace(LIVING, traffic=Traffic(UniformDelay(0, 30)), max_pending=15)
    await store.fleets.put("lab", Generated(20), profile)
    ended = asyncio.Event()

    async def go_on(step: Callable[[], Awaitable[None]]) -> None:
        while not ended.is_set():
            with suppress(FleetReplaced, NoSuchFleet):
                await step()
            await asyncio.sleep(0)

    async def sync() -> None:
        begun = await store.starter.begin("lab", range(1, 21))
        assert set(verdicts(begun)) <= {
            SyncDecision.STARTED,
            SyncDecision.JOINED,
            SyncDecision.FULL,
        }

    async def change_clock() -> None:
        for speed in (3600, 0, 50_000):
            await store.finisher.set_clock("lab", speed)
            if not speed:
                with suppress(FleetReplaced):
                    await store.finisher.settle("lab")
            await home.pass_time(0.01)

    async def reset() -> None:
        await home.pass_time(0.05)
        await store.fleets.reset("lab")

    async def finish() -> None:
        await store.finisher.finish_due(256)

    async def check() -> None:
        assert (await store.queries.ledger("lab")).balanced

    tasks = [
        asyncio.create_task(go_on(each)) for each in (sync, change_clock, reset, finish, check)
    ]
    await asyncio.sleep(1)
    ended.set()
    await asyncio.gather(*tasks)
    await manual(store, "lab")
    await store.finisher.advance("lab", 3600 * SECOND)
    ledger = await store.queries.ledger("lab")
    assert ledger.balanced
    assert ledger.accepted > 1000
    attempts = sum(each.attempt for each in await devices(store, "lab"))
    assert attempts == ledger.accepted
