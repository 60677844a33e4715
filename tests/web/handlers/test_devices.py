"""`GET /devices` and `GET /devices/{id}`."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from tests.conftest import Answer, Api, MakeApi, ManualTime
from tests.support.fleet_lab import (
    FULL,
    HOLD,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    MakeFleetLab,
    next_page,
)

FIELDS = {
    "device_id",
    "last_sync_at",
    "sync_status_code",
    "error_message",
    "last_attempt_at",
}
AT = "2026-11-22T07:40:12.000000Z"


async def pages(api: Api, path: str) -> AsyncIterator[Answer]:
    """Follow `Link` to the end."""
    following: URL | None = URL(path)
    while following:
        answer = await api.get(str(following))
        assert answer.status == 200
        yield answer
        following = next_page(answer)


async def ids(api: Api, path: str) -> list[int]:
    """The ids of all devices on all pages."""
    return [each["device_id"] async for page in pages(api, path) for each in page.json]


# What a device is


async def test_a_device_has_five_fields_and_keeps_their_rules(user: Api) -> None:
    devices = (await user.get("/devices")).json
    for device in devices:
        assert set(device) == FIELDS
        assert type(device["device_id"]) is int
        assert type(device["last_attempt_at"]) is str
        assert (device["error_message"] is None) == (device["sync_status_code"] == 200)
        assert device["last_sync_at"] is None or device["last_sync_at"] <= device["last_attempt_at"]
        assert (await user.get(f"/devices/{device['device_id']}")).json == device


async def test_the_first_ten_devices_show_every_outcome(user: Api) -> None:
    devices = (await user.get("/devices")).json
    assert [each["device_id"] for each in devices] == list(range(1, 11))
    assert {each["sync_status_code"] for each in devices} == {200, 400, 404, 500}
    assert any(each["last_sync_at"] is None for each in devices)


async def test_the_first_ten_devices_have_the_error_logs_that_belong_to_them(user: Api) -> None:
    devices = (await user.get("/devices")).json
    failed = {
        each["device_id"]: (each["sync_status_code"], each["error_message"])
        for each in devices
        if each["error_message"]
    }
    logs = (await user.get("/errors")).json
    assert all(each["attempt"] == 0 for each in logs)
    latest: dict[int, Any] = {}
    for log in reversed(logs):
        latest[log["device_id"]] = (log["sync_status_code"], log["error_message"])
    assert latest == failed
    attempted = {each["device_id"]: each["last_attempt_at"] for each in devices}
    assert all(log["occurred_at"] >= attempted[log["device_id"]] for log in logs)


@pytest.mark.parametrize("devices", [0, 1, 1234])
async def test_generated_devices_start_as_synced_when_their_fleet_was_made(
    make_api: MakeApi, devices: int
) -> None:
    api = (await make_api(devices=devices, time=ManualTime())).as_("devices")
    page = await api.get("/devices", params={"limit": 1000})
    assert page.headers["X-Total-Count"] == str(devices)
    moment = "2025-11-22T08:26:40.000000Z"
    assert page.json == [
        {
            "device_id": device_id,
            "last_sync_at": moment,
            "sync_status_code": 200,
            "error_message": None,
            "last_attempt_at": moment,
        }
        for device_id in range(1, min(devices, 1000) + 1)
    ]


async def test_a_pending_device_shows_the_attempt_and_the_last_success(
    new_lab: MakeFleetLab,
) -> None:
    failed = {"device_id": 1, **FULL, "last_sync_at": AT, "last_attempt_at": AT}
    lab = await new_lab(devices=[failed])
    await lab.sync(1)
    assert await lab.device(1) == {
        "device_id": 1,
        "last_sync_at": AT,
        "sync_status_code": 202,
        "error_message": None,
        "last_attempt_at": await lab.now(),
    }


async def test_a_device_that_is_not_there_is_404(user: Api) -> None:
    (await user.get("/devices/11")).assert_problem(404)


# Pages


async def test_a_page_has_a_hundred_devices_unless_told_otherwise(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=250)
    page = await lab.api.get("/devices")
    assert [each["device_id"] for each in page.json] == list(range(1, 101))


@pytest.mark.parametrize("limit", [1, 2, 249, 250, 251, 1000])
async def test_a_page_has_as_many_as_are_asked_for(new_lab: MakeFleetLab, limit: int) -> None:
    lab = await new_lab(devices=250)
    page = await lab.api.get("/devices", params={"limit": limit})
    assert len(page.json) == min(limit, 250)
    assert ("Link" in page.headers) == (limit < 250)


@pytest.mark.parametrize("limit", [1, 3, 10, 11])
async def test_following_link_gives_every_device_once(user: Api, limit: int) -> None:
    assert await ids(user, f"/devices?limit={limit}") == list(range(1, 11))


async def test_link_is_there_while_there_are_more_and_no_longer(user: Api) -> None:
    seen = [page async for page in pages(user, "/devices?limit=5")]
    assert [len(page.json) for page in seen] == [5, 5]
    assert re.fullmatch(r'<[^<>]+>; rel="next"', seen[0].headers["Link"])
    assert "Link" not in seen[1].headers


async def test_ids_need_not_follow_each_other(new_lab: MakeFleetLab) -> None:
    given = [2**53 - 1, 5, 10**12, 1, 77]
    lab = await new_lab(devices=[{"device_id": each} for each in given])
    assert await ids(lab.api, "/devices?limit=2") == sorted(given)
    after = await lab.api.get("/devices", params={"after": 6})
    assert [each["device_id"] for each in after.json] == [77, 10**12, 2**53 - 1]


@pytest.mark.parametrize("after", [10, 11, 2**53 - 1])
async def test_after_the_last_device_comes_nothing(user: Api, after: int) -> None:
    page = await user.get("/devices", params={"after": after})
    assert (page.status, page.json) == (200, [])
    assert "Link" not in page.headers
    assert page.headers["X-Total-Count"] == "10"


# Filters


async def _mixed(new_lab: MakeFleetLab) -> FleetLab:
    """Of 60 devices, by id modulo 5: synced, pending, and failed with 400, 404 and 500."""
    failures = {2: FULL, 3: {**FULL, "sync_status_code": 404}, 4: TIMEOUT}
    lab = await new_lab(
        devices=[{"device_id": each, **failures.get(each % 5, SUCCESS)} for each in range(1, 61)]
    )
    await lab.api.post("/devices/sync", {"device_ids": list(range(1, 61, 5))})
    return lab


@pytest.mark.parametrize(
    ("status", "remainders"),
    [
        ("200", {0}),
        ("202", {1}),
        ("400", {2}),
        ("404", {3}),
        ("500", {4}),
        ("400,500", {2, 4}),
        ("500,400", {2, 4}),
        ("500,500", {4}),
        ("200,202,400,404,500", {0, 1, 2, 3, 4}),
    ],
)
async def test_a_filter_lets_devices_of_its_statuses_through(
    new_lab: MakeFleetLab, status: str, remainders: set[int]
) -> None:
    lab = await _mixed(new_lab)
    wanted = [each for each in range(1, 61) if each % 5 in remainders]
    for limit in (1, 7, 1000):
        assert await ids(lab.api, f"/devices?status={status}&limit={limit}") == wanted
    after = await lab.api.get("/devices", params={"status": status, "after": 30})
    assert [each["device_id"] for each in after.json] == [each for each in wanted if each > 30]


async def test_the_total_is_of_what_the_filter_lets_through(new_lab: MakeFleetLab) -> None:
    lab = await _mixed(new_lab)
    for query, total in (("", 60), ("&status=400", 12), ("&status=400,500", 24), ("&after=60", 60)):
        page = await lab.api.get(f"/devices?limit=5{query}")
        assert page.headers["X-Total-Count"] == str(total)


async def test_a_filter_follows_the_devices(lab: FleetLab) -> None:
    await lab.script(3, {**TIMEOUT, "delay": 5})
    await lab.sync(3)
    assert await ids(lab.api, "/devices?status=202") == [3]
    await lab.advance(5)
    assert await ids(lab.api, "/devices?status=202") == []
    assert await ids(lab.api, "/devices?status=500") == [3]


@pytest.mark.parametrize("status", ["", "&status=200,202,400,404,500"])
async def test_following_link_gives_every_device_once_while_syncs_go_on(
    new_lab: MakeFleetLab, status: str
) -> None:
    lab = await new_lab(
        devices=300, mode="real", delay={"distribution": "constant", "seconds": 0.001}
    )

    async def keep_syncing() -> None:
        while True:
            for device_id in range(1, 301, 7):
                await lab.sync(device_id)

    syncing = asyncio.create_task(keep_syncing())
    try:
        for limit in (7, 50):
            assert await ids(lab.api, f"/devices?limit={limit}{status}") == list(range(1, 301))
        assert (await lab.stats())["attempts"] > 0
    finally:
        syncing.cancel()


async def test_a_filtered_walk_names_no_device_twice_while_syncs_go_on(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(
        devices=300, mode="real", delay={"distribution": "constant", "seconds": 0.001}
    )
    found = []
    async for page in pages(lab.api, "/devices?limit=10&status=200"):
        found += [each["device_id"] for each in page.json]
        await lab.api.post("/devices/sync", {"device_ids": list(range(1, 301, 2))})
    assert found == sorted(set(found))
    assert set(range(2, 301, 2)) <= set(found)


# ETags

PATHS = ("/devices", "/devices?limit=3&status=200", "/devices/7")


@pytest.mark.parametrize("path", PATHS)
async def test_an_etag_stays_while_nothing_changes(user: Api, path: str) -> None:
    first, second = await user.get(path), await user.get(path)
    assert re.fullmatch(r'"[\x21\x23-\x7e]+"', first.headers["ETag"])
    assert first.headers["ETag"] == second.headers["ETag"]


async def test_an_etag_changes_with_every_step_of_a_sync(lab: FleetLab) -> None:
    seen = []
    for step in (None, HOLD, SUCCESS, HOLD, FULL, HOLD, TIMEOUT):
        if step is HOLD:
            await lab.script(7, HOLD)
            await lab.sync(7)
        elif step is not None:
            await lab.release(7, step)
        seen += [(await lab.api.get(path)).headers["ETag"] for path in ("/devices", "/devices/7")]
        await lab.advance(1)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_known_is_not_sent_again(user: Api, path: str, method: str) -> None:
    whole = await user.get(path)
    tag = whole.headers["ETag"]
    for known in (
        tag,
        f"W/{tag}",
        f'"other", {tag}',
        f'"other",W/{tag} , "third"',
        f'W/"a,b", {tag}',
        "*",
    ):
        answer = await user.call(method, path, headers={"If-None-Match": known})
        assert (answer.status, answer.body) == (304, b""), known
        assert answer.headers["ETag"] == tag
        assert "Content-Type" not in answer.headers
        for name in ("X-Total-Count", "Link"):
            assert answer.headers.get(name) == whole.headers.get(name)
        assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_not_known_is_sent(user: Api, path: str) -> None:
    tag = (await user.get(path)).headers["ETag"]
    for known in ('"other"', 'W/"other"', '"*"', tag.strip('"'), tag.upper(), '""', "", "nonsense"):
        answer = await user.get(path, headers={"If-None-Match": known})
        assert answer.status == 200, known
        assert answer.headers["ETag"] == tag


async def test_what_has_changed_is_sent_again(lab: FleetLab) -> None:
    for path in ("/devices", "/devices/7"):
        tag = (await lab.api.get(path)).headers["ETag"]
        await lab.sync(7)
        answer = await lab.api.get(path, headers={"If-None-Match": tag})
        assert answer.status == 200
        assert answer.headers["ETag"] != tag
        await lab.settle()


async def test_a_device_that_is_not_there_is_404_though_any_tag_will_do(user: Api) -> None:
    answer = await user.get("/devices/99", headers={"If-None-Match": "*"})
    answer.assert_problem(404)
