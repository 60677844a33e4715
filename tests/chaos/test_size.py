"""Large fleets: soon made, small in memory, and as quick as small ones."""

import asyncio
import gc
import io
import resource
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from pisync.web.handlers.pages import OPENAPI, prepare
from tests.conftest import Api, MakeApi
from tests.support.fleet_lab import (
    FleetLab,
    make_lab,
)

pytestmark = [pytest.mark.slow, pytest.mark.one_way]

MILLION = 1_000_000


async def longest_pause(api: Api, during: Awaitable[Any]) -> float:
    """Return the longest time, in seconds, that another client waited for an answer meanwhile.

    Processor time of all that this process does, since the machine may have other things to do.
    The garbage collector leaves alone what the tests themselves hold: a service has none of it.
    """
    gc.collect()
    gc.freeze()
    task = asyncio.ensure_future(during)
    longest = 0.0
    while not task.done():
        began = time.process_time()
        assert (await api.get("/livez")).status == 200
        longest = max(longest, time.process_time() - began)
    gc.unfreeze()
    await task
    return longest


async def test_a_million_devices_are_made_in_seconds_and_block_nobody(admin: Api) -> None:
    body = {"devices": MILLION}
    for call in ("made", "replaced", "reset"):
        began = time.process_time()
        pause = await longest_pause(
            admin,
            admin.post("/admin/fleets/large/reset")
            if call == "reset"
            else admin.put("/admin/fleets/large", body),
        )
        took = time.process_time() - began
        print(f"a million devices {call}: {took:.2f} s, longest pause {pause * 1000:.0f} ms")  # noqa: T201 - `pytest -s` shows it
        assert took < 10
        assert pause < 0.5
    assert (await admin.get("/admin/fleets/large")).json["devices"] == MILLION


async def test_a_list_of_devices_blocks_nobody(admin: Api) -> None:
    devices = [{"device_id": each * 1_000_003} for each in range(1, 30_001)]
    body = io.BytesIO(orjson.dumps({"devices": devices}))
    headers = {"Content-Type": "application/json"}
    pause = await longest_pause(
        admin, admin.call("PUT", "/admin/fleets/large", data=body, headers=headers)
    )
    print(f"30,000 listed devices: longest pause {pause * 1000:.0f} ms")  # noqa: T201 - `pytest -s` shows it
    assert pause < 0.5
    assert (await admin.on("large").get("/stats")).json["devices"] == 30_000


async def test_the_largest_fleet_works(admin: Api) -> None:
    largest = 5_000_000
    lab = await make_lab(admin, devices=largest)
    started = await lab.sync(largest)
    assert (started.status, started.json["device_id"]) == (202, largest)
    page = await lab.api.get(f"/devices?after={largest - 2}")
    assert [each["device_id"] for each in page.json] == [largest - 1, largest]
    (await lab.sync(largest + 1)).assert_problem(404)
    assert (await lab.settle())["finished"] == 1
    assert (await lab.device(largest))["sync_status_code"] == 200
    await lab.api.delete(lab.path)


async def test_what_is_done_at_the_far_end_costs_what_it_costs_in_a_fleet_of_ten(
    admin: Api,
) -> None:
    small = await make_lab(admin, "small")
    large = await make_lab(admin, "large", devices=MILLION)

    async def page(lab: FleetLab, last: int) -> None:
        answer = await lab.api.get(f"/devices?after={last - 10}&limit=10")
        assert [each["device_id"] for each in answer.json] == list(range(last - 9, last + 1))

    async def look(lab: FleetLab, last: int) -> None:
        assert (await lab.device(last))["device_id"] == last

    async def sync(lab: FleetLab, last: int) -> None:
        assert (await lab.sync(last)).status == 202
        assert (await lab.settle())["finished"] == 1

    async def filtered(lab: FleetLab, last: int) -> None:
        assert (await lab.sync(last)).status == 202
        pending = await lab.api.get("/devices?status=202")
        assert [each["device_id"] for each in pending.json] == [last]
        await lab.settle()

    async def told(lab: FleetLab, last: int) -> None:
        assert len(await lab.forecast(last)) == 20

    async def counted(lab: FleetLab, _: int) -> None:
        assert (await lab.stats())["pending"] == 0
        assert (await lab.ledger())["balanced"]

    for do in (page, look, sync, filtered, told, counted):
        in_small, in_large = await _quickest(do, small, 10), await _quickest(do, large, MILLION)
        print(f"{do.__name__}: {in_small * 1000:.2f} and {in_large * 1000:.2f} ms")  # noqa: T201 - `pytest -s` shows it
        assert in_large < 5 * in_small + 0.005


async def _quickest(
    do: Callable[[FleetLab, int], Awaitable[None]], lab: FleetLab, last: int
) -> float:
    """Return the processor time, in seconds, that it takes when nothing else comes in between."""
    quickest = 60.0
    for _ in range(10):
        began = time.process_time()
        await do(lab, last)
        quickest = min(quickest, time.process_time() - began)
    return quickest


@pytest.fixture
async def measured(make_api: MakeApi) -> Api:
    """An admin of a service that keeps few error logs: these are not the devices' memory."""
    return (await make_api(error_logs=1_000)).as_("devices", "admin")


async def test_a_device_takes_at_most_400_bytes_synced_or_not(measured: Api) -> None:
    devices = 30_000  # so many that the fleet's log of events, which is bounded, is no matter
    outcomes = [
        {"sync_status_code": 200, "weight": 1},
        {"sync_status_code": 500, "error_message": "Connection Timeout", "weight": 1},
    ]
    assert measured.client.app
    await asyncio.to_thread(prepare, measured.client.app[OPENAPI])  # none of it is the devices'
    tracemalloc.start()
    try:
        before = _bytes()
        lab = await make_lab(measured, devices=devices, outcomes=outcomes)
        made = _bytes()
        assert (await lab.sync_all())["started"] == devices
        pending = _bytes()
        assert (await lab.settle())["finished"] == devices
        synced = _bytes()
    finally:
        tracemalloc.stop()
    for state, taken in (("made", made), ("pending", pending), ("synced", synced)):
        each = (taken - before) / devices
        print(f"a device that is {state}: {each:.0f} bytes")  # noqa: T201 - `pytest -s` shows it
        assert each <= 400


def _bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def document_of_a_million(small: bytes, path: Path) -> None:
    """Write the snapshot of a fleet of a million devices that have all synced once."""
    head = orjson.loads(small.partition(b"\n")[0])
    head |= {"devices": MILLION}
    head["counts"] |= {"accepted": MILLION, "succeeded": MILLION}
    moment = head["clock"]["now"]
    line = orjson.dumps(
        {
            "device": {
                "device_id": 4711,
                "last_sync_at": moment,
                "sync_status_code": 200,
                "error_message": None,
                "last_attempt_at": moment,
                "attempt": 1,
            }
        }
    )
    before, _, after = line.partition(b"4711")
    digest = sha256()
    with path.open("wb") as file:
        for start in range(0, MILLION, 10_000):
            ids = range(start + 1, start + 10_001)
            text = b"".join(b"%s%d%s\n" % (before, device_id, after) for device_id in ids)
            if not start:
                text = orjson.dumps(head) + b"\n" + text
            digest.update(text)
            file.write(text)
        end = {"lines": MILLION + 1, "sha256": digest.hexdigest()}
        file.write(orjson.dumps({"end": end}) + b"\n")


class Resident:
    """How much the process has grown by since this was made, at most."""

    def __init__(self) -> None:
        gc.collect()
        self._before = self._now()
        self.growth = 0

    @staticmethod
    def _now() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def look(self) -> None:
        self.growth = max(self.growth, self._now() - self._before)


async def test_a_snapshot_of_a_million_devices_is_streamed_both_ways(
    measured: Api, tmp_path: Path
) -> None:
    lab = await make_lab(measured, "small", 1)
    small = (await measured.get(f"{lab.path}/snapshot")).body
    path = tmp_path / "large.ndjson"
    document_of_a_million(small, path)
    target = "/admin/fleets/large/snapshot"

    async def pieces(resident: Resident) -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(1 << 16):
                resident.look()
                yield piece

    async def put() -> None:
        resident = Resident()
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await measured.call("PUT", target, data=pieces(resident), headers=headers)
        assert answer.status == 201, answer.body
        resident.look()
        report("restored", resident)

    async def get() -> None:
        resident = Resident()
        headers = {"Authorization": f"Bearer {measured.token}"}
        size = 0
        async with measured.client.get(target, headers=headers) as response:
            async for piece in response.content.iter_any():
                resident.look()
                size += len(piece)
        assert size > MILLION * 100
        report("taken", resident)

    def report(done: str, resident: Resident) -> None:
        took, growth = time.process_time() - began, resident.growth / 1024**2
        print(f"a million devices {done}: {took:.2f} s, {growth:.0f} MiB")  # noqa: T201 - `pytest -s` shows it
        assert took < 30
        assert growth < 64

    for call in (put, get):
        began = time.process_time()
        pause = await longest_pause(measured, call())
        print(f"longest pause {pause * 1000:.0f} ms")  # noqa: T201 - `pytest -s` shows it
        assert pause < 0.5
    stats = (await measured.on("large").get("/stats")).json
    assert (stats["attempts"], stats["succeeded"]) == (MILLION, MILLION)
