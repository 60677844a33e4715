"""Attempts that are pending for so many reads."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, MakeApi
from tests.support.fleet_lab import FULL, SUCCESS, FleetLab, make_lab
from tests.support.stores.server import server


async def reads(lab: FleetLab, path: str, times: int) -> list[Answer]:
    return [await lab.api.get(path) for _ in range(times)]


async def codes(lab: FleetLab, device_id: int, times: int) -> list[int]:
    """Read a device so many times; return its codes."""
    answers = await reads(lab, f"/devices/{device_id}", times)
    return [answer.json["sync_status_code"] for answer in answers]


async def polled(lab: FleetLab, polls: int, *device_ids: int) -> None:
    for device_id in device_ids:
        await lab.script(device_id, {**FULL, "polls": polls})
        await lab.sync(device_id)


async def test_the_read_after_the_last_poll_shows_the_outcome(lab: FleetLab) -> None:
    await polled(lab, 3, 7)
    assert await codes(lab, 7, 5) == [202, 202, 202, 400, 400]
    (log,) = await lab.errors()
    assert (log["device_id"], log["attempt"], log["error_message"]) == (7, 1, "Storage Full")
    assert log["occurred_at"] == await lab.now()
    ledger = await lab.ledger()
    assert (ledger["accepted"], ledger["pending"], ledger["balanced"]) == (1, 0, True)


async def test_no_clock_moves_it_and_a_release_ends_it_sooner(lab: FleetLab) -> None:
    await polled(lab, 1_000, 7)
    assert (await lab.ledger())["held"] == 1
    assert (await lab.advance(86_400))["finished"] == 0
    assert (await lab.settle())["finished"] == 0
    assert (await lab.release(7)).json["sync_status_code"] == 200
    assert await codes(lab, 7, 1) == [200]


async def test_a_sync_joins_it_and_the_next_step_follows(lab: FleetLab) -> None:
    await lab.script(7, {**FULL, "polls": 2}, {**SUCCESS, "polls": 1, "sticky": True})
    await lab.sync(7)
    assert await codes(lab, 7, 1) == [202]
    joined = await lab.sync(7)
    assert joined.headers["Pisync-Attempt"] == "1"
    assert await codes(lab, 7, 2) == [202, 400]
    for attempt in ("2", "3"):
        assert (await lab.sync(7)).headers["Pisync-Attempt"] == attempt
        assert await codes(lab, 7, 2) == [202, 200]


async def test_a_page_reads_each_device_that_it_shows(lab: FleetLab) -> None:
    await polled(lab, 1, 3, 7)
    page = await lab.api.get("/devices", params={"status": "202", "limit": 1})
    assert [each["device_id"] for each in page.json] == [3]
    assert page.headers["X-Total-Count"] == "2"
    page = await lab.api.get("/devices", params={"status": "400,202"})
    shown = [(each["device_id"], each["sync_status_code"]) for each in page.json]
    assert shown == [(3, 400), (7, 202)]
    assert (await lab.api.get("/devices", params={"status": "202"})).json == []


async def test_not_modified_is_a_read_and_head_is_none(lab: FleetLab) -> None:
    await polled(lab, 3, 7)
    for path in ("/devices/7", "/devices?after=6&limit=1"):
        tag = (await lab.api.call("HEAD", path)).headers["ETag"]
        assert (await lab.api.call("HEAD", path)).headers["ETag"] == tag
        answer = await lab.api.get(path, headers={"If-None-Match": tag})
        assert answer.status == 304
    assert await codes(lab, 7, 2) == [202, 400]


async def test_counts_and_logs_and_syncs_are_no_reads(lab: FleetLab) -> None:
    await polled(lab, 1, 7)
    assert (await lab.stats())["pending"] == 1
    assert await lab.errors() == []
    await lab.sync(7)
    assert await codes(lab, 7, 2) == [202, 400]


@pytest.mark.parametrize(("when", "seen"), [("before", [202, 400]), ("after", [400, 400])])
async def test_a_read_that_meets_a_fault_counts_if_it_happened(
    lab: FleetLab, when: str, seen: list[int]
) -> None:
    await polled(lab, 1, 7)
    fault: dict[str, Any] = {"kind": "status", "status": 503}
    rule = {"calls": ["device", "devices"], "first": 1, "fault": fault, "when": when}
    assert (await lab.api.put(f"{lab.path}/faults", [rule])).status == 200
    assert (await lab.api.get("/devices/7")).status == 503
    assert await codes(lab, 7, 2) == seen


@pytest.mark.parametrize("kind", ["memory", "sqlite", "two replicas"])
async def test_of_fifty_readers_at_once_as_many_see_it_pending_as_there_are_polls(
    kind: str, make_api: MakeApi, tmp_path: Path
) -> None:
    stores = {"memory": "memory", "sqlite": f"sqlite:///{tmp_path}/pisync.db"}
    store = stores.get(kind) or await server().make_database()
    number = 2 if kind == "two replicas" else 1
    replicas = [(await make_api(store=store)).as_("devices", "admin") for _ in range(number)]
    lab = await make_lab(replicas[0])
    await polled(lab, 10, 7)
    reads = [replicas[each % number].on("lab").get("/devices/7") for each in range(50)]
    answers = await asyncio.gather(*reads)
    seen = sorted(answer.json["sync_status_code"] for answer in answers)
    assert seen == [202] * 10 + [400] * 40
    assert len(await lab.errors()) == 1
    assert (await lab.ledger())["balanced"]


async def test_a_page_is_never_answered_from_before_its_polls(lab: FleetLab) -> None:
    """Pages are kept as they were rendered, for as long as nothing changes."""
    await reads(lab, "/devices", 2)
    await polled(lab, 2, 7)
    shown = [answer.json[6]["sync_status_code"] for answer in await reads(lab, "/devices", 4)]
    assert shown == [202, 202, 400, 400]
