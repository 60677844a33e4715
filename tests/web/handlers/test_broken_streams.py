"""Streams of events that faults break: who resumes them has lost nothing."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientError

from tests.conftest import Api, MakeApi
from tests.support.fleet_lab import FULL, FleetLab, make_lab
from tests.support.stores.server import server
from tests.web.handlers.test_stream import Reader, Sent, reading

DEVICES = 10


async def make_broken_lab(admin: Api, fault: Any, **rule: object) -> FleetLab:
    """Return a fleet whose streams meet a fault, and whose attempts fail after 10 s."""
    lab = await make_lab(admin, devices=DEVICES, outcomes=[{**FULL, "weight": 1}])
    rules = [{"calls": ["events"], "fault": fault, **rule}]
    assert (await admin.put(f"{lab.path}/faults", rules)).status == 200
    return lab


async def until_it_breaks(reader: Reader) -> list[Sent]:
    """Return the events that come whole."""
    events: list[Sent] = []
    try:
        while (event := await reader.next()) is not None:
            events.append(event)
    except ClientError:
        return events
    raise AssertionError("the stream has ended well")


async def resumed(lab: FleetLab, count: int) -> tuple[list[Sent], int]:
    """Follow a stream, and resume it as often as it breaks, until there are so many events."""
    events: list[Sent] = []
    breaks = 0
    async with asyncio.timeout(30):
        while len(events) < count:
            last = events[-1].event_id if events else None
            try:
                async with reading(lab.api, last) as reader:
                    if not events:
                        await lab.sync_all()
                        await lab.settle()
                    while len(events) < count and (event := await reader.next()):
                        events.append(event)
            except ClientError:
                breaks += 1
    return events, breaks


def happened(events: list[Sent]) -> list[tuple[str, int, int]]:
    """Return what the events tell, in order."""
    return [
        ("error_log", each.data["device_id"], each.data["sync_status_code"])
        if each.name == "error_log"
        else (
            "sync",
            each.data["device"]["device_id"],
            each.data["device"]["sync_status_code"],
        )
        for each in events
    ]


STARTED = [("sync", n, 202) for n in range(1, DEVICES + 1)]
FINISHED = [(name, n, 400) for n in range(1, DEVICES + 1) for name in ("sync", "error_log")]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
async def test_a_stream_that_is_cut_off_again_and_again_loses_nothing(
    admin: Api, share: float
) -> None:
    lab = await make_broken_lab(admin, {"kind": "truncate", "share": share})
    events, breaks = await resumed(lab, DEVICES * 3)
    assert happened(events) == STARTED + FINISHED
    assert breaks > 1
    assert len({event.event_id for event in events}) == DEVICES * 3
    (rule,) = (await admin.get(f"{lab.path}/faults")).json
    assert rule["hits"] >= breaks


async def test_the_first_stream_alone_is_cut_off(admin: Api) -> None:
    lab = await make_broken_lab(admin, {"kind": "truncate"}, first=1)
    async with reading(lab.api) as reader:
        assert reader.response.headers["Pisync-Fault"] == "truncate"
        await lab.sync_all()
        before = await until_it_breaks(reader)
    assert 0 < len(before) < DEVICES
    await lab.settle()
    async with reading(lab.api, before[-1].event_id) as reader:
        assert "Pisync-Fault" not in reader.response.headers
        rest = await reader.take(DEVICES * 3 - len(before))
    assert happened(before + rest) == STARTED + FINISHED


async def test_even_one_event_at_a_time_leaves_an_id_to_resume_from(admin: Api) -> None:
    lab = await make_broken_lab(admin, {"kind": "truncate"}, first=1)
    async with reading(lab.api) as reader:
        await lab.sync(1)
        (first,) = await reader.take(1)
        await lab.sync(2)
        assert await until_it_breaks(reader) == []
    async with reading(lab.api, first.event_id) as reader:
        assert happened(await reader.take(1)) == [("sync", 2, 202)]


async def test_a_stream_in_drips_is_whole(admin: Api) -> None:
    lab = await make_broken_lab(admin, {"kind": "drip", "bytes": 200, "every": 0.001})
    events, breaks = await resumed(lab, DEVICES * 3)
    assert happened(events) == STARTED + FINISHED
    assert breaks == 0


@pytest.mark.slow
async def test_a_stream_that_is_cut_off_resumes_on_another_replica(make_api: MakeApi) -> None:
    url = await server().make_database()
    one, other = [(await make_api(store=url)).as_("devices", "admin") for _ in range(2)]
    lab = await make_broken_lab(one, {"kind": "truncate"}, first=1)
    async with reading(lab.api) as reader, reading(other.on("lab")):
        await lab.sync_all()
        before = await until_it_breaks(reader)
    await lab.settle()
    async with reading(other.on("lab"), before[-1].event_id) as reader:
        rest = await reader.take(DEVICES * 3 - len(before))
    assert happened(before + rest) == STARTED + FINISHED
