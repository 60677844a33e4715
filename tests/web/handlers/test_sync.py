"""`POST /devices/{id}/sync`: attempts begin, are joined or refused, and finish exactly once."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from pisync import keys
from pisync.simulation import simulator
from pisync.stores.base import (
    AccountStore,
    FleetWriter,
    LoginAttempts,
    Queries,
    Store,
    SyncFinisher,
    SyncStarter,
)
from pisync.stores.errors import StoreUnavailable
from tests.conftest import MakeApi, ManualTime
from tests.support.fleet_lab import (
    FULL,
    HOLD,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    MakeFleetLab,
)
from tests.support.waiting import eventually

MISSING = {"sync_status_code": 404, "error_message": "Server Not Reachable"}
SOON = {"distribution": "uniform", "min": 0, "max": 0.05}
MIXED = [{**each, "weight": 1} for each in (SUCCESS, FULL, MISSING, TIMEOUT)]


# What is accepted


async def test_a_sync_is_accepted_with_the_device_pending(lab: FleetLab) -> None:
    before = await lab.device(7)
    await lab.advance(3)
    answer = await lab.sync(7)
    assert answer.status == 202
    assert answer.json == {
        "device_id": 7,
        "last_sync_at": before["last_sync_at"],
        "sync_status_code": 202,
        "error_message": None,
        "last_attempt_at": await lab.now(),
    }
    assert answer.headers["Location"] == "/devices/7"
    assert answer.headers["Pisync-Attempt"] == "1"
    assert (await lab.api.get(answer.headers["Location"])).json == answer.json


@pytest.mark.parametrize("outcome", [FULL, MISSING, TIMEOUT])
async def test_a_failure_shows_its_code_and_message(lab: FleetLab, outcome: dict[str, Any]) -> None:
    before = await lab.device(7)
    await lab.script(7, outcome)
    pending = (await lab.sync(7)).json
    await lab.settle()
    assert await lab.device(7) == {**pending, **outcome, "last_sync_at": before["last_sync_at"]}


async def test_a_success_sets_the_last_sync_to_the_attempts_time(lab: FleetLab) -> None:
    await lab.advance(100)
    pending = (await lab.sync(7)).json
    await lab.advance(60)
    at = pending["last_attempt_at"]
    assert await lab.device(7) == {**pending, "sync_status_code": 200, "last_sync_at": at}
    assert at < await lab.now()


async def test_a_device_that_never_succeeded_has_no_last_sync_until_it_does(lab: FleetLab) -> None:
    lab = FleetLab(lab.api.on("default"), "/admin/fleets/default")
    await lab.clock("manual")
    (never,) = [each for each in await lab.devices() if each["last_sync_at"] is None]
    await lab.script(never["device_id"], TIMEOUT, SUCCESS)
    for expected in (False, True):
        started = (await lab.sync(never["device_id"])).json
        assert started["last_sync_at"] is None
        await lab.settle()
        device = await lab.device(never["device_id"])
        assert device["last_sync_at"] == (started["last_attempt_at"] if expected else None)


async def test_attempts_are_counted_one_by_one(lab: FleetLab) -> None:
    for attempt in range(1, 6):
        for device_id in (3, 4):
            answer = await lab.sync(device_id)
            assert answer.headers["Pisync-Attempt"] == str(attempt)
        await lab.settle()
    assert (await lab.sync(5)).headers["Pisync-Attempt"] == "1"


async def test_no_body_is_read(lab: FleetLab) -> None:
    for body, content_type in (
        (b"{", "application/json"),
        (b"\xff" * 100, "text/plain"),
        (b'{"device_ids":[1]}', "application/json"),
        (b" " * 100_000, "application/json"),
    ):
        answer = await lab.api.call(
            "POST", "/devices/7/sync", data=body, headers={"Content-Type": content_type}
        )
        assert answer.status == 202
        await lab.settle()
    assert (await lab.stats())["attempts"] == 4


async def test_of_a_device_that_is_not_there_is_404_and_counts_nothing(lab: FleetLab) -> None:
    before = await lab.ledger()
    (await lab.sync(11)).assert_problem(404)
    (await lab.api.on("nobody-made-me").post("/devices/1/sync")).assert_problem(404)
    assert await lab.ledger() == before


async def test_get_is_405(lab: FleetLab) -> None:
    for path in ("/devices/7/sync", "/devices/99/sync", "/devices/sync"):
        answer = (await lab.api.get(path)).assert_problem(405)
        assert answer.headers["Allow"] == "POST"


# What is joined, and what is refused


async def test_a_sync_of_a_pending_device_joins_and_changes_nothing(lab: FleetLab) -> None:
    first = await lab.sync(7)
    await lab.advance(4)
    before = [await lab.stats(), await lab.devices(), (await lab.ledger())["accepted"]]
    second = await lab.sync(7)
    assert second.status == 202
    assert second.json == first.json
    for header in ("Location", "Pisync-Attempt"):
        assert second.headers[header] == first.headers[header]
    assert [await lab.stats(), await lab.devices(), (await lab.ledger())["accepted"]] == before
    assert (await lab.advance(6))["finished"] == 1
    assert (await lab.advance(3600))["finished"] == 0


async def test_a_held_sync_is_joined_too(lab: FleetLab) -> None:
    await lab.script(7, HOLD)
    first, second = await lab.sync(7), await lab.sync(7)
    assert (second.status, second.json) == (202, first.json)


async def test_two_hundred_clients_at_once_start_one_attempt(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(mode="real", outcomes=[{**TIMEOUT, "weight": 1}])
    answers = await asyncio.gather(*(lab.sync(7) for _ in range(200)))
    assert {each.status for each in answers} == {202}
    assert {each.headers["Pisync-Attempt"] for each in answers} == {"1"}
    assert len({each.body for each in answers}) == 1
    assert (await lab.settle())["finished"] == 1
    ledger = await lab.ledger()
    assert (ledger["accepted"], ledger["joined"]) == (1, 199)
    assert (await lab.stats())["attempts"] == 1
    assert len(await lab.errors()) == 1


async def test_a_fleet_may_refuse_syncs_of_pending_devices(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(when_pending="refuse")
    await lab.sync(7)
    await lab.advance(4)
    before = await lab.device(7)
    (await lab.sync(7)).assert_problem(409)
    assert await lab.device(7) == before
    ledger = await lab.ledger()
    assert (ledger["accepted"], ledger["joined"], ledger["refused"]) == (1, 0, 1)
    assert (await lab.stats())["attempts"] == 1
    await lab.advance(6)
    again = await lab.sync(7)
    assert (again.status, again.headers["Pisync-Attempt"]) == (202, "2")


async def test_of_two_hundred_clients_at_once_one_is_accepted_where_the_others_are_refused(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(when_pending="refuse")
    answers = await asyncio.gather(*(lab.sync(7) for _ in range(200)))
    assert Counter(each.status for each in answers) == {202: 1, 409: 199}
    assert (await lab.ledger())["refused"] == 199


async def test_beyond_the_limit_of_pending_syncs_is_503_and_counts_as_refused(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(max_pending=2)
    await lab.script(1, HOLD)  # held ones are pending, too
    assert [(await lab.sync(each)).status for each in (1, 2)] == [202, 202]
    before = await lab.device(3)
    refused = (await lab.sync(3)).assert_problem(503)
    assert int(refused.headers["Retry-After"]) >= 1
    assert "Pisync-Attempt" not in refused.headers
    assert await lab.device(3) == before
    assert (await lab.ledger())["refused"] == 1
    assert (await lab.stats())["attempts"] == 2
    assert (await lab.sync(2)).status == 202  # joins
    await lab.advance(10)
    assert (await lab.sync(3)).status == 202
    (await lab.sync(4)).assert_problem(503)


async def test_no_script_step_is_used_by_a_sync_that_is_joined_or_refused(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(max_pending=1)
    await lab.script(1, SUCCESS, FULL)
    await lab.sync(2)
    (await lab.sync(1)).assert_problem(503)
    await lab.settle()
    await lab.sync(1)
    await lab.sync(1)
    await lab.settle()
    assert (await lab.device(1))["sync_status_code"] == 200
    await lab.sync(1)
    await lab.settle()
    assert (await lab.device(1))["sync_status_code"] == 400


# What finishes


async def test_every_accepted_sync_finishes_exactly_once(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=300, mode="real", outcomes=MIXED, delay=SOON)
    for _ in range(3):
        answers = await asyncio.gather(*(lab.sync(each) for each in range(1, 301)))
        assert {each.status for each in answers} == {202}
        await lab.finished()
    devices, errors, ledger = await lab.devices(), await lab.errors(), await lab.ledger()
    assert {each["sync_status_code"] for each in devices} == {200, 400, 404, 500}
    assert ledger["accepted"] == 900
    assert ledger["balanced"]
    assert ledger["succeeded"] + len(errors) == 900
    # One error log for each failure, and none twice.
    assert len({(each["device_id"], each["attempt"]) for each in errors}) == len(errors)
    for device in devices:
        logs = [each for each in errors if each["device_id"] == device["device_id"]]
        last = [each for each in logs if each["attempt"] == 3]
        assert len(last) == (device["error_message"] is not None)
        if last:
            assert last[0]["error_message"] == device["error_message"]


async def test_a_client_that_hangs_up_does_not_cancel_its_sync(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=50, mode="real", delay=SOON, outcomes=MIXED)
    for device_id in range(1, 51):
        await _send_and_hang_up(lab, f"/devices/{device_id}/sync")

    async def all_finished() -> bool:
        stats = await lab.stats()
        return bool(stats["attempts"] == stats["succeeded"] + stats["failed"] == 50)

    await eventually(all_finished)
    assert (await lab.ledger())["balanced"]


async def test_a_client_that_hangs_up_does_not_cancel_its_bulk_sync(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=3_000)
    await _send_and_hang_up(lab, "/devices/sync", b'{"all":true}')

    async def all_started() -> bool:
        return bool((await lab.stats())["attempts"] == 3_000)

    await eventually(all_started)


async def _send_and_hang_up(lab: FleetLab, path: str, body: bytes = b"") -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", lab.api.client.port)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: pisync\r\nAuthorization: Bearer {lab.api.token}\r\n"
        f"Pisync-Fleet: {lab.api.fleet}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()


async def test_nothing_finishes_before_its_delay(make_api: MakeApi) -> None:
    time = ManualTime()
    lab = FleetLab((await make_api(time=time)).as_("devices", "admin"), "/admin/fleets/default")
    await lab.sync(1)
    time.pass_seconds(0.049)
    await asyncio.sleep(0.15)
    assert (await lab.device(1))["sync_status_code"] == 202
    time.pass_seconds(0.001)
    await lab.finished()


async def test_the_rule_of_the_two_times_holds_whatever_happens(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=5, outcomes=MIXED, delay={**SOON, "max": 20})
    chance = random.Random(5)  # noqa: S311 - nothing secret hangs on it
    last: dict[int, str] = {}
    for _ in range(150):
        device_id = chance.randint(1, 5)
        match chance.randrange(6):
            case 0:
                await lab.advance(chance.choice((0, 0.5, 7)))
            case 1:
                await lab.settle()
            case 2:
                await lab.script(device_id, chance.choice((SUCCESS, FULL, HOLD)))
            case 3:
                await lab.release(device_id, chance.choice((SUCCESS, FULL)))
            case _:
                await lab.sync(device_id)
        for device in await lab.devices():
            at, number = device["last_attempt_at"], device["device_id"]
            assert device["last_sync_at"] <= at
            if device["sync_status_code"] == 200:
                assert device["last_sync_at"] == at
            assert (device["error_message"] is None) == (device["sync_status_code"] in (200, 202))
            assert at >= last.get(number, "")
            last[number] = at
    ledger = await lab.ledger()
    assert ledger["balanced"]
    assert ledger["accepted"] > 20


# When the store fails


STORE_CALLS = [
    ("GET", "/devices", None),
    ("GET", "/devices/1", None),
    ("POST", "/devices/1/sync", None),
    ("POST", "/devices/sync", {"all": True}),
    ("POST", "/devices/sync", {"device_ids": [1]}),
    ("GET", "/errors", None),
    ("GET", "/stats", None),
    ("GET", "/admin/fleets", None),
    ("GET", "/admin/fleets/lab", None),
    ("PUT", "/admin/fleets/lab", {"devices": 1}),
    ("PATCH", "/admin/fleets/lab", {"profile": {"seed": 1}}),
    ("DELETE", "/admin/fleets/lab", None),
    ("POST", "/admin/fleets/lab/reset", None),
    ("PUT", "/admin/fleets/lab/clock", {"mode": "real"}),
    ("POST", "/admin/fleets/lab/advance", {"seconds": 1}),
    ("POST", "/admin/fleets/lab/settle", None),
    ("PUT", "/admin/fleets/lab/devices/1/script", [SUCCESS]),
    ("DELETE", "/admin/fleets/lab/devices/1/script", None),
    ("POST", "/admin/fleets/lab/devices/1/release", SUCCESS),
    ("GET", "/admin/fleets/lab/forecast?device_id=1", None),
    ("GET", "/admin/fleets/lab/ledger", None),
    ("POST", "/register", {"username": "alice", "password": "correct horse"}),
    ("POST", "/login", {"username": "admin", "password": "the admin's password"}),
    ("GET", "/readyz", None),
]


def _break(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable

    parts = {
        "queries": Queries,
        "fleets": FleetWriter,
        "starter": SyncStarter,
        "finisher": SyncFinisher,
        "accounts": AccountStore,
        "login_attempts": LoginAttempts,
    }
    for name, part in parts.items():
        for method in vars(part):
            if not method.startswith("_"):
                monkeypatch.setattr(getattr(store, name), method, fail)
    monkeypatch.setattr(store, "ping", fail)


async def test_a_store_that_fails_is_503_and_never_500(
    lab: FleetLab, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    assert lab.api.client.app is not None
    with monkeypatch.context() as patches:
        _break(lab.api.client.app[keys.STORE], patches)
        for method, path, body in STORE_CALLS:
            with subtests.test(method=method, path=path):
                answer = (await lab.api.call(method, path, json=body)).assert_problem(503)
                assert int(answer.headers["Retry-After"]) >= 1
        assert (await lab.api.get("/livez")).status == 200
    assert (await lab.api.get("/readyz")).status == 200
    assert (await lab.ledger())["accepted"] == 0


async def test_syncs_finish_when_the_store_is_back(
    new_lab: MakeFleetLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "RETRY", 0.01)
    lab = await new_lab(mode="real", delay={"distribution": "constant", "seconds": 0.05})
    await lab.sync_all()
    assert lab.api.client.app is not None
    with monkeypatch.context() as patches:
        _break(lab.api.client.app[keys.STORE], patches)
        await asyncio.sleep(0.2)
    await lab.finished()
    assert (await lab.stats())["succeeded"] == 10


async def test_stats_tell_the_last_seconds_if_they_are_asked_for(lab: FleetLab) -> None:
    assert "history" not in await lab.stats()
    await lab.sync_all()
    await asyncio.sleep(1.1)
    answer = await lab.api.get("/stats?history=300")
    history = answer.json["history"]
    assert len(history["started"]) == len(history["succeeded"]) == len(history["failed"]) == 300
    assert sum(history["started"]) == 10
    assert sum(history["succeeded"] + history["failed"]) == 0
    assert history["from"].endswith(".000000Z")
    for wrong in ("0", "301", "-1", "x", "1.5", ""):
        bad = await lab.api.get(f"/stats?history={wrong}")
        bad.assert_problem(422, "history")
    await lab.reset()
    answer = await lab.api.get("/stats?history=2")
    assert answer.json["history"]["started"] == [0, 0]
