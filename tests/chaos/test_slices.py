"""No call, however large, lets nobody else run for longer than 20 ms."""

import asyncio
import gzip
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from tests.chaos.conftest import short_or_long
from tests.conftest import Answer, Api, MakeApi
from tests.support.slices import SliceWatch

pytestmark = [pytest.mark.slow, pytest.mark.one_way]

DEVICES = short_or_long(100_000, 1_000_000)
FLEETS = short_or_long(2_000, 10_000)
FAILS = {
    "outcomes": [{"sync_status_code": 400, "error_message": "Storage Full", "weight": 1}],
    "delay": {"distribution": "constant", "seconds": 1},
    "max_pending": DEVICES,
}
LAB = "/admin/fleets/lab"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(params=["memory", "sqlite"])
async def admin(request: pytest.FixtureRequest, make_api: MakeApi, tmp_path: Path) -> Api:
    store = "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/pisync.db"
    return (await make_api(store=store)).as_("devices", "admin").on("lab")


def listed(count: int) -> bytes:
    return b'{"devices":[%b]}' % b",".join(b'{"device_id":%d}' % n for n in range(1, count + 1))


def sending(
    method: str, path: str, body: bytes, **headers: str
) -> Callable[[Api], Awaitable[Answer]]:
    async def send(api: Api) -> Answer:
        return await api.call(method, path, data=io.BytesIO(body), headers={**JSON, **headers})

    return send


def calling(method: str, path: str, json: object = None) -> Callable[[Api], Awaitable[Answer]]:
    async def call(api: Api) -> Answer:
        return await api.call(method, path, json=json)

    return call


CALLS: tuple[tuple[str, int, Callable[[Api], Awaitable[Answer]]], ...] = (
    ("a fleet is made", 201, calling("PUT", LAB, {"devices": DEVICES, "profile": FAILS})),
    ("the clock stops", 200, calling("PUT", f"{LAB}/clock", {"mode": "manual"})),
    ("all devices are synced", 202, calling("POST", "/devices/sync", {"all": True})),
    ("all syncs are settled", 200, calling("POST", f"{LAB}/settle")),
    ("a page is read", 200, calling("GET", "/devices?limit=1000")),
    ("a filtered page is read", 200, calling("GET", "/devices?limit=1000&status=400")),
    ("the last page is read", 200, calling("GET", f"/devices?limit=1000&after={DEVICES - 1000}")),
    ("a page of errors is read", 200, calling("GET", "/errors?limit=1000")),
    ("errors are looked for that are not there", 200, calling("GET", "/errors?status=500")),
    ("counts are read", 200, calling("GET", "/stats")),
    ("devices are synced by status", 202, calling("POST", "/devices/sync", {"status": [400]})),
    ("the fleet is reset", 204, calling("POST", f"{LAB}/reset")),
    ("a list of devices takes its place", 200, sending("PUT", LAB, listed(DEVICES * 2))),
    ("another list takes its place", 200, sending("PUT", LAB, listed(DEVICES))),
    ("a list with an infinite number is refused", 422, sending("PUT", LAB,
        b'{"devices":[%b]}' % b",".join([b'{"device_id":1e999}'] * 100_000))),
    ("a list of nothing is refused", 422, sending("PUT", LAB,
        b'{"devices":[%b]}' % b",".join([b"{}"] * 1_000_000))),
    ("many errors are refused", 422, sending("PATCH", LAB,
        b'{"profile":{"outcomes":[%b]}}' % b",".join([b"{}"] * 20_000))),
    ("many unknown fields are refused", 422, sending("PATCH", LAB,
        b"{%b}" % b",".join(b'"%d":0' % n for n in range(6_000)))),
    ("what unpacks to much is refused", 413, sending("POST", "/login",
        gzip.compress(b"{}," * 10_000_000), **{"Content-Encoding": "gzip"})),
    ("the document is read", 200, calling("GET", "/openapi.json")),
    ("metrics are read", 200, calling("GET", "/metrics")),
    ("the fleet is deleted", 204, calling("DELETE", LAB)),
)  # fmt: skip


ENDS_A_FLEET = {"the fleet is reset", "another list takes its place", "the fleet is deleted"}


TRIES = 3
"""What takes too long does so each time; a machine that is busy for a moment does not."""


async def test_no_large_call_takes_longer_than_a_slice(
    admin: Api, record_property: Callable[[str, object], None]
) -> None:
    too_long = {name: "" for name, _, _ in CALLS}
    for _ in range(TRIES):
        found = await calls_too_long(admin, record_property)
        too_long = {name: found[name] for name in too_long if name in found}
        if not too_long:
            return
    assert not too_long, "\n".join(too_long.values())


async def calls_too_long(
    admin: Api, record_property: Callable[[str, object], None]
) -> dict[str, str]:
    """Make each call; return those that had a slice that is too long, with the longest."""
    too_long = {}
    for name, status, call in CALLS:
        with SliceWatch() as watch:
            answer = await call(admin)
            if name in ENDS_A_FLEET:
                await asyncio.sleep(3)  # until what it held has been freed
        assert answer.status == status, (name, answer.body[:500])
        if watch.longest:
            record_property(name, watch.longest[0].seconds)
        if watch.too_long:
            longest = watch.too_long[0]
            too_long[name] = f"{name}: {longest.seconds:.3f} s, {longest.who}"
    return too_long


async def test_many_fleets_are_listed_in_slices(admin: Api) -> None:
    for number in range(FLEETS):
        await admin.put(f"/admin/fleets/f{number}", {"devices": 0})
    with SliceWatch() as watch:
        answer = await admin.get("/admin/fleets?limit=1000")
    assert len(answer.json) == 1000
    assert not watch.too_long


LARGE = b"[" + b"0.1," * 10_000_000 + b"0]"


async def decode() -> None:
    orjson.loads(LARGE)


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_the_watch_sees_what_takes_too_long(where: str) -> None:
    with SliceWatch() as watch:
        for _ in range(20):  # a machine that is throttled hides some
            if watch.too_long:
                break
            if where == "loop":
                await asyncio.create_task(decode())
            else:
                await asyncio.to_thread(orjson.loads, LARGE)
    assert watch.too_long
