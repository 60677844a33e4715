"""Snapshots and copies over HTTP."""

import asyncio
import gc
import gzip
import zlib
from collections.abc import AsyncIterator
from hashlib import sha256
from io import BytesIO
from typing import Any

import orjson
import pytest

from pisync.model.timestamp import SECOND, parse
from pisync.stores.embedded.snapshots.frozen_table import FrozenTable
from tests.conftest import Answer, Api, MakeApi
from tests.support.fleet_lab import FULL, HOLD, TIMEOUT, FleetLab, make_lab
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_way

NDJSON = {"Content-Type": "application/x-ndjson"}
RULE = {"calls": ["sync"], "share": 0.25, "fault": {"kind": "reset"}}


async def put(admin: Api, fleet: str, document: Any, **headers: str) -> Answer:
    return await admin.call(
        "PUT", f"/admin/fleets/{fleet}/snapshot", data=document, headers={**NDJSON, **headers}
    )


async def snapshot(lab: FleetLab) -> bytes:
    answer = await lab.api.get(f"{lab.path}/snapshot")
    assert answer.status == 200
    return answer.body


def on(lab: FleetLab, fleet: str) -> FleetLab:
    return FleetLab(lab.api.on(fleet), f"/admin/fleets/{fleet}")


def signed(*lines: bytes) -> bytes:
    """Return a document of these lines, with the last line that they need."""
    text = b"".join(line + b"\n" for line in lines)
    end = {"end": {"lines": len(lines), "sha256": sha256(text).hexdigest()}}
    return text + orjson.dumps(end) + b"\n"


async def fill(lab: FleetLab) -> None:
    await lab.script(1, FULL, TIMEOUT)
    await lab.sync_all()
    await lab.advance(11)
    await lab.script(2, HOLD)
    await lab.script(3, {**FULL, "delay": 1.5}, {**TIMEOUT, "sticky": True})
    for device_id in (1, 2, 3, 4, 4):
        await lab.sync(device_id)
    await lab.api.put(f"{lab.path}/faults", [RULE])


async def state(lab: FleetLab) -> list[Any]:
    ledger = await lab.ledger()
    del ledger["lateness"]
    fleet = (await lab.api.get(lab.path)).json
    del fleet["name"], fleet["expires_at"]
    faults = (await lab.api.get(f"{lab.path}/faults")).json
    return [await lab.devices(), await lab.errors(), await lab.stats(), ledger, fleet, faults]


class TestDocument:
    async def test_has_a_line_for_each_thing(self, lab: FleetLab) -> None:
        await fill(lab)
        answer = await lab.api.get(f"{lab.path}/snapshot")
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert answer.headers["Cache-Control"] == "no-store"
        lines = answer.body.splitlines()
        kinds = [next(iter(orjson.loads(line))) for line in lines[1:]]
        assert kinds == [
            *("fault", *["device"] * 10, "script", "error_log", "end"),
        ]
        head = orjson.loads(lines[0])
        assert head["version"] == 1
        assert (head["fleet"], head["devices"], head["profile"]["seed"]) == ("lab", 10, 7)
        assert head["clock"]["mode"] == "manual"
        assert head["counts"]["accepted"] == 14
        assert answer.body == signed(*lines[:-1])

    async def test_has_no_more_lines_than_devices_that_differ(self, lab: FleetLab) -> None:
        await lab.sync(7)
        assert len((await snapshot(lab)).splitlines()) == 3

    async def test_head(self, lab: FleetLab) -> None:
        answer = await lab.api.call("HEAD", f"{lab.path}/snapshot")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Type"] == "application/x-ndjson"

    async def test_of_no_fleet(self, admin: Api) -> None:
        (await admin.get("/admin/fleets/nowhere/snapshot")).assert_problem(404)
        for method in ("GET", "HEAD"):
            answer = await admin.call(method, "/admin/fleets/nowhere/snapshot")
            assert answer.status == 404


def frozen_tables() -> int:
    """Return how many fleets are held as they were at a moment."""
    gc.collect()
    return sum(isinstance(each, FrozenTable) for each in gc.get_objects())


class TestHangingUp:
    async def test_lets_go_of_what_the_fleet_was(self, make_api: MakeApi) -> None:
        api = (await make_api()).as_("devices", "admin")
        lab = await make_lab(api, devices=50_000)
        await lab.sync_all()
        headers = {"Authorization": f"Bearer {api.token}"}
        async with api.client.get(f"{lab.path}/snapshot", headers=headers) as response:
            await response.content.readany()
            assert frozen_tables() == 1
            response.close()
        await eventually(lambda: frozen_tables() == 0, interval=0.1)


class TestRestoring:
    async def test_goes_on_as_the_first_would_have(self, lab: FleetLab) -> None:
        await fill(lab)
        before = await state(lab)
        answer = await put(lab.api, "desk", await snapshot(lab))
        assert answer.status == 201
        assert answer.headers["Location"] == "/admin/fleets/desk"
        desk = on(lab, "desk")
        assert answer.json == (await lab.api.get(desk.path)).json
        assert await state(desk) == before
        for each in (lab, desk):
            await each.advance(1.5)
            await each.release(2, TIMEOUT)
            await each.advance(20)
            await each.sync_all()
            await each.settle()
        assert await state(desk) == await state(lab)
        assert (await desk.ledger())["balanced"]

    async def test_replaces_a_fleet(self, lab: FleetLab) -> None:
        await fill(lab)
        document = await snapshot(lab)
        before = await state(lab)
        await lab.settle()
        answer = await put(lab.api, "lab", document)
        assert answer.status == 200
        assert await state(lab) == before

    async def test_of_the_ten_devices(self, admin: Api) -> None:
        default = FleetLab(admin, "/admin/fleets/default")
        await default.clock("manual")
        document = await snapshot(default)
        assert (await put(admin, "desk", document)).status == 201
        desk = on(default, "desk")
        assert await state(desk) == await state(default)
        for each in (default, desk):
            await each.sync_all()
            await each.settle()
        assert await state(desk) == await state(default)

    async def test_keeps_relative_times_relative(self, admin: Api) -> None:
        listed = [
            {"device_id": 1, "last_sync_at": "now-120m"},
            {"device_id": 2, **FULL, "last_sync_at": "now-3d", "last_attempt_at": "now"},
            {"device_id": 3, **FULL, "last_sync_at": "1970-01-01T00:00:00.000000Z"},
        ]
        lab = await make_lab(admin, devices=listed)
        await lab.reset()
        document = await snapshot(lab)
        described = [orjson.loads(line) for line in document.splitlines()[1:4]]
        assert described == [
            {"first_device": {"device_id": 1, "last_sync_at": "now-2h"}},
            {"first_device": listed[1]},
            {"first_device": listed[2]},
        ]
        assert (await put(admin, "desk", document)).status == 201
        desk = on(lab, "desk")
        before = await lab.devices()
        assert await desk.devices() == before
        await desk.reset()
        (synced, failed, _), (earlier, *_) = await desk.devices(), before
        assert earlier["last_sync_at"] < synced["last_sync_at"]
        attempted = parse(failed["last_attempt_at"])
        assert attempted <= parse(await desk.now())
        assert attempted - parse(failed["last_sync_at"]) == 3 * 86_400 * SECOND
        assert attempted - parse(synced["last_sync_at"]) == 2 * 3600 * SECOND

    async def test_finishes_by_itself_with_a_real_clock(self, admin: Api) -> None:
        lab = await make_lab(admin, mode="real", delay={"distribution": "constant", "seconds": 0.2})
        await lab.sync_all()
        document = await snapshot(lab)
        await put(admin, "desk", document)
        desk = on(lab, "desk")
        assert (await desk.stats())["pending"] == 10
        await desk.finished()
        assert (await desk.stats())["succeeded"] == 10

    @pytest.mark.parametrize("coding", ["gzip", "deflate"])
    async def test_takes_a_compressed_document(self, lab: FleetLab, coding: str) -> None:
        await fill(lab)
        document = await snapshot(lab)
        half = len(document) // 2
        packed = (
            zlib.compress(document)
            if coding == "deflate"
            # In two members, as `cat a.gz b.gz` makes them.
            else gzip.compress(document[:half]) + gzip.compress(document[half:])
        )
        headers = {"Content-Encoding": coding}
        assert (await put(lab.api, "desk", packed, **headers)).status == 201
        assert (await put(lab.api, "desk", packed[:-9], **headers)).status == 400
        assert (await put(lab.api, "desk", packed + b"?", **headers)).status == 400
        assert (await put(lab.api, "desk", document, **headers)).status == 400

    async def test_takes_the_document_in_pieces(self, lab: FleetLab) -> None:
        await fill(lab)
        document = await snapshot(lab)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(document), 7):
                yield document[start : start + 7]

        assert (await put(lab.api, "desk", pieces())).status == 201

    async def test_streams_hear_of_it(self, lab: FleetLab) -> None:
        document = await snapshot(lab)
        async with lab.api.client.get(
            "/events", headers={"Authorization": f"Bearer {lab.api.token}", "Pisync-Fleet": "lab"}
        ) as stream:
            await put(lab.api, "lab", document)
            async with asyncio.timeout(5):
                while b"resync" not in await stream.content.readline():
                    pass


class TestRefusals:
    @pytest.mark.parametrize(
        ("document", "line"),
        [
            (b"", 1),
            (b"\n", 1),
            (b"{}", 1),
            (b"[]", 1),
            (b'{"version":2}', 1),
            (b'{"end":{}}', 1),
            (b"\xff\xfe", 1),
            (b"{" * 100_000, 1),
        ],
    )
    async def test_what_is_no_document(self, admin: Api, document: bytes, line: int) -> None:
        answer = await put(admin, "desk", document)
        answer.assert_problem(422, f"line {line}")
        assert (await admin.get("/admin/fleets/desk")).status == 404

    async def test_a_line_that_does_not_end(self, admin: Api) -> None:
        (await put(admin, "desk", BytesIO(b"x" * 5_000_000))).assert_problem(422, "line 1")

    async def test_a_document_that_was_cut_off(self, lab: FleetLab) -> None:
        await fill(lab)
        lines = (await snapshot(lab)).splitlines(keepends=True)
        for count in range(len(lines)):
            answer = await put(lab.api, "desk", b"".join(lines[:count]))
            answer.assert_problem(422, f"line {count + 1}")
        assert (await lab.api.get("/admin/fleets/desk")).status == 404

    async def test_a_document_that_was_edited(self, lab: FleetLab) -> None:
        await fill(lab)
        before = await state(lab)
        document = await snapshot(lab)
        edited = document.replace(b'"attempt":1', b'"attempt":9', 1)
        assert edited != document
        answer = await put(lab.api, "lab", edited)
        answer.assert_problem(422, f"line {len(document.splitlines())}")
        assert await state(lab) == before

    async def test_more_than_the_document(self, lab: FleetLab) -> None:
        document = await snapshot(lab)
        answer = await put(lab.api, "desk", document * 2)
        answer.assert_problem(422, f"line {len(document.splitlines()) + 1}")

    async def test_another_type(self, lab: FleetLab) -> None:
        document = await snapshot(lab)
        answer = await lab.api.call(
            "PUT",
            "/admin/fleets/desk/snapshot",
            data=document,
            headers={"Content-Type": "application/json"},
        )
        answer.assert_problem(415)

    async def test_more_devices_than_there_may_be(self, make_api: MakeApi) -> None:
        api = await make_api(max_devices=25)
        lab = await make_lab(api.as_("devices", "admin"))
        document = await snapshot(lab)
        (await put(lab.api, "desk", document)).assert_problem(422, "line 1")
        answer = await lab.api.post(f"{lab.path}/copy", {"to": "desk"})
        answer.assert_problem(422, "to")
        assert (await put(lab.api, "lab", document)).status == 200

    async def test_a_client_that_goes_in_the_middle(self, lab: FleetLab) -> None:
        await fill(lab)
        before = await state(lab)
        document = await snapshot(lab)

        async def half() -> AsyncIterator[bytes]:
            yield document[: len(document) // 2]
            raise ConnectionResetError

        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the client makes of it
            await put(lab.api, "lab", half())
        assert await state(lab) == before
        assert (await put(lab.api, "lab", document)).status == 200


class TestCopies:
    async def test_are_what_the_fleet_is(self, lab: FleetLab) -> None:
        await fill(lab)
        answer = await lab.api.post(f"{lab.path}/copy", {"to": "twin"})
        assert answer.status == 201
        assert answer.headers["Location"] == "/admin/fleets/twin"
        twin = on(lab, "twin")
        assert await state(twin) == await state(lab)
        assert (await lab.api.post(f"{lab.path}/copy", {"to": "twin"})).status == 200

    async def test_go_on_with_the_polls_that_are_left(self, lab: FleetLab) -> None:
        await lab.script(7, {**FULL, "polls": 3}, {**TIMEOUT, "polls": 1})
        await lab.sync(7)
        assert (await lab.device(7))["sync_status_code"] == 202
        assert (await lab.api.post(f"{lab.path}/copy", {"to": "twin"})).status == 201
        for fleet in (lab, on(lab, "twin")):
            seen = [(await fleet.device(7))["sync_status_code"] for _ in range(3)]
            assert seen == [202, 202, 400]
            await fleet.sync(7)
            seen = [(await fleet.device(7))["sync_status_code"] for _ in range(2)]
            assert seen == [202, 500]

    async def test_go_elsewhere(self, lab: FleetLab) -> None:
        path = f"{lab.path}/copy"
        (await lab.api.post(path, {"to": "lab"})).assert_problem(422, "to")
        (await lab.api.post(path, {"to": "No!"})).assert_problem(422, "to")
        (await lab.api.post(path, {})).assert_problem(422, "to")
        (await lab.api.post("/admin/fleets/nowhere/copy", {"to": "twin"})).assert_problem(404)
        assert (await lab.api.get("/admin/fleets/twin")).status == 404

    async def test_a_token_that_is_bound_makes_none(self, api: Api, lab: FleetLab) -> None:
        bound = api.as_("devices", "admin", fleet="lab")
        (await bound.post(f"{lab.path}/copy", {"to": "twin"})).assert_problem(403)
        document = (await bound.get(f"{lab.path}/snapshot")).body
        assert (await put(bound, "lab", document)).status == 200
        (await put(bound, "twin", document)).assert_problem(403)
        (await bound.get("/admin/fleets/default/snapshot")).assert_problem(403)
        assert (await lab.api.get("/admin/fleets/twin")).status == 404


class TestLoad:
    async def test_a_snapshot_is_of_one_moment(self, make_api: MakeApi) -> None:
        api = await make_api()
        lab = await make_lab(
            api.as_("devices", "admin"),
            devices=3000,
            mode="real",
            delay={"distribution": "uniform", "min": 0, "max": 0.05},
        )
        ended = asyncio.Event()

        async def sync() -> None:
            while not ended.is_set():
                await lab.sync_all()

        load = [asyncio.create_task(sync()) for _ in range(3)]
        try:
            for number in range(5):
                await asyncio.sleep(0.1)
                document = await snapshot(lab)
                assert (await put(lab.api, f"desk-{number}", document)).status == 201
        finally:
            ended.set()
            await asyncio.gather(*load)
        for number in range(5):
            desk = on(lab, f"desk-{number}")
            await desk.finished()
            ledger = await desk.ledger()
            assert ledger["balanced"]
            assert ledger["accepted"] == ledger["succeeded"] > 0
