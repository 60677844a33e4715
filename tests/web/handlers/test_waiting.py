"""Calls that wait in the server, as their clients see them, on every store."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from pisync import keys
from pisync.model.outcome import Outcome
from pisync.model.plans.script import Script, Step
from pisync.simulation.simulator import Simulator
from pisync.telemetry.metrics import Metrics
from tests.conftest import Answer, Api, MakeApi
from tests.support.raw_connection import raw_connection
from tests.support.stores.server import server
from tests.support.waiting import SOON, eventually
from tests.web.handlers.test_stream import reading

PATH = "/admin/fleets/mine"
LONG = 20
"""Seconds of a wait that is to end before."""
AT_ONCE = 5.0
"""Seconds within which an answer came at once, on a busy machine."""
HELD = [{"hold": True}]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def replicas(
    request: pytest.FixtureRequest, make_api: MakeApi, tmp_path: Path
) -> Sequence[Api]:
    """Applications on one store, called by one who may do everything, on a fleet of ten devices."""
    stores = {"memory": "memory", "sqlite": f"sqlite:///{tmp_path}/pisync.db"}
    store = stores.get(request.param) or await server().make_database()
    count = 1 if request.param in stores else 2
    replicas = [
        (await make_api(store=store)).as_("devices", "admin").on("mine") for _ in range(count)
    ]
    await replicas[0].put(PATH, {"devices": 10, "profile": {"seed": 1, "delay": constant(3600)}})
    return replicas


@pytest.fixture
def one(replicas: Sequence[Api]) -> Api:
    """The replica on which things are done."""
    return replicas[0]


@pytest.fixture
def other(replicas: Sequence[Api]) -> Api:
    """The replica on which others wait: where there is but one, that."""
    return replicas[-1]


def constant(seconds: float) -> dict[str, object]:
    return {"distribution": "constant", "seconds": seconds}


def waiting(api: Api) -> int:
    assert api.client.app is not None
    simulator: Simulator = api.client.app[keys.SIMULATOR]
    return simulator.waiters.count


async def until_waiting(api: Api, count: int) -> None:
    await eventually(lambda: waiting(api) == count)


def soon(call: Any) -> "asyncio.Task[Answer]":
    return asyncio.create_task(asyncio.wait_for(call, SOON))


async def test_a_finish_wakes_those_who_wait_for_its_device(one: Api, other: Api) -> None:
    await one.put(f"{PATH}/devices/7/script", HELD)
    await one.put(f"{PATH}/devices/8/script", HELD)
    for device in (7, 8):
        assert (await one.post(f"/devices/{device}/sync")).status == 202
    fifty = [soon(other.get(f"/devices/7?wait={LONG}")) for _ in range(50)]
    below_base_url = soon(other.on(None).get(f"/fleets/mine/devices/7?wait={LONG}"))
    stays = soon(other.get(f"/devices/8?wait={LONG}"))
    await until_waiting(other, 52)
    began = monotonic()
    released = await one.post(
        f"{PATH}/devices/7/release", {"sync_status_code": 500, "error_message": "Storage Full"}
    )
    for each in (*fifty, below_base_url):
        answer = await each
        assert (answer.status, answer.json) == (200, released.json)
        assert answer.headers["ETag"]
    assert monotonic() - began < AT_ONCE
    assert waiting(other) == 1
    assert not stays.done()
    await one.post(f"{PATH}/devices/8/release", {"sync_status_code": 200})
    assert (await stays).json["sync_status_code"] == 200


async def test_one_whose_account_is_disabled_meanwhile_is_401(one: Api) -> None:
    account = {"username": "alice", "password": "correct horse"}
    token = (await one.post("/register", account)).json["token"]
    await one.put(f"{PATH}/devices/7/script", HELD)
    await one.post("/devices/7/sync")
    waits = soon(replace(one, token=token).get(f"/devices/7?wait={LONG}"))
    await until_waiting(one, 1)
    await one.patch("/admin/accounts/alice", {"disabled": True})
    await one.post(f"{PATH}/devices/7/release", {"sync_status_code": 200})
    refused = (await waits).assert_problem(401)
    assert "invalid_token" in refused.headers["WWW-Authenticate"]


async def test_a_sync_is_waited_for_until_it_has_finished_by_itself(one: Api, other: Api) -> None:
    await one.patch(PATH, {"profile": {"delay": constant(0.3)}})
    began = monotonic()
    await one.post("/devices/3/sync")
    answer = await other.get(f"/devices/3?wait={LONG}")
    assert answer.json["sync_status_code"] != 202
    assert answer.json == (await one.get("/devices/3")).json
    assert 0.29 < monotonic() - began < AT_ONCE


async def test_what_is_not_pending_is_answered_at_once(one: Api) -> None:
    began = monotonic()
    assert (await one.get(f"/devices/1?wait={LONG}")).json == (await one.get("/devices/1")).json
    assert (await one.get(f"/stats?wait={LONG}")).json["pending"] == 0
    (await one.get(f"/devices/11?wait={LONG}")).assert_problem(404)
    (await one.on("nowhere").get(f"/devices/1?wait={LONG}")).assert_problem(404)
    (await one.on("nowhere").get(f"/stats?wait={LONG}")).assert_problem(404)
    assert monotonic() - began < AT_ONCE


async def test_time_is_up_with_the_present_state(one: Api) -> None:
    pending = await one.post("/devices/1/sync")
    for path in ("/devices/1?wait=0.4", "/stats?wait=0.4"):
        began = monotonic()
        answer = await one.get(path)
        assert 0.39 < monotonic() - began < AT_ONCE
        assert answer.status == 200
        if path.startswith("/devices"):
            assert answer.json == pending.json
        else:
            assert answer.json["pending"] == 1
    assert (await one.get("/devices/1?wait=0")).json == pending.json
    assert waiting(one) == 0


async def test_with_an_etag_any_change_is_waited_for(one: Api, other: Api) -> None:
    first = await one.get("/devices/1")
    known = {"If-None-Match": first.headers["ETag"]}
    unchanged = await other.get("/devices/1?wait=0.2", headers=known)
    assert (unchanged.status, unchanged.headers["ETag"]) == (304, first.headers["ETag"])
    waits = soon(other.get(f"/devices/1?wait={LONG}", headers=known))
    await until_waiting(other, 1)
    pending = await one.post("/devices/1/sync")
    assert (await waits).json == pending.json
    # Pending, but another than the one that is known.
    assert (await one.get(f"/devices/1?wait={LONG}", headers=known)).json == pending.json
    known = {"If-None-Match": (await one.get("/devices/1")).headers["ETag"]}
    waits = soon(other.get(f"/devices/1?wait={LONG}", headers=known))
    await until_waiting(other, 1)
    await one.post(f"{PATH}/settle")
    assert (await waits).json["sync_status_code"] != 202


async def test_counts_are_waited_for_until_nothing_is_left_but_what_is_held(
    one: Api, other: Api
) -> None:
    await one.put(f"{PATH}/devices/1/script", HELD)
    for delay, device in ((0.2, 2), (0.4, 3), (0.6, 4)):
        step = {"sync_status_code": 200, "delay": delay}
        await one.put(f"{PATH}/devices/{device}/script", [step])
    await one.post("/devices/sync", {"device_ids": [1, 2, 3, 4]})
    many = [soon(other.get(f"/stats?wait={LONG}")) for _ in range(80)]
    with_history = soon(other.get(f"/stats?history=2&wait={LONG}"))
    for each in many:
        stats = (await each).json
        assert (stats["pending"], stats["succeeded"]) == (1, 3)
    assert len((await with_history).json["history"]["started"]) == 2
    assert waiting(other) == 0


@pytest.mark.parametrize("how", ["reset", "replace", "delete"])
async def test_a_fleet_that_starts_over_ends_all_waits(one: Api, other: Api, how: str) -> None:
    await one.post("/devices/1/sync")
    paths = [f"/devices/1?wait={LONG}", f"/stats?wait={LONG}"]
    waits = [soon(other.get(path)) for path in paths for _ in range(5)]
    await until_waiting(other, 10)
    if how == "delete":
        await one.delete(PATH)
    elif how == "replace":
        await one.put(PATH, {"devices": 3})
    else:
        await one.post(f"{PATH}/reset")
    for each in waits:
        answer = await each
        if how == "delete":
            answer.assert_problem(404)
        elif "pending" in answer.json:
            assert (answer.json["pending"], answer.json["attempts"]) == (0, 0)
        else:
            assert answer.json == (await one.get("/devices/1")).json
    assert waiting(other) == 0


async def test_another_fleets_end_is_none_of_its(one: Api, other: Api) -> None:
    await one.put("/admin/fleets/another", {"devices": 1})
    pending = await one.post("/devices/1/sync")
    waits = soon(other.get("/devices/1?wait=1"))
    await until_waiting(other, 1)
    await one.delete("/admin/fleets/another")
    assert other.client.app is not None
    # As where the connection to hear others was lost, and nothing has happened.
    other.client.app[keys.SIMULATOR].observer.missed()
    other.client.app[keys.SIMULATOR].observer.replaced("mine")
    began = monotonic()
    assert (await waits).json == pending.json
    assert monotonic() - began > 0.5


async def test_a_manual_clock_is_moved_by_others(one: Api, other: Api) -> None:
    await one.put(f"{PATH}/clock", {"mode": "manual"})
    await one.post("/devices/1/sync")
    waits = [soon(other.get(f"{path}?wait={LONG}")) for path in ("/devices/1", "/stats")]
    await until_waiting(other, 2)
    await one.post(f"{PATH}/advance", {"seconds": 3599})
    assert waiting(other) == 2
    await one.post(f"{PATH}/advance", {"seconds": 1})
    device, stats = [await each for each in waits]
    assert device.json["sync_status_code"] != 202
    assert stats.json["pending"] == 0


async def test_a_clock_that_begins_to_move_itself_is_moved_by_those_who_wait(
    one: Api, other: Api
) -> None:
    await one.put(f"{PATH}/clock", {"mode": "manual"})
    await one.post("/devices/1/sync")
    await one.post("/devices/2/sync")
    waits = [soon(other.get(f"{path}?wait=60")) for path in ("/devices/1", "/devices/2", "/stats")]
    await until_waiting(other, 3)
    assert (await one.put(f"{PATH}/clock", {"mode": "auto"})).status == 200
    *devices, stats = [await each for each in waits]
    assert all(device.json["sync_status_code"] != 202 for device in devices)
    assert stats.json["pending"] == 0


async def test_a_drain_ends_all_waits_with_the_present_state(one: Api) -> None:
    pending = await one.post("/devices/1/sync")
    waits = [soon(one.get(f"/devices/1?wait={LONG}")) for _ in range(90)]
    counts = soon(one.get(f"/stats?wait={LONG}"))
    await until_waiting(one, 91)
    assert one.client.app is not None
    one.client.app[keys.DRAINING].set()
    for each in waits:
        answer = await each
        assert (answer.status, answer.json) == (200, pending.json)
        assert answer.headers["Connection"] == "close"
    assert (await counts).json["pending"] == 1
    # Nor does anybody wait from now on.
    assert (await asyncio.wait_for(one.get(f"/devices/1?wait={LONG}"), AT_ONCE)).status == 200


async def test_a_storm_of_syncs_and_waits_leaves_nobody_behind(one: Api, other: Api) -> None:
    await one.patch(PATH, {"profile": {"delay": constant(0.02)}})

    async def client(device: int) -> None:
        for _ in range(10):
            attempt = (await one.post(f"/devices/{device}/sync")).headers["Pisync-Attempt"]
            answer = await other.get(f"/devices/{device}?wait={LONG}")
            assert answer.json["sync_status_code"] != 202, attempt

    async with asyncio.timeout(SOON):
        await asyncio.gather(*(client(device) for device in range(1, 11)))
    assert waiting(other) == 0


async def test_head_does_not_wait(make_api: MakeApi) -> None:
    admin = await held(make_api)
    began = monotonic()
    for path in (f"/devices/1?wait={LONG}", f"/stats?wait={LONG}"):
        assert (await admin.call("HEAD", path)).status == 200
        assert (await admin.call("HEAD", "/devices/1?wait=61")).status == 422
    assert monotonic() - began < AT_ONCE


async def held(make_api: MakeApi, **settings: Any) -> Api:
    """Return an application in which device 1 is held, called by one who may do everything."""
    admin = (await make_api(**settings)).as_("devices", "admin")
    await admin.put("/admin/fleets/default/devices/1/script", HELD)
    assert (await admin.post("/devices/1/sync")).status == 202
    return admin


async def release(admin: Api) -> None:
    await admin.post("/admin/fleets/default/devices/1/release", {"sync_status_code": 200})


async def test_who_has_often_asked_for_counts_waits_all_the_same(make_api: MakeApi) -> None:
    admin = (await make_api()).as_("devices", "admin")
    for path in ("/stats?wait=0.3", "/stats", "/stats?history=3"):
        for _ in range(4):
            assert (await admin.get(path)).status == 200
    await admin.post("/devices/1/sync")
    assert (await admin.get(f"/stats?wait={LONG}")).json["pending"] == 0


async def test_waits_and_streams_have_one_limit(make_api: MakeApi) -> None:
    admin = await held(make_api, max_streams=2)
    assert admin.client.app is not None
    waits = soon(admin.get(f"/devices/1?wait={LONG}"))
    await until_waiting(admin, 1)
    async with reading(admin):
        text = (await admin.get("/metrics")).body.decode()
        assert "pisync_event_streams 1.0" in text
        assert "pisync_waiting_calls 1.0" in text
        assert 'pisync_bound_used{bound="streams"} 2.0' in text
        for path in (f"/devices/1?wait={LONG}", "/events"):
            refused = (await admin.get(path)).assert_problem(503)
            assert int(refused.headers["Retry-After"]) > 0
        # It need not wait.
        assert (await admin.get(f"/devices/2?wait={LONG}")).status == 200
        assert (await admin.get(f"/stats?wait={LONG}")).status == 200
    await release(admin)
    assert (await waits).status == 200
    await eventually(lambda: "pisync_waiting_calls 0.0" in _metrics(admin))
    async with reading(admin), reading(admin):
        pass


def _metrics(api: Api) -> str:
    assert api.client.app is not None
    metrics: Metrics = api.client.app[keys.METRICS]
    return metrics.render().decode()


@pytest.mark.parametrize("how", ["reset", "end", "close"])
async def test_who_hangs_up_makes_room_at_once(make_api: MakeApi, how: str) -> None:
    admin = await held(make_api, max_streams=1)
    assert admin.client.port is not None
    assert admin.client.app is not None
    request = f"GET /devices/1?wait=60 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {admin.token}"
    async with raw_connection(admin.client.port) as connection:
        await connection.send(f"{request}\r\n\r\n".encode())
        await until_waiting(admin, 1)
        await asyncio.sleep(0.3)
        if how == "reset":
            connection.reset()
        elif how == "end":
            connection.end()
            await until_waiting(admin, 0)
    await until_waiting(admin, 0)
    assert admin.client.app[keys.BROKER].places.taken == 0


async def test_who_has_said_at_once_to_send_no_more_gets_its_answer(make_api: MakeApi) -> None:
    admin = await held(make_api)
    assert admin.client.port is not None
    request = f"GET /devices/1?wait=60 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {admin.token}"
    async with raw_connection(admin.client.port) as connection:
        await connection.send(f"{request}\r\n\r\n".encode())
        connection.end()
        await until_waiting(admin, 1)
        await release(admin)
        assert (await connection.answer()).json()["sync_status_code"] == 200


async def test_faults_come_when_the_answer_is_there(make_api: MakeApi) -> None:
    admin = await held(make_api)
    rule = {"calls": ["device"], "first": 1, "fault": {"kind": "delay", "delay": constant(0.3)}}
    await admin.put("/admin/fleets/default/faults", [rule])
    waits = soon(admin.get(f"/devices/1?wait={LONG}"))
    await until_waiting(admin, 1)
    began = monotonic()
    await release(admin)
    answer = await waits
    assert monotonic() - began > 0.29
    assert (answer.json["sync_status_code"], answer.headers["Pisync-Fault"]) == (200, "delay")
    (entry,) = (await admin.get("/admin/fleets/default/requests?call=device")).json
    assert (entry["status"], entry["fault"], entry["path"]) == (200, "delay", "/devices/1")
    assert entry["seconds"] > 0.29


async def test_a_fault_before_the_call_comes_before_the_wait(make_api: MakeApi) -> None:
    admin = await held(make_api)
    rule = {"calls": ["device"], "share": 1, "fault": {"kind": "status", "status": 503}}
    await admin.put("/admin/fleets/default/faults", [rule])
    began = monotonic()
    assert (await admin.get(f"/devices/1?wait={LONG}")).headers["Pisync-Fault"] == "status"
    assert monotonic() - began < AT_ONCE
    # It hides nothing that is refused.
    assert (await admin.get(f"/devices/11?wait={LONG}")).status == 404


async def test_the_time_of_a_wait_is_none_of_an_answers(make_api: MakeApi) -> None:
    admin = await held(make_api)
    await admin.get("/devices/1?wait=0.6")
    series = 'pisync_request_duration_seconds_sum{method="GET",route="/devices/{device_id}"'
    (line,) = [line for line in _metrics(admin).splitlines() if line.startswith(series)]
    assert float(line.split()[-1]) < 0.5


async def test_a_wait_follows_its_fleet_as_a_stream_does(make_api: MakeApi) -> None:
    admin = await held(make_api)
    assert admin.client.app is not None
    simulator = admin.client.app[keys.SIMULATOR]
    waits = soon(admin.get(f"/devices/1?wait={LONG}"))
    await until_waiting(admin, 1)
    assert [*simulator.waiters.followed()] == ["default"]
    await release(admin)
    await waits
    assert [*simulator.waiters.followed()] == []


async def test_a_clock_that_moves_itself_is_moved_to_what_is_waited_for(
    one: Api, other: Api
) -> None:
    await one.put(f"{PATH}/clock", {"mode": "auto"})
    await one.put(f"{PATH}/devices/9/script", HELD)
    for delay, device in ((10, 1), (20, 2), (30, 3), (40, 4)):
        step = {"sync_status_code": 200, "delay": delay}
        await one.put(f"{PATH}/devices/{device}/script", [step])
    await one.post("/devices/sync", {"device_ids": [1, 2, 3, 4, 9]})
    began = monotonic()
    assert (await other.get(f"/devices/2?wait={LONG}")).json["sync_status_code"] == 200
    ledger = (await one.get(f"{PATH}/ledger")).json
    assert (ledger["succeeded"], ledger["pending"]) == (2, 3)
    stats = (await one.get(f"/stats?wait={LONG}")).json
    assert (stats["pending"], stats["succeeded"]) == (1, 4)
    assert monotonic() - began < AT_ONCE
    # What is held is brought about by others alone.
    waits = soon(other.get(f"/devices/9?wait={LONG}"))
    await until_waiting(other, 1)
    await one.post(f"{PATH}/devices/9/release", {"sync_status_code": 200})
    assert (await waits).json["sync_status_code"] == 200


async def test_an_attempt_that_is_pending_for_so_many_reads_is_not_waited_for(
    make_api: MakeApi,
) -> None:
    admin = (await make_api()).as_("devices", "admin")
    assert admin.client.app is not None
    fleets = admin.client.app[keys.STORE].fleets
    script = Script((Step(Outcome(200, None), polls=3),))
    await fleets.set_script("default", 1, script)
    await admin.post("/devices/1/sync")
    await admin.put("/admin/fleets/default/devices/2/script", HELD)
    await admin.post("/devices/2/sync")
    began = monotonic()
    statuses = [
        (await admin.get(f"/devices/1?wait={LONG}")).json["sync_status_code"] for _ in range(4)
    ]
    assert statuses == [202, 202, 202, 200]
    assert (await admin.get(f"/stats?wait={LONG}")).json["pending"] == 1
    assert monotonic() - began < AT_ONCE
    # What is held beside it is waited for as ever.
    await fleets.set_script("default", 1, script)
    await admin.post("/devices/1/sync")
    waits = soon(admin.get(f"/devices/2?wait={LONG}"))
    await until_waiting(admin, 1)
    await admin.post("/admin/fleets/default/devices/2/release", {"sync_status_code": 200})
    assert (await waits).json["sync_status_code"] == 200
