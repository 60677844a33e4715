"""Scripts: what a device's next attempts come to, holds and releases included."""

import asyncio
from typing import Any

import orjson
import pytest

from tests.support.fleet_lab import (
    FULL,
    HOLD,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    Json,
    MakeFleetLab,
)

STICKY = {"sticky": True}


async def outcomes(lab: FleetLab, device_id: int, attempts: int) -> list[int]:
    """Make attempts one after the other; return their codes."""
    codes = []
    for _ in range(attempts):
        await lab.sync(device_id)
        await lab.settle()
        codes.append((await lab.device(device_id))["sync_status_code"])
    return codes


async def test_attempts_follow_the_script_and_then_the_profile(lab: FleetLab) -> None:
    await lab.script(1, TIMEOUT, FULL, SUCCESS, TIMEOUT)
    assert await outcomes(lab, 1, 7) == [500, 400, 200, 500, 200, 200, 200]
    assert await outcomes(lab, 2, 1) == [200]
    messages = [each["error_message"] for each in reversed(await lab.errors())]
    assert messages == ["Connection Timeout", "Storage Full", "Connection Timeout"]


async def test_a_step_may_have_a_delay_of_its_own(lab: FleetLab) -> None:
    await lab.script(1, {**TIMEOUT, "delay": 1.5}, {**SUCCESS, "delay": 0}, FULL)
    await lab.sync(1)
    assert (await lab.advance(1.499999))["finished"] == 0
    assert (await lab.advance(0.000001))["finished"] == 1
    await lab.sync(1)
    assert (await lab.advance(0))["finished"] == 1
    await lab.sync(1)  # by the profile's delay
    assert (await lab.advance(9.999999))["finished"] == 0
    assert (await lab.advance(0.000001))["finished"] == 1


async def test_a_step_without_a_delay_takes_the_profiles_for_that_attempt(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(delay={"distribution": "uniform", "min": 1, "max": 1_000})
    forecast = await lab.forecast(1, 3)
    await lab.script(1, TIMEOUT, TIMEOUT, TIMEOUT)
    for expected in forecast:
        await lab.sync(1)
        assert (await lab.advance(expected["delay"] - 0.001))["finished"] == 0
        assert (await lab.advance(0.002))["finished"] == 1
        assert (await lab.device(1))["sync_status_code"] == 500


async def test_a_sticky_last_step_repeats_for_ever(lab: FleetLab) -> None:
    await lab.script(1, SUCCESS, {**TIMEOUT, **STICKY})
    assert await outcomes(lab, 1, 6) == [200, 500, 500, 500, 500, 500]


async def test_a_sticky_hold_repeats_for_ever(lab: FleetLab) -> None:
    await lab.script(1, {**HOLD, **STICKY})
    for code in (200, 500, 200):
        await lab.sync(1)
        assert (await lab.settle())["finished"] == 0
        released = await lab.release(1, SUCCESS if code == 200 else TIMEOUT)
        assert released.json["sync_status_code"] == code


async def test_a_step_that_says_it_is_not_sticky_is_not(lab: FleetLab) -> None:
    await lab.script(1, {**TIMEOUT, "sticky": False}, {**TIMEOUT, "sticky": False})
    assert await outcomes(lab, 1, 3) == [500, 500, 200]


async def test_a_new_script_replaces_the_old_one(lab: FleetLab) -> None:
    await lab.script(1, {**TIMEOUT, **STICKY})
    assert await outcomes(lab, 1, 2) == [500, 500]
    await lab.script(1, FULL)
    assert await outcomes(lab, 1, 2) == [400, 200]


async def test_delete_ends_a_script(lab: FleetLab) -> None:
    await lab.script(1, {**TIMEOUT, **STICKY})
    assert await outcomes(lab, 1, 1) == [500]
    for _ in range(2):
        answer = await lab.api.delete(f"{lab.path}/devices/1/script")
        assert (answer.status, answer.body) == (204, b"")
    assert await outcomes(lab, 1, 2) == [200, 200]


async def test_a_script_is_for_attempts_that_are_still_to_come(lab: FleetLab) -> None:
    await lab.sync(1)
    await lab.script(1, TIMEOUT)
    assert (await lab.settle())["finished"] == 1
    assert (await lab.device(1))["sync_status_code"] == 200
    assert await outcomes(lab, 1, 2) == [500, 200]


async def test_a_thousand_steps_are_taken_and_no_more(lab: FleetLab) -> None:
    script = f"{lab.path}/devices/1/script"
    steps = [FULL] * 999 + [SUCCESS]
    assert (await lab.api.put(script, steps)).status == 204
    (await lab.api.put(script, [*steps, SUCCESS])).assert_problem(422, "body")
    assert await outcomes(lab, 1, 2) == [400, 400]


BAD_STEPS: tuple[tuple[Json, str], ...] = (
    ({}, "sync_status_code"),
    ({"sticky": True}, "sync_status_code"),
    ({"delay": 1}, "sync_status_code"),
    ({"error_message": "no"}, "sync_status_code"),
    ({"sync_status_code": 202}, "sync_status_code"),
    ({"sync_status_code": 201}, "sync_status_code"),
    ({"sync_status_code": None}, "sync_status_code"),
    ({"sync_status_code": 500}, "error_message"),
    ({"sync_status_code": 500, "error_message": None}, "error_message"),
    ({"sync_status_code": 500, "error_message": ""}, "error_message"),
    ({"sync_status_code": 500, "error_message": "x" * 201}, "error_message"),
    ({"sync_status_code": 200, "error_message": "no"}, "error_message"),
    ({**SUCCESS, "delay": -0.001}, "delay"),
    ({**SUCCESS, "delay": 86_400.001}, "delay"),
    ({**SUCCESS, "delay": None}, "delay"),
    ({**SUCCESS, "typo": 1}, "typo"),
    ({**SUCCESS, "weight": 1}, "weight"),
    ({**SUCCESS, "sticky": 1}, "sticky"),
    ({**SUCCESS, "sticky": "true"}, "sticky"),
    ({**SUCCESS, "sticky": None}, "sticky"),
    ({"hold": False}, "hold"),
    ({"hold": 1}, "hold"),
    ({"hold": None}, "hold"),
    ({"hold": "true"}, "hold"),
    ({**SUCCESS, "hold": False}, "hold"),
    ({**SUCCESS, **HOLD}, "sync_status_code"),
    ({**HOLD, "error_message": "no"}, "error_message"),
    ({**HOLD, "delay": 1}, "delay"),
    ({**SUCCESS, "polls": 0}, "polls"),
    ({**SUCCESS, "polls": 1_001}, "polls"),
    ({**SUCCESS, "polls": 1.5}, "polls"),
    ({**SUCCESS, "polls": "3"}, "polls"),
    ({**SUCCESS, "polls": None}, "polls"),
    ({**SUCCESS, "polls": 3, "delay": 1}, "delay"),
    ({**HOLD, "polls": 3}, "polls"),
    ({"polls": 3}, "sync_status_code"),
)


async def test_a_bad_step_is_named_and_the_script_stays(
    lab: FleetLab, subtests: pytest.Subtests
) -> None:
    script = f"{lab.path}/devices/1/script"
    await lab.script(1, {**TIMEOUT, **STICKY})
    for step, field in BAD_STEPS:
        with subtests.test(step=step):
            (await lab.api.put(script, [step])).assert_problem(422, f"0.{field}")
            (await lab.api.put(script, [SUCCESS, HOLD, step])).assert_problem(422, f"2.{field}")
    worse = [{**SUCCESS, "delay": -1}, {**HOLD, "polls": 3}, 1]
    (await lab.api.put(script, worse)).assert_problem(422, "0.delay", "1.polls", "2")
    no_steps: list[object] = [None, 1, "hold", [], True]
    for no_step in no_steps:
        with subtests.test(step=no_step):
            (await lab.api.put(script, [SUCCESS, no_step])).assert_problem(422, "1")
    for body in ([], {}, SUCCESS, "hold", 1, None, [[SUCCESS]]):
        with subtests.test(body=body):
            answer = await lab.api.put(
                script, data=orjson.dumps(body), headers={"Content-Type": "application/json"}
            )
            assert answer.status == 422
    first_sticky = [{**SUCCESS, **STICKY}, SUCCESS]
    (await lab.api.put(script, first_sticky)).assert_problem(422, "0.sticky")
    assert await outcomes(lab, 1, 1) == [500]


async def test_the_longest_delay_and_message_are_taken(lab: FleetLab) -> None:
    await lab.script(1, {"sync_status_code": 404, "error_message": "x" * 200, "delay": 86_400})
    await lab.sync(1)
    assert (await lab.advance(86_399))["finished"] == 0
    assert (await lab.advance(1))["finished"] == 1


# Hold and release


@pytest.mark.parametrize("outcome", [SUCCESS, FULL, TIMEOUT])
async def test_a_held_attempt_finishes_with_the_outcome_of_its_release(
    lab: FleetLab, outcome: dict[str, Any]
) -> None:
    await lab.script(1, HOLD)
    started = (await lab.sync(1)).json
    await lab.advance(100)
    assert await lab.device(1) == started
    released = await lab.release(1, outcome)
    assert released.status == 200
    at = started["last_attempt_at"]
    last_sync_at = at if outcome is SUCCESS else started["last_sync_at"]
    expected = {**started, "error_message": None, **outcome, "last_sync_at": last_sync_at}
    assert released.json == await lab.device(1) == expected
    logs = await lab.errors()
    assert len(logs) == (outcome is not SUCCESS)
    if logs:
        assert (logs[0]["attempt"], logs[0]["occurred_at"]) == (1, await lab.now())
    assert (await lab.settle())["finished"] == 0


async def test_a_release_without_a_hold_is_409(lab: FleetLab) -> None:
    (await lab.release(1)).assert_problem(409)
    await lab.sync(1)
    (await lab.release(1)).assert_problem(409)  # pending, but not held
    await lab.settle()
    await lab.script(1, HOLD)
    (await lab.release(1)).assert_problem(409)  # not begun yet
    await lab.sync(1)
    assert (await lab.release(1)).status == 200
    (await lab.release(1)).assert_problem(409)
    assert (await lab.ledger())["succeeded"] == 2


async def test_of_many_releases_at_once_one_counts(lab: FleetLab) -> None:
    await lab.script(1, HOLD)
    await lab.sync(1)
    answers = await asyncio.gather(*(lab.release(1, TIMEOUT) for _ in range(20)))
    assert sorted(each.status for each in answers) == [200] + [409] * 19
    assert len(await lab.errors()) == 1


async def test_a_release_that_is_no_outcome_is_refused_and_the_attempt_stays_held(
    lab: FleetLab, subtests: pytest.Subtests
) -> None:
    await lab.script(1, HOLD)
    await lab.sync(1)
    for body, field in (
        ({}, "sync_status_code"),
        ({"sync_status_code": 202}, "sync_status_code"),
        ({"sync_status_code": "200"}, "sync_status_code"),
        ({"sync_status_code": 500}, "error_message"),
        ({"sync_status_code": 200, "error_message": "no"}, "error_message"),
        ({"sync_status_code": 500, "error_message": "x" * 201}, "error_message"),
        ({**SUCCESS, "delay": 1}, "delay"),
        (HOLD, "hold"),
    ):
        with subtests.test(body=body):
            answer = await lab.release(1, body)
            assert answer.status == 422
            assert field in answer.json["errors"]
    assert (await lab.ledger())["held"] == 1


async def test_a_reset_lets_go_of_what_is_held(lab: FleetLab) -> None:
    await lab.script(1, HOLD)
    await lab.sync(1)
    await lab.reset()
    (await lab.release(1)).assert_problem(409)
    assert (await lab.ledger())["held"] == 0


async def test_a_device_goes_on_after_a_release(lab: FleetLab) -> None:
    await lab.script(1, HOLD, FULL, HOLD)
    await lab.sync(1)
    await lab.release(1)
    assert await outcomes(lab, 1, 1) == [400]
    started = await lab.sync(1)
    assert started.headers["Pisync-Attempt"] == "3"
    await lab.release(1, TIMEOUT)
    assert await outcomes(lab, 1, 1) == [200]
    ledger = await lab.ledger()
    assert (ledger["accepted"], ledger["pending"], ledger["held"]) == (4, 0, 0)
    assert ledger["balanced"]
