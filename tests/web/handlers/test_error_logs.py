"""`GET /errors`, the error logs."""

import asyncio
from typing import Any

import pytest
from yarl import URL

from tests.conftest import Api, MakeApi
from tests.support.fleet_lab import (
    FULL,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    MakeFleetLab,
    next_page,
)

MISSING = {"sync_status_code": 404, "error_message": "Server Not Reachable"}


@pytest.fixture
async def failed(lab: FleetLab) -> FleetLab:
    """Twelve failures, a second apart, of devices 1, 2, 3 in turn: 400, 404, 500 and so on."""
    for attempt in range(12):
        device_id = attempt % 3 + 1
        await lab.script(device_id, {**(FULL, MISSING, TIMEOUT)[attempt % 3], "delay": 1})
        await lab.sync(device_id)
        await lab.advance(1)
    return lab


def ids(logs: list[Any]) -> list[int]:
    return [each["error_id"] for each in logs]


async def test_a_failure_leaves_one_error_log_with_these_fields(lab: FleetLab) -> None:
    await lab.script(7, {**FULL, "delay": 2.5})
    await lab.sync(7)
    assert await lab.errors() == []
    due = (await lab.advance(2.5))["now"]
    await lab.advance(60)
    (log,) = await lab.errors()
    assert type(log.pop("error_id")) is int
    assert log == {
        "device_id": 7,
        "attempt": 1,
        "sync_status_code": 400,
        "error_message": "Storage Full",
        "occurred_at": due,
    }


async def test_an_error_occurred_when_it_was_due_and_not_when_it_was_seen(lab: FleetLab) -> None:
    await lab.script(7, {**FULL, "delay": 2})
    await lab.sync(7)
    started = (await lab.device(7))["last_attempt_at"]
    await lab.advance(3600)
    (log,) = await lab.errors()
    assert started < log["occurred_at"] < await lab.now()
    assert log["occurred_at"][17:] == f"{(float(started[17:-1]) + 2) % 60:09.6f}Z"


async def test_a_success_leaves_none(lab: FleetLab) -> None:
    await lab.sync_all()
    await lab.settle()
    assert await lab.errors() == []


async def test_the_newest_come_first_and_ids_grow(failed: FleetLab) -> None:
    logs = await failed.errors()
    assert len(logs) == 12
    assert ids(logs) == sorted(set(ids(logs)), reverse=True)
    moments = [each["occurred_at"] for each in logs]
    assert moments == sorted(set(moments), reverse=True)
    assert [each["attempt"] for each in logs] == [4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1, 1]


async def test_a_page_has_fifty_unless_told_otherwise(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=120, outcomes=[{**FULL, "weight": 1}])
    await lab.sync_all()
    await lab.settle()
    assert len((await lab.api.get("/errors")).json) == 50
    assert len((await lab.api.get("/errors", params={"limit": 1000})).json) == 120


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 12),
        ("&device_id=2", 4),
        ("&status=500", 4),
        ("&device_id=2&status=404", 4),
        ("&device_id=2&status=500", 0),
        ("&device_id=9", 0),
    ],
)
async def test_following_link_gives_every_log_of_a_filter_once(
    failed: FleetLab, query: str, count: int
) -> None:
    everything = (await failed.api.get(f"/errors?limit=1000{query}")).json
    assert len(everything) == count
    for limit in (1, 3, 4, 12):
        found: list[Any] = []
        following: URL | None = URL(f"/errors?limit={limit}{query}")
        while following:
            page = await failed.api.get(str(following))
            assert page.status == 200
            assert len(page.json) <= limit
            found += page.json
            following = next_page(page)
        assert found == everything


async def test_link_leads_on_while_new_failures_come_in(failed: FleetLab) -> None:
    before = ids(await failed.errors())
    page = await failed.api.get("/errors?limit=5")
    found = ids(page.json)
    while following := next_page(page):
        await failed.script(1, {**FULL, "delay": 0})
        await failed.sync(1)
        await failed.settle()
        page = await failed.api.get(str(following))
        found += ids(page.json)
    assert found == before


async def test_filters_let_through_what_they_say(failed: FleetLab) -> None:
    for device_id, status in ((1, 400), (2, 404), (3, 500)):
        of_device = await failed.errors(device_id=device_id)
        assert of_device == await failed.errors(status=status)
        assert {each["device_id"] for each in of_device} == {device_id}


async def test_since_is_inclusive(failed: FleetLab) -> None:
    logs = await failed.errors()
    for place, log in enumerate(logs):
        assert await failed.errors(since=log["occurred_at"]) == logs[: place + 1]
    assert await failed.errors(since="9999-12-31T23:59:59.999999Z") == []
    assert await failed.errors(since="0001-01-01T00:00:00.000000Z") == logs


async def test_link_keeps_the_filter(failed: FleetLab) -> None:
    since = (await failed.errors())[9]["occurred_at"]
    page = await failed.api.get(
        "/errors", params={"limit": 2, "status": 500, "device_id": 3, "since": since}
    )
    following = next_page(page)
    assert following is not None
    assert dict(following.query) == {
        "limit": "2",
        "before": str(page.json[-1]["error_id"]),
        "device_id": "3",
        "status": "500",
        "since": since,
    }


async def test_before_is_exclusive(failed: FleetLab) -> None:
    logs = await failed.errors()
    for place, log in enumerate(logs):
        assert await failed.errors(before=log["error_id"]) == logs[place + 1 :]


async def test_before_may_lie_beyond_either_end(failed: FleetLab) -> None:
    logs = await failed.errors()
    assert await failed.errors(before=2**53 - 1) == logs
    assert await failed.errors(before=logs[-1]["error_id"]) == []
    assert await failed.errors(before=1) == []
    assert await failed.errors(before=1, device_id=1) == []


async def test_only_so_many_are_kept_and_the_oldest_go_first(make_api: MakeApi) -> None:
    api = (await make_api(error_logs=7)).as_("devices", "admin")
    assert len((await api.get("/errors")).json) <= 7
    lab = FleetLab(api, "/admin/fleets/default")
    await lab.clock("manual")
    for attempt in range(1, 10):
        await lab.script(1, {**FULL, "delay": 1})
        await lab.sync(1)
        await lab.settle()
        logs = await lab.errors()
        assert len(logs) <= 7
        assert logs[0]["attempt"] == attempt
        assert await lab.errors(device_id=1) == [each for each in logs if each["device_id"] == 1]
    assert [each["attempt"] for each in logs] == [9, 8, 7, 6, 5, 4, 3]
    assert (await lab.stats())["error_logs"] == 7
    ledger = await lab.ledger()
    assert (ledger["error_logs"], ledger["balanced"]) == (9, True)


async def test_a_device_fails_again_after_its_old_logs_have_gone(make_api: MakeApi) -> None:
    api = (await make_api(error_logs=2)).as_("devices", "admin")
    lab = FleetLab(api, "/admin/fleets/default")
    await lab.clock("manual")
    for device_id in (1, 2, 3, 1):
        await lab.script(device_id, {**FULL, "delay": 1})
        await lab.sync(device_id)
        await lab.settle()
    assert [each["device_id"] for each in await lab.errors()] == [1, 3]
    assert await lab.errors(device_id=2) == []
    assert [each["attempt"] for each in await lab.errors(device_id=1)] == [2]


async def test_a_fleet_that_is_listed_starts_without_error_logs(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=[{"device_id": 1, **FULL}])
    assert await lab.errors() == []
    assert (await lab.stats())["error_logs"] == 0


# Stats


async def test_stats_count_what_there_is(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=[{"device_id": 1, **FULL}, {"device_id": 2}, {"device_id": 3}])
    await lab.script(2, {**TIMEOUT, "delay": 1})
    await lab.script(3, {**SUCCESS, "delay": 2})
    for device_id in (1, 2, 3):
        await lab.sync(device_id)
    by_status = {"200": 0, "202": 3, "400": 0, "404": 0, "500": 0}
    expected = {
        "devices": 3,
        "pending": 3,
        "by_status": by_status,
        "attempts": 3,
        "succeeded": 0,
        "failed": 0,
        "error_logs": 0,
    }
    assert await lab.stats() == expected
    await lab.advance(2)
    assert await lab.stats() == {
        **expected,
        "pending": 1,
        "by_status": {**by_status, "200": 1, "202": 1, "500": 1},
        "succeeded": 1,
        "failed": 1,
        "error_logs": 1,
    }


async def test_stats_of_the_first_ten_devices_count_their_error_logs(user: Api) -> None:
    stats = (await user.get("/stats")).json
    assert stats["devices"] == sum(stats["by_status"].values()) == 10
    assert stats["error_logs"] == len((await user.get("/errors")).json) > 0
    assert (stats["attempts"], stats["succeeded"], stats["failed"]) == (0, 0, 0)


async def test_stats_add_up_under_load(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(
        devices=50,
        mode="real",
        outcomes=[{**SUCCESS, "weight": 1}, {**FULL, "weight": 1}, {**TIMEOUT, "weight": 1}],
        delay={"distribution": "uniform", "min": 0, "max": 0.02},
    )
    for _ in range(20):
        await asyncio.gather(*(lab.sync(each) for each in range(1, 51, 3)))
        stats = await lab.stats()
        assert stats["attempts"] == stats["succeeded"] + stats["failed"] + stats["pending"]
        assert stats["error_logs"] == stats["failed"]
        assert stats["by_status"]["202"] == stats["pending"]
        assert sum(stats["by_status"].values()) == stats["devices"] == 50
