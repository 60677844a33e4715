"""Known header lines behind the cluster's HAProxy, which lets clients share connections.

It adds two lines of its own to each request, and gives one of them another value each time.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pisync import keys
from pisync.model.fleet import Generated
from pisync.model.plans.profile import Profile
from tests.support.engine import need_engine
from tests.support.haproxy import haproxy
from tests.support.raw_connection import RawConnection, raw_connection
from tests.support.warm_server import (
    HEAD,
    KNOWN,
    STATS,
    SYNC,
    TOKEN,
    Warm,
    know,
    warm_server,
)
from tests.web.transport.test_protocol import BROKEN, GOOD, SMUGGLING

pytestmark = [pytest.mark.container, pytest.mark.timeout(120)]

HIDDEN = SYNC.replace(b"/3/", b"/9/")
SIGNED = f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    need_engine()


@pytest.fixture
async def warm() -> AsyncIterator[Warm]:
    async with warm_server() as server:
        yield server


@pytest.fixture
async def proxy(warm: Warm, tmp_path: Path) -> AsyncIterator[int]:
    """HAProxy before a server that has come to know the header lines which it makes; its port."""
    async with haproxy(warm.port, tmp_path) as port:
        async with raw_connection(port) as connection:
            for request in KNOWN * 3:
                await connection.send(request)
                await connection.answer()
        warm.front.taken.clear()
        yield port


async def asked(connection: RawConnection, request: bytes) -> tuple[str, int]:
    """The answer's id, and how many devices the fleet has."""
    await connection.send(request)
    answer = await connection.answer()
    assert answer.status == 200, answer.body
    return answer.headers["X-Request-ID"], answer.json()["devices"]


async def test_known_requests_are_answered_in_front_with_ids_of_their_own(
    warm: Warm, proxy: int
) -> None:
    async with raw_connection(proxy) as connection:
        ids = {(await asked(connection, STATS))[0] for _ in range(20)}
    assert len(ids) == 20
    assert warm.front.taken.count(True) >= 20


async def test_clients_who_share_a_connection_get_their_own_answers(warm: Warm, proxy: int) -> None:
    await warm.app[keys.SIMULATOR].fleets.put("suite", Generated(5), Profile(seed=1))
    know(warm.app, "a.bound.token", fleet="suite")
    bound = STATS.replace(TOKEN.encode(), b"a.bound.token")
    unknown = STATS.replace(TOKEN.encode(), b"no.such.token")
    async with raw_connection(proxy) as one, raw_connection(proxy) as other:
        for _ in range(10):
            assert (await asked(one, STATS))[1] == 10
            assert (await asked(other, bound))[1] == 5
            await one.send(unknown)
            (await one.answer()).assert_problem(401)
    assert warm.front.taken.count(True) > 10


async def test_no_known_request_is_smuggled_past_it(warm: Warm, proxy: int) -> None:
    in_bodies = [
        b"POST /stats HTTP/1.1\r\nContent-Length: %d\r\n" % len(HIDDEN) + HEAD + HIDDEN,
        b"POST /devices/3/sync HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
        + HEAD
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN),
    ]
    attacks = [
        data.replace(b"\r\n", SIGNED, 1).replace(GOOD, HIDDEN)
        for data in (*SMUGGLING.values(), *BROKEN.values())
    ]

    async def attack(data: bytes) -> None:
        async with raw_connection(proxy) as connection:
            assert (await asked(connection, STATS))[1] == 10
            await connection.send(data)
            connection.end()
            # HAProxy itself may refuse what it finds behind the first: its answers have no id.
            assert len(re.findall(rb"(?i)\r\nX-Request-ID: ", await connection.parts())) <= 1
        async with raw_connection(proxy) as honest:
            assert (await asked(honest, STATS))[1] == 10

    await asyncio.gather(*map(attack, (*in_bodies, *attacks)))
    queries = warm.app[keys.SIMULATOR].queries
    assert not (await queries.device("default", 9)).is_pending
    async with raw_connection(proxy) as connection:
        await connection.send(HIDDEN)
        assert (await connection.answer()).status == 202
    assert warm.front.taken[-1]
    assert (await queries.device("default", 9)).is_pending
