"""The forecast: what attempts will do, or did, by seed and profile."""

from datetime import datetime, timedelta
from typing import Any

from tests.conftest import Api
from tests.support.fleet_lab import (
    FULL,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    MakeFleetLab,
)

MIXED = [{**each, "weight": 1} for each in (SUCCESS, FULL, TIMEOUT)]
SPREAD = {"distribution": "lognormal", "median": 2, "sigma": 0.5, "max": 10}


async def happen(lab: FleetLab, device_id: int) -> dict[str, Any]:
    """Let a device's next attempt happen; return it as the forecast would tell it."""
    answer = await lab.sync(device_id)
    settled = await lab.settle()
    device = await lab.device(device_id)
    started, finished = map(datetime.fromisoformat, (device["last_attempt_at"], settled["now"]))
    return {
        "attempt": int(answer.headers["Pisync-Attempt"]),
        "sync_status_code": device["sync_status_code"],
        "error_message": device["error_message"],
        "delay": (finished - started) / timedelta(seconds=1),
    }


async def test_what_happens_is_what_was_forecast(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(outcomes=MIXED, delay=SPREAD)
    for device_id in (1, 7):
        forecast = await lab.forecast(device_id, 25)
        assert [each["attempt"] for each in forecast] == list(range(1, 26))
        assert [await happen(lab, device_id) for _ in range(25)] == forecast
        assert {each["sync_status_code"] for each in forecast} == {200, 400, 500}
        assert len({each["delay"] for each in forecast}) > 20


async def test_a_forecast_runs_nothing(lab: FleetLab) -> None:
    before = [await lab.devices(), await lab.stats(), await lab.ledger(), await lab.now()]
    for _ in range(3):
        await lab.forecast(1, 1_000)
    assert [await lab.devices(), await lab.stats(), await lab.ledger(), await lab.now()] == before
    assert (await lab.sync(1)).headers["Pisync-Attempt"] == "1"


async def test_it_starts_from_the_next_attempt_unless_told_otherwise(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(outcomes=MIXED, delay=SPREAD)
    everything = await lab.forecast(1, 10, **{"from": 1})
    for made in range(4):
        assert await lab.forecast(1, 10 - made) == everything[made:]
        await lab.sync(1)
        # The attempt under way is not the next one.
        assert await lab.forecast(1, 9 - made) == everything[made + 1 :]
        await lab.settle()


async def test_it_tells_the_past_as_well_as_the_future(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(outcomes=MIXED, delay=SPREAD)
    before = await lab.forecast(3, 12)
    happened = [await happen(lab, 3) for _ in range(6)]
    assert await lab.forecast(3, 12, **{"from": 1}) == before
    assert await lab.forecast(3, 6, **{"from": 1}) == happened
    assert await lab.forecast(3, 3, **{"from": 5}) == before[4:7]


async def test_twenty_attempts_are_told_unless_told_otherwise(lab: FleetLab) -> None:
    answer = await lab.api.get(f"{lab.path}/forecast?device_id=1")
    assert [each["attempt"] for each in answer.json] == list(range(1, 21))


async def test_a_thousand_at_once_are_told_however_far_ahead(lab: FleetLab) -> None:
    for first in (1, 10**6, 2**53 - 1_000):
        forecast = await lab.forecast(1, 1_000, **{"from": first})
        assert [each["attempt"] for each in forecast] == list(range(first, first + 1_000))


async def test_scripts_are_left_aside(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(outcomes=MIXED, delay=SPREAD)
    before = await lab.forecast(1, 5)
    await lab.script(1, {**TIMEOUT, "delay": 1, "sticky": True})
    assert await lab.forecast(1, 5) == before
    await happen(lab, 1)
    assert await lab.forecast(1, 5, **{"from": 1}) == before
    await lab.api.delete(f"{lab.path}/devices/1/script")
    # The script's attempts are counted, and the profile goes on where it would have been.
    assert await happen(lab, 1) == before[1]


async def test_it_is_by_the_profile_as_it_is_now(lab: FleetLab) -> None:
    before = await lab.forecast(1, 30)
    assert {each["sync_status_code"] for each in before} == {200}
    await lab.change(outcomes=MIXED)
    after = await lab.forecast(1, 30)
    assert {each["sync_status_code"] for each in after} == {200, 400, 500}
    await lab.change(seed=8)
    assert await lab.forecast(1, 30) != after


async def test_devices_and_seeds_differ(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(outcomes=MIXED, delay=SPREAD)
    told = [await lab.forecast(device_id, 20) for device_id in range(1, 11)]
    await lab.change(seed=8)
    told += [await lab.forecast(device_id, 20) for device_id in range(1, 11)]
    assert len({str(each) for each in told}) == 20


async def test_a_device_or_fleet_that_is_not_there_is_404(lab: FleetLab, admin: Api) -> None:
    (await admin.get(f"{lab.path}/forecast?device_id=11")).assert_problem(404)
    (await admin.get("/admin/fleets/nowhere/forecast?device_id=1")).assert_problem(404)


async def test_what_happens_in_spells_and_phases_is_what_was_forecast(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(
        outcomes=MIXED,
        delay=SPREAD,
        spells={"mean_length": 3},
        phases=[
            {"from": 3_600, "until": 3_660, "outcomes": [{**FULL, "weight": 1}]},
            {"from": 7_200, "until": 7_260, "delay": {"distribution": "constant", "seconds": 40}},
        ],
        repeat_every=86_400,
    )
    made_at = datetime.fromisoformat((await lab.device(9))["last_attempt_at"])
    for day, second in enumerate((3_599.999999, 3_600, 3_659.999999, 3_660, 7_200)):
        at = made_at + timedelta(days=day, seconds=second)
        await lab.advance((at - datetime.fromisoformat(await lab.now())).total_seconds())
        assert datetime.fromisoformat(await lab.now()) == at
        shown = at.isoformat().replace("+00:00", "Z")
        (forecast,) = await lab.forecast(1, 1)
        assert await lab.forecast(1, 1, at=shown) == [forecast]
        happened = await happen(lab, 1)
        assert happened == forecast
        if 3_600 <= second < 3_660:
            assert happened["error_message"] == "Storage Full"
        assert (happened["delay"] == 40) == (second == 7_200)


async def test_the_time_of_a_reset_begins_phases_anew(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(
        outcomes=[{**SUCCESS, "weight": 1}],
        phases=[{"from": 0, "until": 3_600, "outcomes": [{**FULL, "weight": 1}]}],
    )
    assert (await happen(lab, 1))["error_message"] == "Storage Full"
    await lab.advance(3_600)
    assert (await happen(lab, 1))["error_message"] is None
    await lab.reset()
    assert (await lab.forecast(1, 1))[0]["error_message"] == "Storage Full"


async def test_a_moment_that_is_none_is_refused(lab: FleetLab) -> None:
    for at in ("", "tomorrow", "2026-11-22T07:40:12", "5"):
        answer = await lab.api.get(f"{lab.path}/forecast", params={"device_id": "1", "at": at})
        answer.assert_problem(422, "at")
