"""Two replicas on one PostgreSQL: what is done to an account on one is so on the other."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.conftest import Api, MakeApi
from tests.support.stalls import Stalls
from tests.support.stores.server import server
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.one_way]

RIGHT, OTHER = "correct horse", "another password"


@pytest.fixture
async def database() -> AsyncIterator[str]:
    url = await server().make_database()
    yield url
    await server().drop_database(url)


@pytest.fixture
async def replicas(database: str, make_api: MakeApi) -> tuple[Api, Api]:
    return await make_api(store=database), await make_api(store=database)


async def register(api: Api) -> str:
    answer = await api.post("/register", {"username": "alice", "password": RIGHT})
    assert answer.status == 201
    return str(answer.json["token"])


async def is_refused(api: Api, token: str) -> bool:
    return (await replace(api, token=token).get("/stats")).status == 401


@pytest.mark.parametrize("end", ["disable", "delete", "scopes", "password"])
async def test_tokens_end_on_every_replica_within_5_s(replicas: tuple[Api, Api], end: str) -> None:
    here, there = replicas
    token = await register(here)
    assert not await is_refused(there, token)  # and remembered
    admin = here.as_("admin", name="a service")
    new = None
    if end == "disable":
        await admin.patch("/admin/accounts/alice", {"disabled": True})
    elif end == "delete":
        await admin.delete("/admin/accounts/alice")
    elif end == "scopes":
        await admin.patch("/admin/accounts/alice", {"scopes": ["devices", "admin"]})
    else:
        body = {"password": RIGHT, "new_password": OTHER}
        new = (await replace(here, token=token).post("/password", body)).json["token"]
    assert await is_refused(here, token)
    async with Stalls() as stalls:
        began = time.monotonic()
        await eventually(lambda: is_refused(there, token))
        assert time.monotonic() - began - stalls.seconds < 5
    if new:
        assert not await is_refused(there, new)


async def test_a_stream_on_another_replica_ends_too(replicas: tuple[Api, Api]) -> None:
    here, there = replicas
    token = await register(here)
    bearer = {"Authorization": f"Bearer {token}"}
    async with there.client.get("/events", headers=bearer) as stream, Stalls() as stalls:
        began = time.monotonic()
        await here.as_("admin").patch("/admin/accounts/alice", {"disabled": True})
        await asyncio.wait_for(stream.read(), 20)
        assert time.monotonic() - began - stalls.seconds < 5


async def test_a_replica_that_starts_later_knows_what_has_ended(
    replicas: tuple[Api, Api], database: str, make_api: MakeApi
) -> None:
    here, _ = replicas
    token = await register(here)
    await here.as_("admin").patch("/admin/accounts/alice", {"disabled": True})
    assert await is_refused(await make_api(store=database), token)


async def test_of_many_who_register_a_name_on_both_exactly_one_does(
    replicas: tuple[Api, Api],
) -> None:
    body = {"username": "alice", "password": RIGHT}
    answers = await asyncio.gather(*(replicas[n % 2].post("/register", body) for n in range(20)))
    assert sorted(answer.status for answer in answers) == [201, *[409] * 19]


async def test_the_given_password_is_the_admins_on_both(
    replicas: tuple[Api, Api], database: str, make_api: MakeApi
) -> None:
    third = await make_api(store=database, admin_password=OTHER)
    body = {"username": "admin", "password": OTHER}
    for api in (third, *replicas):
        assert (await api.post("/login", body)).status == 200
