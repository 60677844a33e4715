"""`POST /devices/sync`: many devices at once."""

import asyncio
from typing import Any

import pytest

from pisync.concurrency.keyed_queue import KeyedQueue
from tests.conftest import Answer, MakeApi
from tests.support.fleet_lab import (
    FULL,
    HOLD,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    MakeFleetLab,
)

NOTHING = {"started": 0, "joined": 0, "refused": 0, "not_found": []}
LARGEST = 2**53 - 1


async def bulk(lab: FleetLab, **which: object) -> Answer:
    return await lab.api.post("/devices/sync", which)


async def came(lab: FleetLab, **which: object) -> Any:
    answer = await bulk(lab, **which)
    assert answer.status == 202, answer.body
    assert set(answer.json) == set(NOTHING)
    return answer.json


async def pending(lab: FleetLab) -> list[int]:
    return [each["device_id"] for each in await lab.devices() if each["sync_status_code"] == 202]


async def test_listed_devices_start(lab: FleetLab) -> None:
    assert await came(lab, device_ids=[3, 1, 7]) == {**NOTHING, "started": 3}
    assert await pending(lab) == [1, 3, 7]
    assert (await lab.settle())["finished"] == 3


async def test_each_counts_where_it_belongs(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=20)
    await lab.sync(2)
    await lab.sync(4)
    result = await came(lab, device_ids=[99, 2, 3, 4, 5, LARGEST, 6, 21])
    assert result == {
        "started": 3,
        "joined": 2,
        "refused": 0,
        "not_found": [99, LARGEST, 21],
    }
    ledger = await lab.ledger()
    assert (ledger["accepted"], ledger["joined"], ledger["refused"]) == (5, 2, 0)


async def test_joins_change_nothing(lab: FleetLab) -> None:
    await lab.sync(2)
    await lab.advance(5)
    before = await lab.device(2)
    assert (await came(lab, device_ids=[2]))["joined"] == 1
    assert await lab.device(2) == before
    assert (await lab.sync(2)).headers["Pisync-Attempt"] == "1"


async def test_a_repeated_id_counts_once(lab: FleetLab) -> None:
    result = await came(lab, device_ids=[1, 1, 2, 1, 99, 99])
    assert result == {**NOTHING, "started": 2, "not_found": [99]}


async def test_no_ids_and_no_statuses_give_zeros(lab: FleetLab) -> None:
    assert await came(lab, device_ids=[]) == NOTHING
    assert await came(lab, status=[]) == NOTHING
    assert await pending(lab) == []


async def test_a_fleet_that_refuses_counts_so(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(when_pending="refuse")
    await lab.sync(1)
    assert await came(lab, device_ids=[1, 2]) == {**NOTHING, "started": 1, "refused": 1}
    assert await came(lab, all=True) == {**NOTHING, "started": 8, "refused": 2}
    assert (await lab.ledger())["refused"] == 3


async def test_what_goes_over_the_limit_counts_as_refused(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(max_pending=4)
    await lab.sync(10)
    assert await came(lab, device_ids=[10, 1, 2, 3, 4, 5, 99]) == {
        "started": 3,
        "joined": 1,
        "refused": 2,
        "not_found": [99],
    }
    assert await pending(lab) == [1, 2, 3, 10]
    assert (await lab.ledger())["refused"] == 2


async def test_devices_of_statuses_start_and_no_others(new_lab: MakeFleetLab) -> None:
    failures = {1: FULL, 2: {**FULL, "sync_status_code": 404}, 3: TIMEOUT}
    lab = await new_lab(
        devices=[{"device_id": each, **failures.get(each % 4, SUCCESS)} for each in range(1, 41)]
    )
    assert await came(lab, status=[404]) == {**NOTHING, "started": 10}
    assert await came(lab, status=[500, 400, 400]) == {**NOTHING, "started": 20}
    assert await came(lab, status=[400]) == NOTHING
    assert await came(lab, status=[202, 200]) == {**NOTHING, "started": 10, "joined": 30}


async def test_all_devices_start(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=1_500)
    await lab.sync(1_000)
    assert await came(lab, all=True) == {**NOTHING, "started": 1_499, "joined": 1}
    assert (await lab.stats())["pending"] == 1_500


async def test_held_syncs_are_joined_and_scripts_are_followed(lab: FleetLab) -> None:
    await lab.script(1, HOLD)
    await lab.script(2, TIMEOUT, SUCCESS)
    await came(lab, all=True)
    assert (await lab.settle())["finished"] == 9
    assert await came(lab, device_ids=[1, 2]) == {**NOTHING, "started": 1, "joined": 1}
    assert [each["attempt"] for each in await lab.errors()] == [1]


async def test_ten_thousand_ids_are_taken_and_no_more(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=100)
    ids = [LARGEST - each for each in range(9_950)] + list(range(1, 51))
    result = await came(lab, device_ids=ids)
    assert (result["started"], len(result["not_found"])) == (50, 9_950)
    for too_many in ([*ids, 51], [1] * 10_001):
        (await bulk(lab, device_ids=too_many)).assert_problem(422, "device_ids")
    assert (await lab.stats())["attempts"] == 50


async def test_exactly_one_of_the_three_is_given(lab: FleetLab, subtests: pytest.Subtests) -> None:
    for body, fields in (
        ({}, {"body"}),
        ({"device_ids": [1], "all": True}, {"body"}),
        ({"device_ids": [], "status": []}, {"body"}),
        ({"status": [400], "all": True}, {"body"}),
        ({"all": False}, {"all"}),
        ({"all": None}, {"all"}),
        ({"all": 1}, {"all"}),
        ({"all": "true"}, {"all"}),
        ({"device_ids": None}, {"device_ids"}),
        ({"device_ids": 7}, {"device_ids"}),
        ({"device_ids": "7"}, {"device_ids"}),
        ({"device_ids": {"7": 7}}, {"device_ids"}),
        ({"device_ids": [1, 0]}, {"device_ids.1"}),
        ({"device_ids": [1, -1]}, {"device_ids.1"}),
        ({"device_ids": [1, 2**53]}, {"device_ids.1"}),
        ({"device_ids": [1, "2"]}, {"device_ids.1"}),
        ({"device_ids": [1, 2.5]}, {"device_ids.1"}),
        ({"device_ids": [True]}, {"device_ids.0"}),
        ({"device_ids": [[1]]}, {"device_ids.0"}),
        ({"status": None}, {"status"}),
        ({"status": 400}, {"status"}),
        ({"status": "400"}, {"status"}),
        ({"status": "400,500"}, {"status"}),
        ({"status": ["400"]}, {"status"}),
        ({"status": [400, 201]}, {"status"}),
        ({"status": [True]}, {"status"}),
        ({"status": [[400]]}, {"status"}),
        ({"statuses": [400]}, {"statuses"}),
    ):
        with subtests.test(body=body):
            answer = await lab.api.post("/devices/sync", body)
            answer.assert_problem(422, *fields)
    assert (await lab.stats())["attempts"] == 0


async def test_a_fleet_that_is_not_there_is_404(lab: FleetLab) -> None:
    nowhere = FleetLab(lab.api.on("nobody-made-me"), "")
    wanted: list[dict[str, object]] = [{"all": True}, {"status": [200]}, {"device_ids": []}]
    for which in wanted:
        (await bulk(nowhere, **which)).assert_problem(404)


async def test_many_clients_at_once_start_each_device_once(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=600)
    results = await asyncio.gather(
        *(came(lab, all=True) for _ in range(10)),
        *(came(lab, device_ids=list(range(1, 601))) for _ in range(10)),
    )
    assert sum(each["started"] for each in results) == 600
    assert sum(each["joined"] for each in results) == 19 * 600
    ledger = await lab.ledger()
    assert (ledger["accepted"], ledger["joined"]) == (600, 19 * 600)
    assert (await lab.settle())["finished"] == 600


async def test_where_too_many_wait_for_their_turn_it_is_503(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pisync.simulation.bulk.KeyedQueue",
        lambda concurrency, _: KeyedQueue(concurrency, max_waiting=0),
    )
    # So many devices that the calls meet, and such a delay that none finishes meanwhile.
    profile = {"seed": 7, "delay": {"distribution": "constant", "seconds": 3600}}
    user = (await make_api(devices=10_000, profile=profile)).as_("devices")
    answers = await asyncio.gather(*(user.post("/devices/sync", {"all": True}) for _ in range(40)))
    refused = [answer for answer in answers if answer.status != 202]
    assert 0 < len(refused) < 40
    for answer in refused:
        answer.assert_problem(503)
        assert answer.headers["Retry-After"] == "1"
    assert (await user.get("/stats")).json["attempts"] == 10_000
