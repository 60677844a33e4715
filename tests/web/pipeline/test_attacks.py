"""Attacks by sheer size or patience: each costs the attacker more than the service."""

import asyncio
import gzip
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
from aiohttp import web

from pisync import keys
from pisync.app import create_app
from pisync.concurrency.reception import ReceptionRoom
from pisync.web.contract import request
from tests.conftest import SETTINGS, Api
from tests.support.raw_connection import (
    Serving,
    observed,
    raw_connection,
    serving,
    settle,
)
from tests.support.waiting import eventually
from tools.ports import free_port

IDLE = 10_000
MIB = 1024 * 1024
LOGIN = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    async with serving(create_app(SETTINGS)) as running:
        yield running


# Bombs


@pytest.mark.parametrize("path", ["/login", "/register"])
async def test_a_gzip_bomb_is_413_and_never_unpacked_as_a_whole(api: Api, path: str) -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    assert len(bomb) < 70_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    began = time.process_time()
    answer = await api.call("POST", path, data=bomb, headers=headers)
    answer.assert_problem(413)
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 * 1024  # KiB


@pytest.mark.parametrize("line", [b"POST /nowhere", b"GET /devices", b"POST /login"])
async def test_a_gzip_bomb_that_nobody_reads_holds_up_nobody(server: Serving, line: bytes) -> None:
    bomb = gzip.compress(bytes(100 * MIB))
    head = b"%s HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    async with raw_connection(server.port) as attacker, raw_connection(server.port) as honest:
        began = time.monotonic()
        await attacker.send(head % (line, len(bomb)) + bomb)
        assert (await attacker.answer()).status in {401, 415}
        await honest.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await honest.answer()).status == 200
        assert time.monotonic() - began < 2


JSON_BOMBS = {
    "lists": b"[" * 60_000,
    "objects": b'{"a":' * 12_000,
    "closed lists": b"[" * 30_000 + b"]" * 30_000,
    "a long number": b'{"username": ' + b"9" * 60_000 + b"}",
    "a large exponent": b'{"username": 1e999999999}',
    "many digits behind a point": b'{"username": 0.' + b"1" * 60_000 + b"}",
    "a backslash without end": b'{"username": "' + b"\\" * 60_001,
    "one name over and over": b"{" + b'"username":"a",' * 4_000 + b'"password":"b"}',
    "many names": b"{" + b",".join(b'"k%d":0' % n for n in range(5_000)) + b"}",
    "half a surrogate, often": b'{"username": "' + b"\\ud800" * 10_000 + b'"}',
}


@pytest.mark.parametrize("bomb", JSON_BOMBS.values(), ids=JSON_BOMBS)
async def test_a_json_bomb_is_refused_soon(api: Api, bomb: bytes) -> None:
    assert len(bomb) < 64 * 1024
    began = time.process_time()
    headers = {"Content-Type": "application/json"}
    answer = await api.call("POST", "/login", data=bomb, headers=headers)
    assert answer.status in {400, 401, 422}
    assert "message" in answer.json
    assert time.process_time() - began < 2


# Floods of headers


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-%d: y\r\n" % n for n in range(100_000)),
        b"X: y\r\n" * 100_000,
        b"Cookie: " + b"a" * 1_000_000 + b"\r\n",
        b"".join(b"X-%d: %s\r\n" % (n, b"y" * 8_000) for n in range(200)),
        b"a" * 1_000_000,
    ],
    ids=["many names", "one name", "one value", "long values", "no end"],
)
async def test_a_flood_of_headers_is_cut_off_before_it_is_taken_in(
    server: Serving, flood: bytes
) -> None:
    async with raw_connection(server.port) as connection:
        sending = asyncio.create_task(
            connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n" + flood + b"\r\n")
        )
        answer = await connection.answer()
        answer.assert_problem(400 if flood.startswith(b"X") and b"yy" not in flood else 431)
        await asyncio.wait([sending], timeout=5)
        sending.cancel()
    async with raw_connection(server.port) as connection:
        await connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.answer()).status == 200


# Patience


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 50\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n32\r\n"]
)
async def test_a_dripping_body_is_cut_off(
    server: Serving, framing: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "BODY_SECONDS", 0.3)
    async with raw_connection(server.port) as connection:
        await connection.send(LOGIN + framing)

        async def drip() -> None:
            for _ in range(50):
                await connection.send(b" ")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        answer = await connection.answer()
        dripping.cancel()
        answer.assert_problem(408)
        assert answer.headers["Connection"] == "close"


def is_used(room: ReceptionRoom, size: int) -> bool:
    return room.used == size


async def test_of_too_many_bodies_the_one_that_has_stalled_for_longest_is_given_up() -> None:
    app = create_app(SETTINGS)
    app[keys.BODIES] = room = ReceptionRoom(100_000)
    begun = LOGIN + b"Content-Length: 60000\r\n\r\n" + b" " * 40_000
    async with serving(app) as server, AsyncExitStack() as stack:
        connections = []
        for expected in (40_000, 80_000, 80_000):
            connections.append(await stack.enter_async_context(raw_connection(server.port)))
            await connections[-1].send(begun)
            await eventually(partial(is_used, room, expected))
        answer = await connections[0].answer()
        answer.assert_problem(503)
        assert answer.headers["Connection"] == "close"
        assert int(answer.headers["Retry-After"]) >= 1
        await connections[1].send(b" " * 19_998 + b"{}")
        assert (await connections[1].answer()).status == 422
        assert room.used == 40_000
    assert room.used == 0


async def test_bodies_that_were_given_up_take_no_memory() -> None:
    app = create_app(SETTINGS)
    app[keys.BODIES] = ReceptionRoom(4 * MIB)
    token = app[keys.TOKENS].issue("admin", ("admin",))
    head = (
        f"PUT /admin/fleets/lab HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {16 * MIB}\r\n\r\n"
    ).encode()
    tracemalloc.start()
    try:
        async with serving(app) as server, AsyncExitStack() as stack:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(10):
                connection = await stack.enter_async_context(raw_connection(server.port))
                await connection.send(head + bytes(3 * MIB))
                await eventually(lambda: app[keys.BODIES].used > 2 * MIB)
            await settle()
            assert tracemalloc.get_traced_memory()[0] - before < 12 * MIB
    finally:
        tracemalloc.stop()


def test_bodies_under_way_take_128_mib_at_most() -> None:
    assert create_app(SETTINGS)[keys.BODIES].size == 128 * MIB


def test_a_body_may_take_30_s() -> None:
    assert request.BODY_SECONDS == 30


def may_open(files: int) -> bool:
    """Raise this process's own limit of open files, if it can be."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < files <= most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return files <= most


@contextmanager
def process(port: int) -> Iterator[int]:
    """Run the service as people run it; its connections shall not be counted with the test's."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PISYNC_")}
    settings = {"PISYNC_PORT": str(port), "PISYNC_BCRYPT_COST": "4"}
    started = subprocess.Popen(
        [sys.executable, "-m", "pisync", "serve"],
        env=environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        gives_up_at = time.monotonic() + 60
        while started.poll() is None and livez(port, 1.0) is None:
            assert time.monotonic() < gives_up_at
            time.sleep(0.05)
        yield started.pid
    finally:
        started.terminate()
        started.wait(20)


def livez(port: int, patience: float = 5.0) -> float | None:
    """Return the seconds that an answer takes on a new connection; None if there is none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=patience)
    began = time.monotonic()
    try:
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
    except OSError:
        return None
    finally:
        connection.close()
    return time.monotonic() - began


def resident(pid: int) -> int:
    """Return a process's memory in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.timeout(180)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
async def test_ten_thousand_idle_connections_are_borne() -> None:
    if not may_open(IDLE + 500):
        why = f"needs {IDLE + 500} open files: ulimit -Hn {IDLE + 500}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    port = free_port()
    with process(port) as pid:
        before = resident(pid)
        async with AsyncExitStack() as connections:
            for _ in range(IDLE):
                await connections.enter_async_context(raw_connection(port))
            answered = [await asyncio.to_thread(livez, port, 20.0) for _ in range(5)]
            seconds = [each for each in answered if each is not None]
            assert len(seconds) == 5
            assert min(seconds) < 1
            assert (resident(pid) - before) / IDLE < 20 * 1024  # bytes for each


# Pipelining


async def test_who_does_not_wait_for_answers_holds_up_nobody() -> None:
    came: list[str] = []

    async def note(request: web.Request) -> web.Response:
        came.append(request.path)
        return web.json_response({})

    app = observed(web.get("/{path}", note))
    async with (
        serving(app) as server,
        raw_connection(server.port) as greedy,
        raw_connection(server.port) as honest,
    ):
        await greedy.send(b"GET /greedy HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000)
        await honest.send(b"GET /honest HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await honest.answer()).status == 200
        for _ in range(1_000):
            assert (await greedy.answer()).status == 200
    assert len(came) == 1_001
    # Both had arrived before either was looked at. From Python 3.12 on aiohttp alone is not fair.
    assert came.index("/honest") < 10
