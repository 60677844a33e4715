"""Protocol attacks through the cluster's HAProxy: what it passes on, and what it makes of answers.

HAProxy runs with the cluster's own configuration; behind it is one replica's HTTP, which notes
every request that it understood.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.engine import need_engine
from tests.support.haproxy import haproxy
from tests.support.raw_connection import (
    RawConnection,
    observed,
    raw_connection,
    serving,
)
from tests.web.transport.test_protocol import (
    BROKEN,
    GOOD,
    SMUGGLING,
)

pytestmark = [pytest.mark.container, pytest.mark.timeout(120)]

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    need_engine()


class Behind:
    """What stands behind HAProxy, and the requests that came to it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.forwarded_for: list[list[str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode("latin-1")
        self.forwarded_for.append(request.headers.getall("X-Forwarded-For", []))
        self.seen.append((request.method, request.raw_path, body))
        return web.json_response({"path": request.raw_path})


@pytest.fixture
async def behind() -> Behind:
    return Behind()


@pytest.fixture
async def proxy(behind: Behind, tmp_path: Path) -> AsyncIterator[int]:
    """HAProxy before a replica; its port."""
    app = observed(web.route("*", "/{path:.*}", behind.answer))
    async with serving(app) as replica, haproxy(replica.port, tmp_path) as port:
        behind.seen.clear()
        yield port


async def statuses(connection: RawConnection) -> list[int]:
    """Read to the end; return the status of each answer."""
    text = await connection.rest()
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", text)]


async def own_answer(port: int, path: str) -> None:
    """Assert that an honest client gets the answer to its own request."""
    async with raw_connection(port) as connection:
        await connection.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert (await connection.answer()).json() == {"path": path}


@pytest.mark.parametrize("name", SMUGGLING)
async def test_no_request_is_smuggled_past_it(name: str, proxy: int, behind: Behind) -> None:
    attack = SMUGGLING[name].replace(GOOD, HIDDEN)
    async with raw_connection(proxy) as connection:
        await connection.send(attack)
        connection.end()
        answers = await statuses(connection)
    assert len(answers) <= 1
    for number in range(3):
        await own_answer(proxy, f"/honest/{number}")
    asked = [path for _, path, _ in behind.seen if path != "/readyz"]
    assert "/hidden" not in asked
    assert asked[-3:] == [f"/honest/{number}" for number in range(3)]
    # What both understood, they understood alike: one request, with one answer.
    assert len(asked) - 3 == answers.count(200) <= 1


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_http_is_answered_or_cut_off_and_harms_nobody(
    name: str, proxy: int, behind: Behind
) -> None:
    async with raw_connection(proxy) as connection:
        await connection.send(BROKEN[name])
        connection.end()
        answers = await statuses(connection)
    assert len(answers) <= 1
    assert set(answers) <= {200, 400, 408, 501, 505}
    await own_answer(proxy, "/honest")


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /livez HTTP/1.1\r\nX: ",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["headers", "a body"],
)
async def test_dripping_is_cut_off_and_holds_up_nobody(begun: bytes, proxy: int) -> None:
    async with raw_connection(proxy) as connection:
        await connection.send(begun)

        async def drip() -> None:
            for _ in range(100):
                await connection.send(b"y")
                await asyncio.sleep(0.5)

        dripping = asyncio.create_task(drip())
        began = time.monotonic()
        await own_answer(proxy, "/honest")
        assert time.monotonic() - began < 5
        if b"POST" not in begun:  # a body is the replica's to bound, and it does within 30 s
            await statuses(connection)
            assert 0.5 < time.monotonic() - began < 20
        dripping.cancel()


async def test_a_forwarded_address_is_the_proxys_to_say(proxy: int, behind: Behind) -> None:
    async with raw_connection(proxy) as connection:
        await connection.send(GOOD.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"))
        await connection.answer()
    assert behind.forwarded_for[-1] == ["127.0.0.1"]
