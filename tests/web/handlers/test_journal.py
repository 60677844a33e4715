"""The journal and verify, through the API."""

from typing import Any

import pytest

from tests.conftest import Api
from tests.support.raw_connection import raw_connection

PATH = "/admin/fleets/default/requests"
VERIFY = "/admin/fleets/default/verify"


async def made(user: Api) -> None:
    """Make five requests that a journal notes, and two that it does not."""
    await user.post("/devices/7/sync", headers={"User-Agent": "probe/1", "X-Request-ID": "first"})
    await user.get("/devices/7")
    await user.get("/devices", params={"limit": 3})
    await user.get("/devices/99")
    await user.get("/stats", params={"wrong": "1"})
    await user.as_().get("/stats")
    await user.get("/nowhere")


async def numbers(admin: Api, **query: object) -> list[int]:
    answer = await admin.get(PATH, params=query)
    assert answer.status == 200
    return [request["number"] for request in answer.json]


class TestRequests:
    async def test_are_listed_newest_first(self, user: Api, admin: Api) -> None:
        await made(user)
        answer = await admin.get(PATH)
        found = [(each["call"], each["status"], each["device_id"]) for each in answer.json]
        assert found == [
            *(("stats", 422, None), ("device", 404, 99), ("devices", 200, None)),
            *(("device", 200, 7), ("sync", 202, 7)),
        ]
        first = answer.json[-1]
        assert first.pop("received_at").endswith("Z")
        assert 0 < first.pop("seconds") < 10
        assert first == {
            "number": 1,
            "request_id": "first",
            "call": "sync",
            "method": "POST",
            "path": "/devices/7/sync",
            "device_id": 7,
            "user": "tester",
            "user_agent": "probe/1",
            "status": 202,
            "fault": None,
            "attempt": 1,
        }
        assert "Link" not in answer.headers

    async def test_come_a_page_at_a_time_through_a_filter(self, user: Api, admin: Api) -> None:
        await made(user)
        assert await numbers(admin, call="device,sync") == [4, 2, 1]
        assert await numbers(admin, status="404,422") == [5, 4]
        assert await numbers(admin, device_id=7, user="tester") == [2, 1]
        assert await numbers(admin, user="bob") == []
        assert await numbers(admin, fault="reset") == []
        assert await numbers(admin, before=3) == [2, 1]
        answer = await admin.get(PATH, params={"limit": 1, "call": "device"})
        link = answer.headers["Link"]
        assert link == f'<{PATH}?limit=1&before=4&call=device>; rel="next"'
        since = (await admin.get(PATH, params={"before": 4, "limit": 1})).json[0]["received_at"]
        assert await numbers(admin, since=since) == [5, 4, 3]

    @pytest.mark.parametrize(
        "query",
        [
            *("limit=0", "call=login", "status=20", "status=x", "fault=no", "device_id=0"),
            *("since=now", "user=", "what=1", "before=-1"),
        ],
    )
    async def test_a_bad_query_is_refused(self, admin: Api, query: str) -> None:
        answer = await admin.get(f"{PATH}?{query}")
        assert answer.status == 422
        assert list(answer.json["errors"]) == [query.partition("=")[0]]

    async def test_are_forgotten(self, user: Api, admin: Api) -> None:
        await made(user)
        assert (await admin.delete(PATH)).status == 204
        assert await numbers(admin) == []
        await user.get("/stats")
        assert await numbers(admin) == [6]
        await admin.post("/admin/fleets/default/reset")
        assert await numbers(admin) == []

    @pytest.mark.parametrize(
        ("name", "values"),
        [("call", ("sync", "device")), ("status", ("202", "404")), ("fault", ("reset", "close"))],
    )
    async def test_a_list_in_a_query_is_taken_as_libraries_write_it(
        self, user: Api, admin: Api, name: str, values: tuple[str, str]
    ) -> None:
        await made(user)
        expected = await numbers(admin, **{name: ",".join(values)})
        for query in (
            f"{name}={values[0]}&{name}={values[1]}",
            f"{name}[]={values[0]}&{name}[]={values[1]}",
            f"{name}={values[0]},{values[1]}&{name}={values[0]}",
        ):
            answer = await admin.get(f"{PATH}?{query}")
            assert answer.status == 200, answer.body
            assert [request["number"] for request in answer.json] == expected

    @pytest.mark.parametrize("has_rules", [False, True], ids=["fast", "ordinary"])
    async def test_a_user_agent_may_be_any_bytes(
        self, user: Api, admin: Api, *, has_rules: bool
    ) -> None:
        if has_rules:
            rule = {"calls": ["errors"], "fault": {"kind": "close"}}
            await admin.put("/admin/fleets/default/faults", [rule])
        assert user.client.port
        async with raw_connection(user.client.port) as connection:
            for agent in (b"caf\xc3\xa9 \xff", b"x" * 199 + b"\xc3\xa9\xc3\xa9", b""):
                await connection.send(
                    b"GET /stats HTTP/1.1\r\nHost: x\r\nUser-Agent: %s\r\nAuthorization: Bearer %s"
                    b"\r\n\r\n" % (agent, str(user.token).encode())
                )
                assert (await connection.answer()).status == 200
        answer = await admin.get(PATH)
        assert answer.status == 200, answer.body
        agents = [request["user_agent"] for request in answer.json]
        assert agents == ["", "x" * 199 + "é", "café \N{REPLACEMENT CHARACTER}"]
        problems = (await admin.post(VERIFY, {"requests": [{"call": "sync"}]})).json["problems"]
        assert len(problems[0]["nearest"]) == 3

    async def test_a_fault_is_noted_with_what_it_left(self, user: Api, admin: Api) -> None:
        rules = [
            {"calls": ["device"], "fault": {"kind": "status", "status": 504}},
            {"calls": ["sync"], "fault": {"kind": "status", "status": 503}, "when": "after"},
        ]
        await admin.put("/admin/fleets/default/faults", rules)
        assert (await user.get("/devices/7")).status == 504
        assert (await user.post("/devices/7/sync")).status == 503
        found = [
            (each["call"], each["status"], each["fault"], each["attempt"])
            for each in (await admin.get(PATH)).json
        ]
        assert found == [("sync", 503, "status", 1), ("device", 504, "status", None)]


class TestSize:
    async def test_is_set_with_the_fleet_and_by_a_change(self, admin: Api) -> None:
        path = "/admin/fleets/small"
        assert (await admin.put(path, {"devices": 3, "journal": 2})).json["journal"] == 2
        assert (await admin.patch(path, {"journal": 1})).json["journal"] == 1
        assert (await admin.patch(path, {"profile": {"seed": 5}, "journal": 3})).json["seed"] == 5
        assert (await admin.get(path)).json["journal"] == 3
        assert (await admin.put(path, {"devices": 3})).json["journal"] == 1000

    async def test_is_not_changed_by_a_change_that_is_refused(self, admin: Api) -> None:
        path = "/admin/fleets/default"
        slow = {"from": 0, "until": 10, "delay": {"distribution": "constant", "seconds": 9}}
        await admin.patch(path, {"profile": {"phases": [slow]}})
        # That the phase is longer than this is known to the fleet's own profile alone.
        change = {"journal": 7, "ttl": None, "profile": {"repeat_every": 5}}
        assert (await admin.patch(path, change)).status == 422
        assert (await admin.get(path)).json["journal"] == 1000

    @pytest.mark.parametrize("size", [-1, 100_001, "5", 1.5, None])
    async def test_is_bounded(self, admin: Api, size: object) -> None:
        answer = await admin.patch("/admin/fleets/default", {"journal": size})
        assert (answer.status, list(answer.json["errors"])) == (422, ["journal"])

    async def test_a_change_of_nothing_is_refused(self, admin: Api) -> None:
        assert (await admin.patch("/admin/fleets/default", {})).status == 422


class TestVerify:
    async def verified(self, admin: Api, *expected: Any, in_order: bool = False) -> Any:
        answer = await admin.post(VERIFY, {"requests": [*expected], "in_order": in_order})
        assert answer.status == 200
        return answer.json

    async def test_what_is_as_expected(self, user: Api, admin: Api) -> None:
        await made(user)
        sync = {"call": "sync", "device_id": 7, "user": "tester", "status": 202}
        assert await self.verified(
            admin,
            {**sync, "at_least": 1, "at_most": 1},
            {"call": "device", "device_id": 7},
            {"call": "bulk", "at_most": 0},
            in_order=True,
        ) == {"verified": True}

    async def test_what_is_not_comes_with_what_is_nearest(self, user: Api, admin: Api) -> None:
        await made(user)
        body = await self.verified(admin, {"call": "device"}, {"call": "sync", "device_id": 8})
        assert not body["verified"]
        (problem,) = body["problems"]
        assert (problem["index"], problem["found"]) == (1, 0)
        assert problem["wanted"] == {"call": "sync", "device_id": 8, "at_least": 1}
        assert problem["nearest"][0]["path"] == "/devices/7/sync"

    async def test_the_order_of_first_requests(self, user: Api, admin: Api) -> None:
        await made(user)
        expected = ({"call": "devices"}, {"call": "sync"})
        assert (await self.verified(admin, *expected))["verified"]
        body = await self.verified(admin, *expected, in_order=True)
        assert [problem["index"] for problem in body["problems"]] == [1]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "requests"),
            ({"requests": []}, "requests"),
            ({"requests": [{}] * 101}, "requests"),
            ({"requests": [{}, {"call": "login"}]}, "requests.1.call"),
            ({"requests": [{"device_id": 0}]}, "requests.0.device_id"),
            ({"requests": [{"status": 42}]}, "requests.0.status"),
            ({"requests": [{"at_least": -1}]}, "requests.0.at_least"),
            ({"requests": [{"at_least": 2, "at_most": 1}]}, "requests.0.at_most"),
            ({"requests": [{"path": "/"}]}, "requests.0.path"),
            ({"requests": [{}], "in_order": 1}, "in_order"),
        ],
    )
    async def test_a_bad_body_is_refused(self, admin: Api, body: object, field: str) -> None:
        answer = await admin.post(VERIFY, body)
        assert (answer.status, list(answer.json["errors"])) == (422, [field])
