"""A clock that moves itself, as clients see it: those that poll see 202, then the outcome."""

import asyncio

import pytest
from aiohttp import hdrs

from tests.conftest import Api
from tests.support.fleet_lab import FULL, HOLD, FleetLab, MakeFleetLab
from tests.web.handlers.test_clock import between


@pytest.fixture
async def auto(new_lab: MakeFleetLab) -> FleetLab:
    """Ten devices on a clock that moves itself; their attempts succeed after 10 s."""
    return await new_lab(mode="auto")


async def test_a_client_that_polls_sees_it_pending_and_then_its_outcome(auto: FleetLab) -> None:
    before = await auto.now()
    await auto.sync(1)
    assert (await auto.device(1))["sync_status_code"] == 202
    assert (await auto.device(1))["sync_status_code"] == 200
    assert between(before, await auto.now()) == 10


async def test_what_polls_never_changes_by_itself_moves_nothing(auto: FleetLab) -> None:
    before = await auto.now()
    await auto.script(1, HOLD)
    await auto.sync(1)
    await auto.sync(2)
    for _ in range(3):
        assert (await auto.device(1))["sync_status_code"] == 202
        assert (await auto.device(3))["sync_status_code"] == 200
    assert await auto.now() == before


async def test_an_answer_without_a_body_moves_time_as_well(auto: FleetLab) -> None:
    await auto.sync(1)
    await auto.sync(2)
    await auto.script(3, {**FULL, "delay": 20})
    await auto.sync(3)
    first = await auto.api.get("/devices/3")
    assert [(await auto.device(each))["sync_status_code"] for each in (1, 2)] == [200, 200]
    tag = {hdrs.IF_NONE_MATCH: first.headers[hdrs.ETAG]}
    assert (await auto.api.get("/devices/3", headers=tag)).status == 304
    assert (await auto.api.get("/devices/3", headers=tag)).status == 200


async def test_head_and_what_admins_read_move_nothing(auto: FleetLab) -> None:
    await auto.sync(1)
    before = await auto.now()
    for path in ("/devices/1", "/devices", "/stats"):
        assert (await auto.api.call("HEAD", path)).status == 200
    for path in ("", "/ledger", "/forecast?device_id=1", "/snapshot"):
        assert (await auto.api.get(f"{auto.path}{path}")).status == 200
    assert await auto.now() == before


async def test_pages_and_stats_move_time(auto: FleetLab) -> None:
    await auto.sync_all()
    assert (await auto.devices())[0]["sync_status_code"] == 202
    assert (await auto.devices())[0]["sync_status_code"] == 200
    await auto.sync_all()
    assert (await auto.stats())["pending"] == 10
    assert (await auto.stats())["pending"] == 0


async def test_two_clients_poll_side_by_side(auto: FleetLab) -> None:
    await auto.change(delay={"distribution": "uniform", "min": 1, "max": 3600})

    async def poll(device_ids: range) -> None:
        for device_id in device_ids:
            await auto.sync(device_id)
        async with asyncio.timeout(30):
            for device_id in device_ids:
                while (await auto.device(device_id))["sync_status_code"] == 202:
                    pass

    await asyncio.gather(poll(range(1, 6)), poll(range(6, 11)))
    ledger = await auto.ledger()
    assert (ledger["accepted"], ledger["succeeded"], ledger["balanced"]) == (10, 10, True)


async def test_resets_and_changes_of_mode_in_between_stop_no_client(auto: FleetLab) -> None:
    is_over = False

    async def disturb() -> None:
        nonlocal is_over
        for mode in ("manual", "auto", "real", "auto"):
            await auto.clock(mode)
            await auto.reset()
            await auto.clock(mode)
        await auto.clock("auto")
        is_over = True

    async def poll() -> None:
        while not is_over:
            await auto.sync(1)
            assert (await auto.device(1))["sync_status_code"] in (200, 202)

    await asyncio.gather(disturb(), poll(), poll())
    await auto.sync(1)
    await auto.device(1)
    assert (await auto.device(1))["sync_status_code"] == 200


async def test_a_restored_fleet_has_the_clock(auto: FleetLab, admin: Api) -> None:
    await auto.sync(1)
    assert (await auto.api.post(f"{auto.path}/copy", {"to": "twin"})).status == 201
    twin = FleetLab(admin.on("twin"), "/admin/fleets/twin")
    assert [(await twin.device(1))["sync_status_code"] for _ in range(2)] == [202, 200]


async def test_a_wait_moves_time_to_what_it_waits_for(auto: FleetLab) -> None:
    before = await auto.now()
    await auto.sync(1)
    await auto.change(delay={"distribution": "constant", "seconds": 3600})
    await auto.sync(2)
    device = await auto.api.get("/devices/2?wait=30")
    assert device.json["sync_status_code"] == 200
    assert between(before, await auto.now()) == 3600
    await auto.sync_all()
    assert (await auto.api.get("/stats?wait=30")).json["pending"] == 0


async def test_a_wait_answers_at_once_where_devices_sync_by_themselves(
    new_lab: MakeFleetLab,
) -> None:
    often = {"every": {"distribution": "constant", "seconds": 1}}
    lab = await new_lab(mode="auto", traffic=often)
    await lab.sync(1)
    async with asyncio.timeout(20):
        assert (await lab.api.get("/stats?wait=60")).status == 200
        await lab.sync(2)
        assert (await lab.api.get("/devices/2?wait=60")).status == 200
    assert (await lab.ledger())["balanced"]
