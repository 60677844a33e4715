"""A fleet's time: real, sped up, or moved by hand, and never backwards."""

import asyncio
import random
import time as cpu
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from pisync import keys
from tests.conftest import Api, MakeApi, ManualTime
from tests.support.fleet_lab import (
    FULL,
    HOLD,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    MakeFleetLab,
    make_lab,
)

LAST = "9999-12-31T23:59:59.999999Z"
TO_THE_END = 300_000_000_000
"""Seconds that lead past the year 9999."""


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def between(earlier: str, later: str) -> float:
    """Seconds from one timestamp to another."""
    return (moment(later) - moment(earlier)) / timedelta(seconds=1)


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
async def timed(make_api: MakeApi, time: ManualTime) -> Api:
    """An admin of a service whose machine's clocks are moved by hand."""
    return (await make_api(time=time)).as_("devices", "admin")


def soon(seconds: float) -> dict[str, object]:
    return {"distribution": "constant", "seconds": seconds}


# The clock as it is told


async def test_a_clock_tells_its_mode_speed_and_time(timed: Api) -> None:
    lab = await make_lab(timed, mode="real")
    now = "2025-11-22T08:26:40.000000Z"
    assert await lab.clock("real") == {"mode": "real", "speed": 1, "now": now}
    assert await lab.clock("real", speed=10) == {"mode": "real", "speed": 10, "now": now}
    manual = await lab.clock("manual")
    assert (manual["mode"], manual["now"]) == ("manual", now)
    assert set(manual) == {"mode", "speed", "now"}
    fleet = (await lab.api.get(lab.path)).json
    assert fleet["clock"] == manual


async def test_a_fleet_starts_on_a_real_clock_at_the_wall_clocks_time(timed: Api) -> None:
    await timed.put("/admin/fleets/lab", {"devices": 1})
    clock = (await timed.get("/admin/fleets/lab")).json["clock"]
    assert clock == {"mode": "real", "speed": 1, "now": "2025-11-22T08:26:40.000000Z"}


@pytest.mark.parametrize("speed", [1, 0.5, 10, 100_000])
async def test_real_time_runs_at_its_speed(timed: Api, time: ManualTime, speed: float) -> None:
    lab = await make_lab(timed, mode="real")
    start = (await lab.clock("real", speed=speed))["now"]
    for passed in (2, 100):
        time.pass_seconds(passed)
    assert between(start, await lab.now()) == 102 * speed


async def test_a_real_clock_without_a_speed_runs_at_full_speed(
    timed: Api, time: ManualTime
) -> None:
    lab = await make_lab(timed, mode="real")
    await lab.clock("real", speed=10)
    start = (await lab.clock("real"))["now"]
    time.pass_seconds(7)
    assert between(start, await lab.now()) == 7


async def test_a_manual_clock_stands_still(timed: Api, time: ManualTime) -> None:
    lab = await make_lab(timed)
    start = await lab.now()
    time.pass_seconds(100)
    assert await lab.now() == start


async def test_a_clock_that_is_none_is_refused(lab: FleetLab, subtests: pytest.Subtests) -> None:
    for body, field in (
        ({}, "mode"),
        ({"mode": "fast"}, "mode"),
        ({"mode": "Manual"}, "mode"),
        ({"mode": 1}, "mode"),
        ({"mode": None}, "mode"),
        ({"speed": 2}, "mode"),
        ({"mode": "manual", "speed": 1}, "speed"),
        ({"mode": "manual", "speed": 0}, "speed"),
        ({"mode": "auto", "speed": 1}, "speed"),
        ({"mode": "real", "speed": 0}, "speed"),
        ({"mode": "real", "speed": -0.0}, "speed"),
        ({"mode": "real", "speed": -1}, "speed"),
        ({"mode": "real", "speed": 100_000.001}, "speed"),
        ({"mode": "real", "speed": "10"}, "speed"),
        ({"mode": "real", "speed": True}, "speed"),
        ({"mode": "real", "speed": None}, "speed"),
        ({"mode": "real", "now": "2026-11-22T07:40:12.000000Z"}, "now"),
    ):
        with subtests.test(body=body):
            answer = await lab.api.put(f"{lab.path}/clock", body)
            answer.assert_problem(422, field)
    assert (await lab.api.get(lab.path)).json["clock"]["mode"] == "manual"


async def test_any_speed_above_zero_is_taken(lab: FleetLab) -> None:
    for speed in (1e-300, 0.001, 1, 99_999.5, 100_000):
        assert (await lab.clock("real", speed=speed))["speed"] == speed
        assert (await lab.sync(1)).status == 202
    await lab.finished()


# Never backwards


async def test_a_change_goes_on_from_the_present_time(timed: Api, time: ManualTime) -> None:
    lab = await make_lab(timed)
    start = await lab.now()
    await lab.advance(1_000)
    assert between(start, (await lab.clock("real"))["now"]) == 1_000
    time.pass_seconds(5)  # at full speed, ahead of the wall clock
    assert between(start, (await lab.clock("real", speed=100))["now"]) == 1_005
    time.pass_seconds(5)
    assert between(start, (await lab.clock("manual"))["now"]) == 1_505
    time.pass_seconds(5)
    assert between(start, (await lab.clock("real", speed=0.1))["now"]) == 1_505
    time.pass_seconds(5)
    assert between(start, await lab.now()) == 1_505.5


async def test_time_never_runs_backwards(timed: Api, time: ManualTime) -> None:
    lab = await make_lab(timed, devices=3, delay={"distribution": "uniform", "min": 0, "max": 100})
    chance = random.Random(11)  # noqa: S311 - nothing secret hangs on it
    last = await lab.now()
    for _ in range(200):
        match chance.randrange(7):
            case 0:
                await lab.clock("real", speed=chance.choice((1, 0.3, 7, 100_000, 1e-9)))
            case 1:
                await lab.clock("manual")
            case 2:
                await lab.api.post(f"{lab.path}/advance", {"seconds": chance.choice((0, 0.1, 99))})
            case 3:
                await lab.settle()
            case 4:
                time.wall_time -= chance.randrange(10**10)
            case 5:
                await lab.sync(chance.randint(1, 3))
            case _:
                time.pass_seconds(chance.choice((0, 1e-6, 0.5, 50)))
        now = await lab.now()
        assert now >= last
        last = now
    assert (await lab.ledger())["balanced"]


async def test_only_a_reset_brings_time_back_to_the_wall_clock(
    timed: Api, time: ManualTime
) -> None:
    lab = await make_lab(timed)
    await lab.advance(10**6)
    time.pass_seconds(3)
    await lab.reset()
    clock = (await timed.get(lab.path)).json["clock"]
    assert clock == {"mode": "real", "speed": 1, "now": "2025-11-22T08:26:43.000000Z"}


# The machine's clock steps back


async def test_the_machines_clock_stepping_back_holds_no_sync_up(
    timed: Api, time: ManualTime
) -> None:
    lab = await make_lab(timed, mode="real", delay=soon(0.05))
    await lab.sync(1)
    time.wall_time -= 3_600_000_000
    await lab.sync(2)
    await asyncio.sleep(0.1)
    assert (await lab.stats())["pending"] == 2
    time.monotonic_time += 50_000
    await lab.finished()


async def test_attempts_stay_in_order_though_the_machines_clock_steps_back(
    timed: Api, time: ManualTime
) -> None:
    lab = await make_lab(timed, mode="real", delay=soon(0.01), outcomes=[{**FULL, "weight": 1}])
    last = ""
    for step in (0, -3_600, 10, -86_400, 0):
        time.wall_time += step * 1_000_000
        at = (await lab.sync(1)).json["last_attempt_at"]
        assert at > last
        last = at
        time.pass_seconds(0.02)
        await lab.finished()
        device = await lab.device(1)
        assert device["last_sync_at"] <= device["last_attempt_at"] == at
    logs = await lab.errors()
    assert [each["attempt"] for each in logs] == [5, 4, 3, 2, 1]


async def test_a_reset_after_the_machines_clock_stepped_back_holds_no_sync_up(
    timed: Api, time: ManualTime
) -> None:
    lab = await make_lab(timed, mode="real", delay=soon(0.05))
    first = await lab.device(1)
    time.wall_time -= 3_600_000_000
    await lab.reset()
    assert await lab.device(1) == first
    await lab.script(1, {**FULL, "delay": 0.05}, SUCCESS)
    for _ in range(2):
        # The previous attempt lies in the fleet's future: the next one's time is not before it.
        assert (await lab.sync(1)).json["last_attempt_at"] == first["last_attempt_at"]
        time.pass_seconds(0.05)
        await lab.finished()
    device = await lab.device(1)
    assert device["last_sync_at"] == device["last_attempt_at"] == first["last_attempt_at"]
    (log,) = await lab.errors()
    assert log["occurred_at"] >= first["last_attempt_at"]


async def test_a_last_attempt_in_the_future_holds_no_sync_up(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=[{"device_id": 1, "last_attempt_at": LAST}])
    started = (await lab.sync(1)).json
    assert started["last_attempt_at"] == LAST
    assert (await lab.advance(10))["finished"] == 1
    assert await lab.device(1) == {**started, "sync_status_code": 200}


# Real time


async def test_syncs_finish_after_their_delay_at_the_clocks_speed(
    timed: Api, time: ManualTime
) -> None:
    lab = await make_lab(timed, mode="real", delay=soon(0.5))
    await lab.clock("real", speed=10)
    await lab.sync(1)
    time.pass_seconds(0.049)
    await asyncio.sleep(0.12)
    assert (await lab.device(1))["sync_status_code"] == 202
    time.pass_seconds(0.001)
    await lab.finished()


async def test_pending_syncs_follow_a_change_of_the_clock(timed: Api, time: ManualTime) -> None:
    lab = await make_lab(timed, mode="real", delay=soon(100))
    await lab.sync(1)
    time.pass_seconds(50)
    await lab.clock("real", speed=1_000)  # 50 s left take 50 ms
    time.pass_seconds(0.04)
    await lab.clock("manual")
    time.pass_seconds(1_000)
    await asyncio.sleep(0.05)
    assert (await lab.device(1))["sync_status_code"] == 202
    await lab.clock("real", speed=1_000)
    await asyncio.sleep(0.05)
    assert (await lab.device(1))["sync_status_code"] == 202
    time.pass_seconds(0.01)
    await lab.finished()


async def test_what_an_advance_left_pending_finishes_by_itself_in_real_time(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(delay=soon(100))
    await lab.sync_all()
    await lab.advance(99.99)
    await lab.clock("real")
    await lab.finished()
    assert (await lab.stats())["succeeded"] == 10


# Advance


async def test_with_a_manual_clock_nothing_finishes_by_itself(timed: Api, time: ManualTime) -> None:
    lab = await make_lab(timed, delay=soon(0))
    await lab.sync_all()
    time.pass_seconds(3_000)
    await asyncio.sleep(0.1)
    assert (await lab.stats())["pending"] == 10
    assert await lab.advance(0) == {"now": await lab.now(), "finished": 10}


async def test_a_manual_clock_does_not_keep_the_service_busy(
    new_lab: MakeFleetLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = await new_lab(delay=soon(0))
    assert lab.api.client.app is not None
    finisher = lab.api.client.app[keys.STORE].finisher
    looks = 0

    async def look(limit: int) -> int:
        nonlocal looks
        looks += 1
        return await finish_due(limit)

    finish_due: Callable[[int], Awaitable[int]] = finisher.finish_due
    monkeypatch.setattr(finisher, "finish_due", look)
    await lab.sync_all()
    await asyncio.sleep(0.2)
    assert looks < 10


async def test_advance_fires_what_is_due_and_exactly_that(lab: FleetLab) -> None:
    for device_id, delay in ((1, 9.999999), (2, 10), (3, 10.000001), (4, 0)):
        await lab.script(device_id, {**SUCCESS, "delay": delay})
        await lab.sync(device_id)
    start = await lab.now()
    moved = await lab.advance(10)
    assert moved == {"now": await lab.now(), "finished": 3}
    assert between(start, moved["now"]) == 10
    assert [(await lab.device(each))["sync_status_code"] for each in (1, 2, 3, 4)] == [
        200,
        200,
        202,
        200,
    ]
    assert (await lab.advance(0.000001))["finished"] == 1
    assert (await lab.advance(0))["finished"] == 0


async def test_advance_fires_in_due_order(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(
        devices=1_000,
        outcomes=[{**TIMEOUT, "weight": 1}],
        delay={"distribution": "uniform", "min": 0, "max": 60},
    )
    await lab.sync_all()
    start = await lab.now()
    assert (await lab.advance(60))["finished"] == 1_000
    moments = [each["occurred_at"] for each in reversed(await lab.errors())]
    assert moments == sorted(moments)
    assert len(set(moments)) > 900
    assert start <= moments[0] < moments[-1] <= await lab.now()


async def test_advance_has_finished_everything_when_it_answers(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=2_000)
    await lab.sync_all()
    assert (await lab.advance(10))["finished"] == 2_000
    stats = await lab.stats()
    assert (stats["pending"], stats["succeeded"]) == (0, 2_000)


async def test_two_advances_at_once_add_up(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=1_000)
    start = await lab.now()
    await lab.sync_all()
    moved = await asyncio.gather(*(lab.advance(1) for _ in range(20)))
    assert between(start, await lab.now()) == 20
    assert sum(each["finished"] for each in moved) == 1_000
    assert sorted(between(start, each["now"]) for each in moved) == list(range(1, 21))


async def test_advance_of_a_real_clock_is_409(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(mode="real")
    await lab.sync(1)
    for speed in (1, 50):
        before = await lab.clock("real", speed=speed)
        (await lab.api.post(f"{lab.path}/advance", {"seconds": 1})).assert_problem(409)
        assert between(before["now"], await lab.now()) < 0.9 * speed
    assert (await lab.stats())["pending"] == 1


@pytest.mark.parametrize("seconds", [TO_THE_END, 1e15, 1e300, 1e305, 1.7e308])
async def test_past_the_year_9999_is_422_and_nothing_moves(lab: FleetLab, seconds: float) -> None:
    await lab.sync(1)
    start = await lab.now()
    answer = await lab.api.post(f"{lab.path}/advance", {"seconds": seconds})
    answer.assert_problem(422, "seconds")
    assert await lab.now() == start
    assert (await lab.stats())["pending"] == 1
    assert (await lab.advance(10))["finished"] == 1


async def test_the_last_microsecond_of_the_year_9999_can_be_reached(lab: FleetLab) -> None:
    left = moment(LAST) - moment(await lab.now())
    # A float does not hold so many seconds to the microsecond: first the days, then the rest.
    await lab.advance(left.days * 86_400)
    await lab.advance((left - timedelta(days=left.days)) / timedelta(seconds=1))
    assert await lab.now() == LAST
    (await lab.api.post(f"{lab.path}/advance", {"seconds": 1e-6})).assert_problem(422, "seconds")
    await lab.script(1, {**FULL, "delay": 86_400})
    assert (await lab.sync(1)).json["last_attempt_at"] == LAST
    assert await lab.advance(0) == {"now": LAST, "finished": 1}
    assert (await lab.errors())[0]["occurred_at"] == LAST
    await lab.clock("real", speed=100_000)
    assert await lab.now() == LAST
    await lab.sync(2)
    await lab.finished()


async def test_an_advance_that_is_none_is_refused(lab: FleetLab, subtests: pytest.Subtests) -> None:
    start = await lab.now()
    for body, field in (
        ({}, "seconds"),
        ({"seconds": -1e-9}, "seconds"),
        ({"seconds": "1"}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": None}, "seconds"),
        ({"seconds": 1, "minutes": 1}, "minutes"),
    ):
        with subtests.test(body=body):
            answer = await lab.api.post(f"{lab.path}/advance", body)
            answer.assert_problem(422, field)
    assert await lab.now() == start


# Settle


async def test_settle_moves_a_manual_clock_to_the_last_due_time(lab: FleetLab) -> None:
    for device_id, delay in ((1, 5), (2, 86_400), (3, 7)):
        await lab.script(device_id, {**SUCCESS, "delay": delay})
        await lab.sync(device_id)
    start = await lab.now()
    settled = await lab.settle()
    assert settled["finished"] == 3
    assert between(start, settled["now"]) == 86_400
    assert settled["now"] == await lab.now()


async def test_settle_finishes_all_now_on_a_real_clock(timed: Api) -> None:
    lab = await make_lab(
        timed, devices=700, mode="real", delay=soon(3_600), outcomes=[{**FULL, "weight": 1}]
    )
    await lab.sync_all()
    start = await lab.now()
    assert await lab.settle() == {"now": start, "finished": 700}
    assert (await lab.stats())["failed"] == 700
    # Finished by being settled, at this moment: no error log lies in the fleet's future.
    assert {each["occurred_at"] for each in await lab.errors()} == {start}


async def test_settle_with_nothing_pending_moves_nothing(lab: FleetLab) -> None:
    start = await lab.now()
    for _ in range(2):
        assert await lab.settle() == {"now": start, "finished": 0}
    await lab.sync(1)
    await lab.settle()
    after = await lab.now()
    assert await lab.settle() == {"now": after, "finished": 0}


@pytest.mark.parametrize("mode", ["manual", "real"])
async def test_held_syncs_stay_held_whatever_the_clock_does(
    new_lab: MakeFleetLab, mode: str
) -> None:
    lab = await new_lab(mode=mode)
    await lab.script(1, HOLD)
    await lab.sync_all()
    assert (await lab.settle())["finished"] == 9
    assert (await lab.settle())["finished"] == 0
    await lab.clock("manual")
    assert (await lab.advance(10**9))["finished"] == 0
    await lab.clock("real", speed=100_000)
    await asyncio.sleep(0.05)
    assert (await lab.device(1))["sync_status_code"] == 202
    assert (await lab.ledger())["held"] == 1


async def test_settle_and_advance_take_no_fleet_that_is_not_there(admin: Api) -> None:
    for call, body in (("settle", None), ("advance", {"seconds": 1})):
        (await admin.post(f"/admin/fleets/nowhere/{call}", body)).assert_problem(404)
    (await admin.put("/admin/fleets/nowhere/clock", {"mode": "real"})).assert_problem(404)


async def test_all_timestamps_of_a_fleet_are_in_its_own_time(lab: FleetLab) -> None:
    start = await lab.now()
    await lab.advance(10**9)
    await lab.script(1, {**FULL, "delay": 1}, SUCCESS)
    for _ in range(2):
        await lab.sync(1)
        await lab.settle()
    device = await lab.device(1)
    (log,) = await lab.errors()
    assert between(start, log["occurred_at"]) == 10**9 + 1
    assert between(start, device["last_attempt_at"]) == 10**9 + 1
    assert device["last_sync_at"] == device["last_attempt_at"]


@pytest.mark.slow
@pytest.mark.one_way
async def test_a_day_of_a_thousand_devices_runs_in_seconds(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(
        devices=1_000,
        outcomes=[{**SUCCESS, "weight": 7}, {**TIMEOUT, "weight": 3}],
        delay={"distribution": "lognormal", "median": 2, "sigma": 0.5, "max": 10},
    )
    # Processor time, since the machine may have other things to do.
    began = cpu.process_time()
    for _ in range(24 * 6):
        assert (await lab.sync_all())["started"] == 1_000
        assert (await lab.advance(600))["finished"] == 1_000
    took = cpu.process_time() - began
    print(f"a day of 1,000 devices: {took:.1f} s")  # noqa: T201 - `pytest -s` shows it
    assert took < 20
    ledger = await lab.ledger()
    assert (ledger["accepted"], ledger["balanced"]) == (144_000, True)
    assert 0.6 < ledger["succeeded"] / 144_000 < 0.8
