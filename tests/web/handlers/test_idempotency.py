"""The header `Idempotency-Key`: a sync that is asked for again gets its first answer again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pisync.simulation import bulk
from pisync.stores.errors import StoreUnavailable
from tests.conftest import Answer, Api, MakeApi, ManualTime
from tests.support.fleet_lab import HOLD, FleetLab, MakeFleetLab
from tests.support.stores.server import server

KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"


async def sync(lab: FleetLab, key: str, device_id: int = 7, **options: Any) -> Answer:
    headers = {KEY: key}
    return await lab.api.post(f"/devices/{device_id}/sync", headers=headers, **options)


async def sync_many(lab: FleetLab, key: str, **selection: object) -> Answer:
    return await lab.api.post("/devices/sync", selection, headers={KEY: key})


def assert_replays(answer: Answer, first: Answer) -> None:
    """Assert that an answer is the first one again."""
    assert (answer.status, answer.body) == (first.status, first.body) == (202, first.body)
    assert REPLAYED not in first.headers
    assert answer.headers[REPLAYED] == "true"
    for name in ("Location", "Pisync-Attempt", "Content-Type", "Cache-Control", "Vary"):
        assert answer.headers.get(name) == first.headers.get(name)


async def counts(lab: FleetLab) -> tuple[int, int, int]:
    ledger = await lab.ledger()
    assert ledger["balanced"]
    return ledger["accepted"], ledger["joined"], ledger["refused"]


class TestASync:
    async def test_is_answered_again_while_it_is_pending(self, lab: FleetLab) -> None:
        first = await sync(lab, "k")
        for _ in range(3):
            assert_replays(await sync(lab, "k"), first)
        assert await counts(lab) == (1, 0, 0)

    async def test_is_answered_again_when_it_has_finished(self, lab: FleetLab) -> None:
        first = await sync(lab, "k")
        await lab.settle()
        shown = await lab.device(7)
        assert_replays(await sync(lab, "k"), first)
        assert await lab.device(7) == shown
        assert await counts(lab) == (1, 0, 0)

    async def test_that_joined_is_answered_again(self, lab: FleetLab) -> None:
        await lab.sync(7)
        first = await sync(lab, "k")
        await lab.settle()
        assert_replays(await sync(lab, "k"), first)
        assert await counts(lab) == (1, 1, 0)

    async def test_with_another_key_is_another(self, lab: FleetLab) -> None:
        await sync(lab, "k")
        await lab.settle()
        second = await sync(lab, "K")
        assert (second.headers["Pisync-Attempt"], REPLAYED in second.headers) == ("2", False)

    async def test_without_a_key_is_another(self, lab: FleetLab) -> None:
        await sync(lab, "k")
        await lab.settle()
        # The header lines of the last one are known by now, but for the key.
        for attempt in ("2", "3", "4"):
            answer = await lab.sync(7)
            assert answer.headers["Pisync-Attempt"] == attempt
            await lab.settle()
        for attempt in ("1", "1", "1"):
            answer = await sync(lab, "k")
            assert answer.headers["Pisync-Attempt"] == attempt

    async def test_of_another_user_is_another(self, lab: FleetLab) -> None:
        await sync(lab, "k")
        bob = FleetLab(lab.api.as_("devices", name="bob").on(lab.api.fleet), lab.path)
        answer = await sync(bob, "k", 8)
        assert (answer.status, REPLAYED in answer.headers) == (202, False)

    async def test_of_another_fleet_is_another(self, lab: FleetLab, new_lab: MakeFleetLab) -> None:
        await sync(lab, "k")
        answer = await sync(await new_lab(), "k", 8)
        assert (answer.status, REPLAYED in answer.headers) == (202, False)

    async def test_of_another_path_is_refused(self, lab: FleetLab) -> None:
        await sync(lab, "k")
        (await sync(lab, "k", 8)).assert_problem(422, KEY)
        (await sync(lab, "k", 99)).assert_problem(422, KEY)
        (await sync_many(lab, "k", device_ids=[7])).assert_problem(422, KEY)
        assert await counts(lab) == (1, 0, 0)

    async def test_that_is_refused_is_not_remembered(self, new_lab: MakeFleetLab) -> None:
        lab = await new_lab(when_pending="refuse", max_pending=1)
        await lab.sync(7)
        (await sync(lab, "pending", 7)).assert_problem(409)
        (await sync(lab, "full", 8)).assert_problem(503)
        (await sync(lab, "missing", 99)).assert_problem(404)
        await lab.settle()
        for key in ("pending", "full", "missing"):
            answer = await sync(lab, key)
            assert (answer.status, REPLAYED in answer.headers) == (202, False)
            await lab.settle()

    async def test_below_a_base_url_is_the_same(self, lab: FleetLab) -> None:
        first = await sync(lab, "k")
        below = lab.api.on(None)
        path = f"/fleets/{lab.api.fleet}/devices/7/sync"
        answer = await below.post(path, headers={KEY: "k"})
        assert answer.body == first.body
        assert answer.headers[REPLAYED] == "true"
        assert answer.headers["Location"] == "../../devices/7"

    async def test_is_forgotten_by_a_reset(self, lab: FleetLab) -> None:
        await sync(lab, "k")
        await lab.reset()
        answer = await sync(lab, "k", 8)
        assert (answer.status, REPLAYED in answer.headers) == (202, False)

    async def test_is_forgotten_after_a_day(self, make_api: MakeApi) -> None:
        time = ManualTime()
        api = (await make_api(time=time)).as_("devices", "admin")
        lab = FleetLab(api, "/admin/fleets/default")
        first = await sync(lab, "k")
        time.pass_seconds(24 * 3600 - 1)
        assert_replays(await sync(FleetLab(api.as_("devices"), lab.path), "k"), first)
        time.pass_seconds(1)
        answer = await sync(FleetLab(api.as_("devices"), lab.path), "k")
        assert (answer.status, REPLAYED in answer.headers) == (202, False)

    async def test_that_is_asked_for_by_many_at_once_begins_once(self, lab: FleetLab) -> None:
        answers = await asyncio.gather(*(sync(lab, "k") for _ in range(50)))
        assert {answer.status for answer in answers} == {202}
        assert len({answer.body for answer in answers}) == 1
        assert sum(REPLAYED not in answer.headers for answer in answers) == 1
        assert await counts(lab) == (1, 0, 0)


class TestTheHeader:
    @pytest.mark.parametrize(
        "key", ["!", "~" * 128, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a,b"]
    )
    async def test_may_be_any_visible_ascii(self, lab: FleetLab, key: str) -> None:
        assert (await sync(lab, key)).status == 202
        assert REPLAYED in (await sync(lab, key)).headers

    @pytest.mark.parametrize("key", ["", "x" * 129, "a b", "ä", "a\tb"])
    async def test_must_be_short_and_visible(self, lab: FleetLab, key: str) -> None:
        (await sync(lab, key)).assert_problem(422, KEY)
        (await sync_many(lab, key, device_ids=[7])).assert_problem(422, KEY)
        assert await counts(lab) == (0, 0, 0)

    async def test_must_come_once(self, lab: FleetLab) -> None:
        headers = [
            (KEY, "k"),
            (KEY, "k"),
            ("Authorization", f"Bearer {lab.api.token}"),
            ("Pisync-Fleet", str(lab.api.fleet)),
        ]
        for path, body in (("/devices/7/sync", None), ("/devices/sync", {"all": True})):
            async with lab.api.client.post(path, json=body, headers=headers) as response:
                assert response.status == 422
                assert list((await response.json())["errors"]) == [KEY]
        assert await counts(lab) == (0, 0, 0)

    async def test_means_nothing_elsewhere(self, lab: FleetLab) -> None:
        for _ in range(2):
            answer = await lab.api.get("/devices/7", headers={KEY: "a b"})
            assert (answer.status, REPLAYED in answer.headers) == (200, False)

    async def test_may_be_sent_and_read_by_pages(self, make_api: MakeApi) -> None:
        api = await make_api(cors_origins=("https://app.example",))
        asked = {"Origin": "https://app.example"}
        answer = await api.call(
            "OPTIONS",
            "/devices/7/sync",
            headers={
                **asked,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,idempotency-key",
            },
        )
        assert answer.status == 204
        assert "idempotency-key" in answer.headers["Access-Control-Allow-Headers"]
        answer = await api.as_("devices").post("/devices/7/sync", headers={**asked, KEY: "k"})
        assert REPLAYED in answer.headers["Access-Control-Expose-Headers"]


class TestABulkSync:
    async def test_is_answered_again(self, lab: FleetLab) -> None:
        first = await sync_many(lab, "k", device_ids=[7, 8, 8, 4711])
        assert first.json == {"started": 2, "joined": 0, "refused": 0, "not_found": [4711]}
        await lab.settle()
        assert_replays(await sync_many(lab, "k", device_ids=[7, 8, 8, 4711]), first)
        assert await counts(lab) == (2, 0, 0)

    async def test_of_no_device_is_answered_again(self, lab: FleetLab) -> None:
        selections: list[dict[str, list[int]]]
        selections = [{"device_ids": [4711]}, {"device_ids": []}, {"status": [202]}]
        for selection in selections:
            key = "".join(selection)
            first = await sync_many(lab, key, **selection)
            assert first.json["started"] == 0
            assert_replays(await sync_many(lab, key, **selection), first)
            await lab.reset()

    async def test_of_another_body_is_refused(self, lab: FleetLab) -> None:
        await sync_many(lab, "k", device_ids=[7])
        (await sync_many(lab, "k", device_ids=[8])).assert_problem(422, KEY)
        (await sync(lab, "k", 7)).assert_problem(422, KEY)
        assert await counts(lab) == (1, 0, 0)

    async def test_of_all_is_answered_again(self, new_lab: MakeFleetLab) -> None:
        lab = await new_lab(devices=1000)
        first = await sync_many(lab, "k", all=True)
        assert first.json["started"] == 1000
        await lab.settle()
        assert_replays(await sync_many(lab, "k", all=True), first)
        assert await counts(lab) == (1000, 0, 0)

    async def test_begins_once_for_many_at_the_same_time(self, new_lab: MakeFleetLab) -> None:
        lab = await new_lab(devices=1000)
        answers = await asyncio.gather(*(sync_many(lab, "k", all=True) for _ in range(10)))
        good = [answer for answer in answers if answer.status == 202]
        assert {answer.status for answer in answers} <= {202, 409}
        assert sum(REPLAYED not in answer.headers for answer in good) == 1
        assert {answer.body for answer in good} == {good[0].body}
        for answer in answers:
            if answer.status == 409:
                answer.assert_problem(409)
        assert await counts(lab) == (1000, 0, 0)

    async def test_that_was_cut_off_goes_on(
        self, new_lab: MakeFleetLab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = await new_lab(devices=1000)
        starter = bulk.BulkSyncs._go_on  # noqa: SLF001 - cut off between two batches
        stopped = False

        async def cut_off(self: Any, fleet: str, generation: int, batches: Any, *rest: Any) -> Any:
            async def some(start: int) -> AsyncIterator[Any]:
                nonlocal stopped
                async for batch in batches(start):
                    if batch.device_ids[0] > 500 and not stopped:
                        stopped = True
                        raise StoreUnavailable
                    yield batch

            return await starter(self, fleet, generation, some, *rest)

        monkeypatch.setattr(bulk.BulkSyncs, "_go_on", cut_off)
        (await sync_many(lab, "k", all=True)).assert_problem(503)
        assert await counts(lab) == (512, 0, 0)
        await lab.settle()
        answer = await sync_many(lab, "k", all=True)
        assert answer.json == {"started": 1000, "joined": 0, "refused": 0, "not_found": []}
        assert_replays(await sync_many(lab, "k", all=True), answer)
        assert await counts(lab) == (1000, 0, 0)


class TestWithFaults:
    async def test_after_the_effect_the_retry_gets_the_first_answer(self, lab: FleetLab) -> None:
        fault = {"kind": "status", "status": 503}
        rules = [{"calls": ["sync"], "first": 1, "when": "after", "fault": fault}]
        await lab.api.put(f"{lab.path}/faults", rules)
        assert (await sync(lab, "k")).status == 503
        answer = await sync(lab, "k")
        assert (answer.status, answer.headers["Pisync-Attempt"]) == (202, "1")
        assert answer.headers[REPLAYED] == "true"
        assert await counts(lab) == (1, 0, 0)
        journal = (await lab.api.get(f"{lab.path}/requests")).json
        assert [(each["status"], each["attempt"]) for each in journal[:2]] == [(202, 1), (503, 1)]

    async def test_before_the_effect_a_replay_is_cut_off_as_itself(self, lab: FleetLab) -> None:
        first = await sync(lab, "k")
        await lab.settle()
        fault = {"kind": "drip", "bytes": 100, "every": 0.001}
        rules = [{"calls": ["sync"], "first": 1, "when": "before", "fault": fault}]
        await lab.api.put(f"{lab.path}/faults", rules)
        assert_replays(await sync(lab, "k"), first)
        await lab.api.put(f"{lab.path}/faults", rules)
        (await sync(lab, "k", 8)).assert_problem(422, KEY)

    async def test_of_a_bulk_sync_too(self, lab: FleetLab) -> None:
        rules = [{"calls": ["bulk"], "first": 1, "when": "after", "fault": {"kind": "reset"}}]
        await lab.api.put(f"{lab.path}/faults", rules)
        with pytest.raises(aiohttp.ClientError):
            await sync_many(lab, "k", all=True)
        answer = await sync_many(lab, "k", all=True)
        assert answer.json["started"] == 10
        assert answer.headers[REPLAYED] == "true"
        assert await counts(lab) == (10, 0, 0)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where an application keeps what it knows."""
    if request.param != "postgres":
        yield "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/pisync.db"
        return
    url = await server().make_database()
    yield url
    await server().drop_database(url)


async def retry_until_accepted(lab: FleetLab, key: str, device_id: int) -> Answer:
    while True:
        try:
            answer = await sync(lab, key, device_id)
        except aiohttp.ClientError:
            continue
        if answer.status == 202:
            return answer


async def storm(labs: list[FleetLab]) -> None:
    """Sync 200 devices for 200 clients, of which half the answers are lost, twice."""
    for turn in range(2):
        answers = await asyncio.gather(
            *(retry_until_accepted(labs[n % len(labs)], f"{turn}-{n}", n + 1) for n in range(200))
        )
        assert {answer.headers["Pisync-Attempt"] for answer in answers} == {str(turn + 1)}
        assert any(REPLAYED in answer.headers for answer in answers)
        assert await counts(labs[0]) == (200 * (turn + 1), 0, 0)
        await labs[0].settle()


async def stormy_lab(api: Api) -> FleetLab:
    lab = FleetLab(api.on("stormy"), "/admin/fleets/stormy")
    await api.put(lab.path, {"devices": 200, "profile": {"seed": 7}})
    await lab.clock("manual")
    rules = [
        {"calls": ["sync"], "share": 0.5, "when": "after", "fault": {"kind": kind}}
        for kind in ("reset", "close")
    ]
    await api.put(f"{lab.path}/faults", rules)
    return lab


@pytest.mark.slow
@pytest.mark.one_way
async def test_attempts_equal_intended_syncs_however_many_answers_are_lost(
    make_api: MakeApi, store: str
) -> None:
    await storm([await stormy_lab((await make_api(store=store)).as_("devices", "admin"))])


@pytest.mark.slow
@pytest.mark.one_way
class TestOnTwoReplicas:
    @pytest.fixture
    async def labs(self, make_api: MakeApi) -> AsyncIterator[list[FleetLab]]:
        url = await server().make_database()
        apis = [(await make_api(store=url)).as_("devices", "admin") for _ in range(2)]
        first = await stormy_lab(apis[0])
        yield [first, FleetLab(apis[1].on("stormy"), first.path)]
        for api in apis:
            await api.client.close()
        await server().drop_database(url)

    async def test_attempts_equal_intended_syncs(self, labs: list[FleetLab]) -> None:
        await storm(labs)

    async def test_a_key_is_good_on_both_at_once(self, labs: list[FleetLab]) -> None:
        await labs[0].api.delete(f"{labs[0].path}/faults")
        for n in range(1, 21):
            answers = await asyncio.gather(*(sync(lab, f"k{n}", n) for lab in labs * 3))
            assert {answer.status for answer in answers} == {202}
            assert {answer.body for answer in answers} == {answers[0].body}
            assert sum(REPLAYED not in answer.headers for answer in answers) == 1
        assert await counts(labs[1]) == (20, 0, 0)

    async def test_a_bulk_sync_begins_once(self, labs: list[FleetLab]) -> None:
        await labs[0].api.put(labs[0].path, {"devices": 1500})
        await labs[0].clock("manual")
        answers = await asyncio.gather(*(sync_many(lab, "k", all=True) for lab in labs))
        assert {answer.status for answer in answers} <= {202, 409}
        good = [answer for answer in answers if answer.status == 202]
        assert good[0].json["started"] == 1500
        assert {answer.body for answer in good} == {good[0].body}
        assert await counts(labs[0]) == (1500, 0, 0)
        for lab in labs:
            assert (await sync_many(lab, "k", all=True)).body == good[0].body


async def test_held_attempts_are_answered_again(lab: FleetLab) -> None:
    await lab.script(7, HOLD)
    first = await sync(lab, "k")
    await lab.release(7)
    assert_replays(await sync(lab, "k"), first)
