"""The ledger: what became of every sync, and the proof that nothing was lost."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pisync.model import device as transitions
from pisync.model.device import Device, Failure
from tests.conftest import Answer, Api, MakeApi, ManualTime
from tests.support.fleet_lab import (
    FULL,
    HOLD,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    Json,
    MakeFleetLab,
    make_lab,
)

MISSING = {"sync_status_code": 404, "error_message": "Server Not Reachable"}
OTHER = {"sync_status_code": 500, "error_message": "Unknown Sync Error"}
MIXED = [{**each, "weight": 1} for each in (SUCCESS, FULL, MISSING, TIMEOUT, OTHER)]
NOTHING = {
    "accepted": 0,
    "joined": 0,
    "refused": 0,
    "succeeded": 0,
    "failed": {},
    "pending": 0,
    "held": 0,
    "error_logs": 0,
    "lateness": {"p50": 0, "p99": 0, "max": 0},
    "faults": {"before": {}, "after": {}},
    "balanced": True,
}


async def test_a_new_fleets_ledger_is_empty_and_balanced(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=[{"device_id": 1, **FULL}])
    assert await lab.ledger() == NOTHING


async def test_the_first_datas_error_logs_are_not_counted(admin: Api) -> None:
    assert (await admin.get("/admin/fleets/default/ledger")).json == NOTHING
    assert (await admin.get("/errors")).json != []


async def test_each_sync_is_counted_where_it_belongs(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(max_pending=8)
    steps: list[Json] = [SUCCESS, FULL, FULL, MISSING, TIMEOUT, OTHER, HOLD]
    for device_id, step in enumerate(steps, 1):
        await lab.script(device_id, step)
        await lab.sync(device_id)
    await lab.sync(7)
    await lab.sync(8)
    await lab.sync(9)
    expected = {
        **NOTHING,
        "accepted": 8,
        "joined": 1,
        "refused": 1,
        "pending": 8,
        "held": 1,
    }
    assert await lab.ledger() == expected
    await lab.settle()
    failed = {
        "400": {"Storage Full": 2},
        "404": {"Server Not Reachable": 1},
        "500": {"Connection Timeout": 1, "Unknown Sync Error": 1},
    }
    expected |= {"succeeded": 2, "failed": failed, "pending": 1, "error_logs": 5}
    assert await lab.ledger() == expected
    await lab.release(7, {**FULL, "error_message": "Somebody else's message"})
    failed["400"]["Somebody else's message"] = 1
    assert await lab.ledger() == {**expected, "pending": 0, "held": 0, "error_logs": 6}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_sync_that_is_refused_is_counted_where_there_are_faults_too(
    new_lab: MakeFleetLab, when: str
) -> None:
    lab = await new_lab(max_pending=1, when_pending="refuse")
    await lab.sync(1)
    rule = {"calls": ["sync"], "fault": {"kind": "status", "status": 500}, "when": when}
    assert (await lab.api.put(f"{lab.path}/faults", [rule])).status == 200
    assert (await lab.sync(1)).status == 409
    assert (await lab.sync(2)).status == 503
    assert (await lab.sync(99)).status == 404
    assert await lab.ledger() == {**NOTHING, "accepted": 1, "refused": 2, "pending": 1}


@pytest.mark.slow
async def test_it_balances_at_every_moment(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(
        devices=60,
        mode="real",
        outcomes=MIXED,
        delay={"distribution": "uniform", "min": 0, "max": 0.02},
    )
    for _ in range(30):
        await asyncio.gather(*(lab.sync(each) for each in range(1, 61, 2)))
        ledger = await lab.ledger()
        failed = sum(sum(each.values()) for each in ledger["failed"].values())
        assert ledger["balanced"]
        assert ledger["accepted"] == ledger["succeeded"] + failed + ledger["pending"]
        assert failed == ledger["error_logs"]


@pytest.mark.slow
async def test_it_equals_what_five_hundred_clients_counted_on_their_side(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(
        devices=80,
        mode="real",
        outcomes=MIXED,
        delay={"distribution": "uniform", "min": 0, "max": 0.05},
        max_pending=60,
    )
    came: Counter[str] = Counter()
    attempts: set[tuple[int, str]] = set()

    async def client(number: int) -> None:
        for turn in range(4):
            device_id = (number * 7 + turn * 13) % 80 + 1
            answer = await lab.sync(device_id)
            came[str(answer.status)] += 1
            if answer.status == 202:
                attempts.add((device_id, answer.headers["Pisync-Attempt"]))
            await asyncio.sleep(0.002 * (number % 9))

    await asyncio.gather(*(client(number) for number in range(500)))
    await lab.finished()
    ledger, errors = await lab.ledger(), await lab.errors()
    assert ledger["balanced"]
    assert came.total() == 2_000
    assert ledger["accepted"] == len(attempts)
    assert ledger["accepted"] + ledger["joined"] == came["202"]
    assert ledger["refused"] == came["503"] > 0
    # What clients can see of the ends: an error log for each failure, by code and message.
    seen = Counter((str(each["sync_status_code"]), each["error_message"]) for each in errors)
    assert seen == {
        (code, message): count
        for code, messages in ledger["failed"].items()
        for message, count in messages.items()
    }
    assert ledger["error_logs"] == len(errors)
    assert ledger["succeeded"] == len(attempts) - len(errors)
    assert {(each["device_id"], str(each["attempt"])) for each in errors} <= attempts


# What breaks it on purpose


def _loses_the_error_log(finish: Any) -> Any:
    def broken(device: Device, now: int) -> tuple[Device, Failure | None]:
        finished, _ = finish(device, now)
        return finished, None

    return broken


def _takes_a_failure_for_a_success(finish: Any) -> Any:
    def broken(device: Device, now: int) -> tuple[Device, Failure | None]:
        finished, failure = finish(device, now)
        return finished._replace(sync_status_code=200, error_message=None), failure

    return broken


def _forgets_that_it_is_pending(begin: Any) -> Any:
    def broken(*args: Any) -> Device:
        begun: Device = begin(*args)
        return begun._replace(pending=None, sync_status_code=200)

    return broken


@pytest.mark.parametrize(
    ("transition", "breaking"),
    [
        ("finish", _loses_the_error_log),
        ("finish", _takes_a_failure_for_a_success),
        ("begin", _forgets_that_it_is_pending),
    ],
)
async def test_a_transition_that_is_broken_shows(
    lab: FleetLab, monkeypatch: pytest.MonkeyPatch, transition: str, breaking: Callable[[Any], Any]
) -> None:
    await lab.script(1, FULL, FULL)
    await lab.sync(1)
    await lab.settle()
    assert (await lab.ledger())["balanced"]
    await lab.sync(2)
    monkeypatch.setattr(transitions, transition, breaking(getattr(transitions, transition)))
    await lab.sync(1)
    await lab.settle()
    assert not (await lab.ledger())["balanced"]


# Lateness


async def test_lateness_is_in_real_seconds_of_what_finished_by_itself(
    make_api: MakeApi,
) -> None:
    time = ManualTime()
    admin = (await make_api(time=time)).as_("devices", "admin")
    lab = await make_lab(admin, mode="real", delay={"distribution": "constant", "seconds": 0.05})
    for late in (0.0, 0.25, 1.5):
        await lab.sync(1)
        time.pass_seconds(0.05 + late)
        await lab.finished()
    lateness = (await lab.ledger())["lateness"]
    assert lateness["p50"] == pytest.approx(0.25)
    assert lateness["p99"] == lateness["max"] == pytest.approx(1.5)


async def test_lateness_does_not_grow_with_the_speed(make_api: MakeApi) -> None:
    time = ManualTime()
    admin = (await make_api(time=time)).as_("devices", "admin")
    lab = await make_lab(admin, mode="real", delay={"distribution": "constant", "seconds": 5})
    await lab.clock("real", speed=100)
    await lab.sync(1)
    time.pass_seconds(0.05 + 0.3)
    await lab.finished()
    assert (await lab.ledger())["lateness"]["max"] == pytest.approx(0.3)
    # Overdue by 20 s of the fleet's time when it slows down: none of them was a real one.
    await lab.sync(2)
    time.pass_seconds(0.05 + 0.2)
    await lab.clock("real", speed=0.001)
    await lab.finished()
    assert (await lab.ledger())["lateness"]["max"] == pytest.approx(0.3)


async def test_lateness_leaves_out_what_was_advanced_settled_or_released(lab: FleetLab) -> None:
    await lab.script(1, HOLD)
    await lab.sync_all()
    await lab.advance(3_600)
    await lab.release(1)
    await lab.sync_all()
    await lab.settle()
    await lab.clock("real")
    await lab.sync(3)
    await lab.settle()
    assert (await lab.ledger())["lateness"] == {"p50": 0, "p99": 0, "max": 0}


async def test_lateness_under_load_is_small(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(
        devices=500, mode="real", delay={"distribution": "uniform", "min": 0.01, "max": 0.3}
    )
    answers: list[Answer] = await asyncio.gather(*(lab.sync(each) for each in range(1, 501)))
    assert {each.status for each in answers} == {202}
    await lab.finished()
    lateness = (await lab.ledger())["lateness"]
    print(f"lateness: {lateness}")  # noqa: T201 - `pytest -s` shows it
    assert 0 <= lateness["p50"] <= lateness["p99"] <= lateness["max"] < 5


async def test_a_reset_clears_lateness(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(mode="real", delay={"distribution": "constant", "seconds": 0})
    await lab.sync_all()
    await lab.finished()
    assert (await lab.ledger())["lateness"]["max"] > 0
    await lab.reset()
    assert (await lab.ledger())["lateness"] == {"p50": 0, "p99": 0, "max": 0}
