"""Two applications on one PostgreSQL database, as their clients see them."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from pisync.config.texts import LoginFailures
from tests.conftest import Api, MakeApi, ManualTime
from tests.support.stalls import Stalls
from tests.support.stores.reading import without_sessions
from tests.support.stores.server import ask, server
from tests.web.handlers.test_stream import (
    FAILING,
    reading,
    until_subscribers,
)

pytestmark = pytest.mark.slow


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A database of PostgreSQL that has its tables."""
    url = await server().make_database()
    yield url
    await server().drop_database(url)


@pytest.fixture
async def one(url: str, make_api: MakeApi) -> Api:
    """One replica, called by one who may do everything."""
    return (await make_api(store=url)).as_("devices", "admin")


@pytest.fixture
async def other(url: str, make_api: MakeApi) -> Api:
    """The other."""
    return (await make_api(store=url)).as_("devices", "admin")


@pytest.fixture
async def looking(url: str, make_api: MakeApi) -> Api:
    """One that can't listen, and looks at what is sent."""
    with without_sessions():
        return (await make_api(store=url)).as_("devices", "admin")


async def until_synced(api: Api, device_id: int) -> None:
    async with asyncio.timeout(20):
        while (await api.get(f"/devices/{device_id}")).json["sync_status_code"] == 202:  # noqa: ASYNC110 - what happens is in the application
            await asyncio.sleep(0.02)


async def test_an_account_is_good_everywhere(one: Api, other: Api) -> None:
    alice = {"username": "alice", "password": "correct horse"}
    token = (await one.post("/register", alice)).json["token"]
    assert (await other.post("/register", alice)).status == 409
    assert (await other.post("/login", alice)).status == 200
    headers = {"Authorization": f"Bearer {token}"}
    assert (await other.get("/devices", headers=headers)).status == 200


async def test_failed_logins_count_everywhere(url: str, make_api: MakeApi) -> None:
    replicas = [await make_api(store=url, login_failures=LoginFailures(4, 60)) for _ in range(2)]
    wrong = {"username": "nobody", "password": "wrong password"}
    answers = [await replicas[each % 2].post("/login", wrong) for each in range(6)]
    assert [answer.status for answer in answers] == [401, 401, 401, 401, 429, 429]


async def test_a_sync_is_the_same_sync_everywhere(one: Api, other: Api) -> None:
    await one.patch("/admin/fleets/default", {"profile": {"delay": FAILING["delay"]}})
    await other.put("/admin/fleets/default/clock", {"mode": "manual"})
    began = await one.post("/devices/1/sync")
    joined = await other.post("/devices/1/sync")
    assert began.status == joined.status == 202
    assert began.json == joined.json
    assert began.headers["Pisync-Attempt"] == joined.headers["Pisync-Attempt"] == "1"
    assert (await other.post("/admin/fleets/default/settle")).json["finished"] == 1
    ledgers = [(await api.get("/admin/fleets/default/ledger")).json for api in (one, other)]
    for ledger in ledgers:
        assert (ledger["accepted"], ledger["joined"], ledger["balanced"]) == (1, 1, True)


async def test_a_sync_finishes_on_time_whatever_a_replicas_own_clock_says(
    url: str, make_api: MakeApi
) -> None:
    behind, ahead = ManualTime(), ManualTime(wall=4_000_000_000_000_000)
    for time in (behind, ahead):
        api = (await make_api(store=url, time=time)).as_("devices")
        assert (await api.post("/devices/1/sync")).status == 202
        await until_synced(api, 1)


async def test_a_stream_tells_within_a_second_what_happened_elsewhere(one: Api, other: Api) -> None:
    await one.patch("/admin/fleets/default", {"profile": FAILING})
    async with reading(one) as here, reading(other) as there:
        await until_subscribers(one, 1)
        await until_subscribers(other, 1)
        async with Stalls() as stalls:
            began = monotonic()
            await other.post("/devices/1/sync")
            events = await here.take(3)
            assert monotonic() - began - stalls.seconds < 1
        assert [event.name for event in events] == ["sync", "sync", "error_log"]
        assert await there.take(3) == events


async def test_a_stream_resumes_on_another_replica(one: Api, other: Api) -> None:
    await one.patch("/admin/fleets/default", {"profile": FAILING})
    async with reading(one) as here, reading(other) as there:
        await one.post("/devices/1/sync")
        events = await here.take(3)
        # So that it knows them, too.
        await there.take(3)
    async with reading(other, events[0].event_id) as resumed:
        assert await resumed.take(2) == events[1:]
    async with reading(other, "unheard-of") as resumed:
        assert [event.name for event in await resumed.take(1)] == ["resync"]


async def test_one_that_looks_and_one_that_listens_tell_the_same(
    url: str, one: Api, looking: Api
) -> None:
    assert await ask(url, "SELECT count(*) FROM notice_readers") == 1
    await one.patch("/admin/fleets/default", {"profile": FAILING})
    async with reading(one) as here, reading(looking) as there:
        for api in (one, looking):
            await api.post("/devices/1/sync")
            events = await here.take(3)
            assert await there.take(3) == events
        async with reading(looking, events[0].event_id) as resumed:
            assert await resumed.take(2) == events[1:]
        await one.post("/admin/fleets/default/reset")
        assert [event.name for event in await there.take(1)] == ["resync"]


async def test_without_a_database_it_is_not_ready_but_alive(one: Api) -> None:
    await server().stop()
    try:
        for path in ("/devices", "/stats"):
            answer = (await one.get(path)).assert_problem(503)
            assert int(answer.headers["Retry-After"]) >= 1
        (await one.post("/devices/1/sync")).assert_problem(503)
        assert (await one.get("/readyz")).status == 503
        assert (await one.get("/livez")).status == 200
    finally:
        await server().start()
    async with asyncio.timeout(60):
        while (await one.get("/readyz")).status != 200:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)
    assert (await one.post("/devices/1/sync")).status == 202


async def test_there_is_no_admin_unless_a_password_is_given(url: str, make_api: MakeApi) -> None:
    admin = {"username": "admin", "password": "the admin's password"}
    api = await make_api(store=url, admin_password=None)
    assert (await api.post("/login", admin)).status == 401
    api = await make_api(store=url, admin_password=admin["password"])
    assert (await api.post("/login", admin)).status == 200
