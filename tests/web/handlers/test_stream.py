"""The event stream: after commits, in order, without a gap, and to nobody who may not."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import orjson
import pytest
from aiohttp import ClientPayloadError, ClientResponse

from pisync import keys
from pisync.simulation import events
from pisync.simulation.events import Broker
from pisync.web.handlers import stream
from tests.conftest import Api, MakeApi
from tests.support.raw_connection import raw_connection

SOON = 20.0
"""Seconds that anything here may take."""

FAILING = {
    "outcomes": [{"sync_status_code": 500, "error_message": "Storage Full", "weight": 1}],
    "delay": {"distribution": "constant", "seconds": 0},
}
SUCCEEDING = {"outcomes": [{"sync_status_code": 200, "weight": 1}]}


class Sent(NamedTuple):
    event_id: str
    name: str
    data: Any


class Reader:
    """Reads a stream as the HTML standard says."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.comments = 0

    async def next(self) -> Sent | None:
        """Return the next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        while True:
            line = await asyncio.wait_for(self.response.content.readline(), SOON)
            if not line:
                return None
            text = line.decode().rstrip("\n")
            if text.startswith(":"):
                self.comments += 1
            elif text:
                name, _, value = text.partition(": ")
                assert name not in fields
                fields[name] = value
            elif fields:
                return Sent(fields["id"], fields["event"], orjson.loads(fields["data"]))

    async def take(self, count: int) -> list[Sent]:
        """Return the next so many events."""
        return [event for _ in range(count) if (event := await self.next())]


@asynccontextmanager
async def reading(api: Api, last_event_id: str | None = None) -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {api.token}"}
    if api.fleet is not None:
        headers["Pisync-Fleet"] = api.fleet
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    async with api.client.get("/events", headers=headers) as response:
        assert response.status == 200, await response.read()
        yield Reader(response)


def subscribers(api: Api) -> int:
    assert api.client.app is not None
    broker: Broker = api.client.app[keys.BROKER]
    return broker.subscribers


async def until_subscribers(api: Api, count: int) -> None:
    async with asyncio.timeout(SOON):
        # From here nothing can be heard of one who has gone.
        while subscribers(api) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_sync_is_told_when_it_starts_and_when_it_finishes(user: Api, admin: Api) -> None:
    await admin.patch("/admin/fleets/default", {"profile": FAILING})
    async with reading(user) as reader:
        assert reader.response.headers["Content-Type"] == "text/event-stream"
        assert reader.response.headers["X-Request-ID"]
        assert reader.response.headers.getall("Cache-Control") == ["no-store, no-transform"]
        started = (await user.post("/devices/2/sync")).json
        start, finish, error = await reader.take(3)
    assert (start.name, finish.name, error.name) == ("sync", "sync", "error_log")
    assert start.data == {"device": started, "attempt": 1}
    assert finish.data == {"device": (await user.get("/devices/2")).json, "attempt": 1}
    assert finish.data["device"]["sync_status_code"] == 500
    assert error.data == (await user.get("/errors?limit=1")).json[0]
    assert len({start.event_id, finish.event_id, error.event_id}) == 3


async def test_joining_is_no_event(user: Api, admin: Api) -> None:
    await admin.put("/admin/fleets/default/clock", {"mode": "manual"})
    async with reading(user) as reader:
        await user.post("/devices/1/sync")
        await user.post("/devices/1/sync")
        await user.post("/devices/3/sync")
        first, second = await reader.take(2)
    assert [each.data["device"]["device_id"] for each in (first, second)] == [1, 3]


async def test_advancing_tells_in_due_order(user: Api, admin: Api) -> None:
    await admin.put("/admin/fleets/default/clock", {"mode": "manual"})
    for device, delay in ((1, 30), (2, 10), (3, 20)):
        await admin.put(
            f"/admin/fleets/default/devices/{device}/script",
            [{"sync_status_code": 200, "delay": delay}],
        )
    await user.post("/devices/sync", {"device_ids": [1, 2, 3]})
    async with reading(user) as reader:
        await admin.post("/admin/fleets/default/advance", {"seconds": 60})
        finished = await reader.take(3)
    assert [each.data["device"]["device_id"] for each in finished] == [2, 3, 1]


async def test_a_stream_resumes_without_gap_or_repeat(user: Api, admin: Api) -> None:
    await admin.patch("/admin/fleets/default", {"profile": SUCCEEDING})
    await admin.put("/admin/fleets/default/clock", {"mode": "manual"})
    async with reading(user) as reader:
        await user.post("/devices/sync", {"all": True})
        seen = await reader.take(4)
    await admin.post("/admin/fleets/default/settle")
    async with reading(user, seen[-1].event_id) as reader:
        rest = await reader.take(16)
        await user.post("/devices/1/sync")
        (newest,) = await reader.take(1)
    started = [each.data["device"]["device_id"] for each in (*seen, *rest[:6])]
    assert started == list(range(1, 11))
    assert [each.name for each in rest].count("resync") == 0
    assert newest.data["attempt"] == 2


async def test_a_resume_over_some_hundred_events_needs_no_resync(admin: Api) -> None:
    await admin.put("/admin/fleets/many", {"devices": 900, "profile": {"seed": 1}})
    fleet = admin.on("many")
    async with reading(fleet) as reader:
        await fleet.post("/devices/1/sync")
        (first,) = await reader.take(1)
    await fleet.post("/devices/sync", {"all": True})
    async with reading(fleet, first.event_id) as reader:
        events = await reader.take(899)
    assert [each.data["device"]["device_id"] for each in events] == list(range(2, 901))


async def test_an_unknown_id_gets_resync_first(user: Api) -> None:
    async with reading(user, "long-ago") as reader:
        (first,) = await reader.take(1)
        await user.post("/devices/1/sync")
        (second,) = await reader.take(1)
    assert first.name == "resync"
    assert first.event_id
    assert second.name == "sync"


async def test_a_burst_of_a_thousand_arrives_whole(admin: Api) -> None:
    # None may finish while they are read.
    profile = {"seed": 1, "delay": {"distribution": "constant", "seconds": 3600}}
    await admin.put("/admin/fleets/many", {"devices": 1000, "profile": profile})
    fleet = admin.on("many")
    async with reading(fleet) as reader:
        await fleet.post("/devices/sync", {"all": True})
        events = await reader.take(1000)
    assert [each.data["device"]["device_id"] for each in events] == list(range(1, 1001))


@pytest.mark.parametrize("how", ["reset", "replace", "delete"])
async def test_nothing_of_before_is_told_after_a_fleet_starts_over(admin: Api, how: str) -> None:
    path = "/admin/fleets/mine"
    await admin.put(path, {"devices": 50, "profile": FAILING})
    fleet = admin.on("mine")
    async with reading(fleet) as reader:
        await fleet.post("/devices/sync", {"all": True})
        if how == "reset":
            await admin.post(f"{path}/reset")
        elif how == "replace":
            await admin.put(path, {"devices": 50})
        else:
            await admin.delete(path)
            await admin.put(path, {"devices": 50})
        while (event := await reader.next()) and event.name != "resync":
            pass
        await fleet.post("/devices/7/sync")
        while (after := await reader.next()) and after.name == "resync":
            pass
    assert after is not None
    assert after.data["device"]["device_id"] == 7
    assert after.data["attempt"] == 1


async def test_fleets_do_not_hear_each_other(admin: Api) -> None:
    await admin.put("/admin/fleets/one", {"devices": 3})
    await admin.put("/admin/fleets/other", {"devices": 3})
    async with reading(admin.on("one")) as one, reading(admin.on("other")) as other:
        await admin.on("other").post("/devices/1/sync")
        await admin.on("one").post("/devices/2/sync")
        (heard_by_one,) = await one.take(1)
        (heard_by_other,) = await other.take(1)
    assert heard_by_one.data["device"]["device_id"] == 2
    assert heard_by_other.data["device"]["device_id"] == 1


async def test_a_stream_ends_when_its_token_expires(api: Api) -> None:
    assert api.client.app is not None
    token = api.client.app[keys.TOKENS].issue("short", ["devices"], 1)
    async with api.client.get("/events", headers={"Authorization": f"Bearer {token}"}) as response:
        assert await Reader(response).next() is None


async def test_only_a_bearer_token_opens_it(api: Api, user: Api) -> None:
    (await api.get("/events")).assert_problem(401)
    (await api.get(f"/events?token={user.token}")).assert_problem(401)
    (await api.get("/events", headers={"Cookie": f"token={user.token}"})).assert_problem(401)
    (await api.as_("admin").get("/events")).assert_problem(403)


async def test_a_fleet_that_is_not_there_has_no_stream(user: Api) -> None:
    (await user.on("nowhere").get("/events")).assert_problem(404)


async def test_head_has_the_headers_and_ends(user: Api) -> None:
    answer = await user.call("HEAD", "/events")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.body == b""
    assert subscribers(user) == 0


async def test_beyond_the_limit_it_is_503(make_api: MakeApi) -> None:
    user = (await make_api(max_streams=1)).as_("devices")
    async with reading(user):
        refused = (await user.get("/events")).assert_problem(503)
        assert int(refused.headers["Retry-After"]) > 0
    await until_subscribers(user, 0)
    async with reading(user):
        pass


async def test_a_comment_keeps_proxies_awake(user: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream.COMMENT_SECONDS == 15
    monkeypatch.setattr(stream, "COMMENT_SECONDS", 0.05)
    async with reading(user) as reader:
        await asyncio.sleep(0.2)
        await user.post("/devices/1/sync")
        await reader.take(1)
        assert reader.comments >= 2


async def test_proxies_have_no_reason_to_hold_it_back(user: Api) -> None:
    async with reading(user) as reader:
        assert reader.response.headers["X-Accel-Buffering"] == "no"
        line = await asyncio.wait_for(reader.response.content.readline(), SOON)
    assert line.startswith(b":")


async def test_polyfills_resume_by_the_query(user: Api) -> None:
    async with reading(user) as reader:
        await user.post("/devices/1/sync")
        (first,) = await reader.take(1)
    await user.post("/devices/2/sync")
    headers = {"Authorization": f"Bearer {user.token}"}
    path = f"/events?lastEventId={first.event_id}"
    async with user.client.get(path, headers=headers) as response:
        assert response.status == 200
        (second,) = await Reader(response).take(1)
    assert second.data["device"]["device_id"] == 2


async def test_over_http_1_0_the_end_of_the_connection_is_the_end(user: Api) -> None:
    assert user.client.port is not None
    async with raw_connection(user.client.port) as connection:
        await connection.send(
            f"GET /events HTTP/1.0\r\nAuthorization: Bearer {user.token}\r\n\r\n".encode()
        )
        answer = await connection.answer()
    assert answer.status == 200
    assert answer.headers.getall("Connection") == ["close"]
    assert "Transfer-Encoding" not in answer.headers


@pytest.mark.slow
async def test_one_who_does_not_read_is_cut_off_and_nobody_else_notices(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEPT", 1500)
    await admin.put("/admin/fleets/many", {"devices": 1000, "profile": FAILING})
    fleet = admin.on("many")
    async with reading(fleet) as slow, reading(fleet) as quick:
        slow.response.connection.transport.pause_reading()  # type: ignore[union-attr]
        heard = 0
        async with asyncio.timeout(30):
            while subscribers(admin) == 2:
                await fleet.post("/devices/sync", {"all": True})
                await admin.post("/admin/fleets/many/settle")
                heard += len(await quick.take(3000))
        assert subscribers(admin) == 1
        await fleet.post("/devices/1/sync")
        assert len(await quick.take(1)) == 1
        slow.response.connection.transport.resume_reading()  # type: ignore[union-attr]
        with pytest.raises(ClientPayloadError):
            await slow.take(heard + 2)
    assert heard >= 3000


async def test_one_who_leaves_the_server_stuck_in_a_write_is_cut_off_too(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEPT", 1500)
    await admin.put("/admin/fleets/few", {"devices": 500, "profile": FAILING})
    fleet = admin.on("few")
    request = (
        f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n"
        "Pisync-Fleet: few\r\n\r\n"
    )
    server = admin.client.server
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect((server.host, server.port))
        stuck.sendall(request.encode())
        await until_subscribers(admin, 1)
        async with asyncio.timeout(20):
            # Never so many at once that they alone were too many.
            while subscribers(admin):
                await fleet.post("/devices/sync", {"all": True})
                await asyncio.sleep(0.02)
                await admin.post("/admin/fleets/few/settle")
                await asyncio.sleep(0.02)


async def test_one_who_has_gone_is_forgotten(user: Api) -> None:
    async with reading(user):
        assert subscribers(user) == 1
    await until_subscribers(user, 0)
