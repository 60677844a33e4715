"""Fleets on one instance do not see each other."""

import asyncio

import pytest
from multidict import CIMultiDict

from tests.conftest import Api
from tests.support.fleet_lab import (
    FULL,
    HOLD,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    MakeFleetLab,
)
from tests.support.waiting import eventually


async def everything(lab: FleetLab) -> list[object]:
    """All that can be seen of a fleet whose clock stands still."""
    fleet = (await lab.api.get(lab.path)).json
    return [fleet, await lab.devices(), await lab.errors(), await lab.stats(), await lab.ledger()]


@pytest.fixture
async def two(new_lab: MakeFleetLab) -> tuple[FleetLab, FleetLab]:
    """Two fleets with the same ids."""
    return await new_lab("left"), await new_lab("right", outcomes=[{**TIMEOUT, "weight": 1}])


async def test_requests_act_on_the_fleet_that_the_header_names(
    two: tuple[FleetLab, FleetLab], user: Api
) -> None:
    left, _ = two
    await left.sync(3)
    for fleet, code in (("left", 202), ("right", 200)):
        assert (await user.on(fleet).get("/devices/3")).json["sync_status_code"] == code
        listed = (await user.on(fleet).get("/devices")).json
        assert listed[2]["sync_status_code"] == code
        pending = int(code == 202)
        assert (await user.on(fleet).get("/stats")).json["pending"] == pending
        filtered = await user.on(fleet).get("/devices?status=202")
        assert filtered.headers["X-Total-Count"] == str(pending)


async def test_requests_without_the_header_act_on_the_default_fleet(
    two: tuple[FleetLab, FleetLab], user: Api
) -> None:
    for lab in two:
        await lab.sync_all()
    default = (await user.get("/devices")).json
    assert default == (await user.on("default").get("/devices")).json
    assert 202 not in {each["sync_status_code"] for each in default}
    assert (await user.get("/stats")).json["attempts"] == 0


async def test_a_request_that_names_several_fleets_names_none_that_is_there(
    two: tuple[FleetLab, FleetLab], user: Api
) -> None:
    assert len(two) == 2
    for names in (("left", "right"), ("left", "left")):
        headers = CIMultiDict([("Authorization", f"Bearer {user.token}")])
        for name in names:
            headers.add("Pisync-Fleet", name)
        async with user.client.get("/devices", headers=headers) as response:
            assert response.status == 404


async def test_whatever_is_done_to_a_fleet_is_done_to_no_other(
    two: tuple[FleetLab, FleetLab],
) -> None:
    left, right = two
    await right.script(1, HOLD)
    await right.sync(1)
    await right.sync(2)
    await right.advance(3)
    before = await everything(right)
    await left.script(1, {**FULL, "sticky": True})
    await left.script(2, HOLD)
    await left.sync_all()
    await left.settle()
    await left.release(2)
    await left.advance(10**6)
    await left.change(seed=99, when_pending="refuse", max_pending=1)
    await left.clock("real", speed=100)
    await left.reset()
    await left.api.put(left.path, {"devices": 3})
    await left.api.delete(left.path)
    assert await everything(right) == before


async def test_fleets_that_are_driven_at_once_never_show_in_each_other(
    new_lab: MakeFleetLab,
) -> None:
    labs = [
        await new_lab(
            f"suite-{code}",
            devices=40,
            mode="real",
            outcomes=[{"sync_status_code": code, "error_message": f"{code} only", "weight": 1}],
            delay={"distribution": "uniform", "min": 0, "max": 0.01},
        )
        for code in (400, 404, 500)
    ]

    async def drive(lab: FleetLab, attempts: int) -> None:
        code = int(lab.path[-3:])
        for _ in range(attempts):
            await lab.sync_all()
            for device in await lab.devices():
                assert device["sync_status_code"] in (200, 202, code)
                assert device["error_message"] in (None, f"{code} only")
            await lab.finished()
        assert {each["error_message"] for each in await lab.errors()} == {f"{code} only"}

    await asyncio.gather(*(drive(lab, attempts) for attempts, lab in enumerate(labs, 3)))
    for attempts, lab in enumerate(labs, 3):
        code = lab.path[-3:]
        stats, ledger = await lab.stats(), await lab.ledger()
        assert stats["attempts"] == stats["failed"] == 40 * attempts
        assert stats["by_status"][code] == 40
        assert ledger["failed"] == {code: {f"{code} only": 40 * attempts}}
        assert ledger["balanced"]
        assert [each["error_id"] for each in reversed(await lab.errors())] == list(
            range(1, 40 * attempts + 1)
        )


async def test_a_fleet_that_is_busy_does_not_keep_another_waiting_for_ever(
    new_lab: MakeFleetLab,
) -> None:
    busy = await new_lab(
        "busy", devices=1_000, mode="real", delay={"distribution": "constant", "seconds": 0}
    )
    calm = await new_lab("calm", mode="real", delay={"distribution": "constant", "seconds": 0.01})

    async def keep_busy() -> None:
        while True:
            await busy.sync_all()

    clients = [asyncio.create_task(keep_busy()) for _ in range(2)]
    try:
        for _ in range(5):
            await calm.sync(1)
            await calm.finished()
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    assert (await busy.stats())["attempts"] > 1_000


async def test_scripts_and_holds_are_a_fleets_own(two: tuple[FleetLab, FleetLab]) -> None:
    left, right = two
    await left.script(1, HOLD)
    await right.sync(1)
    await left.sync(1)
    (await right.release(1, SUCCESS)).assert_problem(409)
    assert (await left.release(1, SUCCESS)).status == 200


async def test_a_limit_of_pending_syncs_is_a_fleets_own(new_lab: MakeFleetLab) -> None:
    left, right = await new_lab("left", max_pending=1), await new_lab("right", max_pending=1)
    assert [(await lab.sync(1)).status for lab in (left, right)] == [202, 202]
    assert [(await lab.sync(2)).status for lab in (left, right)] == [503, 503]


async def test_fleets_times_have_nothing_to_do_with_each_other(
    two: tuple[FleetLab, FleetLab],
) -> None:
    left, right = two
    before = await right.now()
    await left.advance(10**9)
    assert await right.now() == before
    await right.clock("real", speed=100_000)

    async def has_moved() -> bool:
        return await right.now() > before

    await eventually(has_moved)
