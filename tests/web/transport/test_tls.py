"""HTTPS: versions, renewal under load, many connections.

Other tests run `over_tcp_and_tls`.
"""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from pisync.app import create_app
from pisync.config.certificate import ServerCertificate
from pisync.keys import DRAINING
from pisync.web.transport import serve
from tests.conftest import SETTINGS
from tests.support.certificates import Files, make_certificate, shared_certificate
from tests.support.raw_connection import (
    HASTE,
    RawConnection,
    Serving,
    listen_to,
    raw_connection,
    serving,
)
from tests.support.waiting import eventually


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    async with serving(create_app(SETTINGS), tls=True) as running:
        yield running


@pytest.mark.parametrize(
    ("version", "is_spoken"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_speaks_tls_1_2_and_1_3(
    server: Serving, version: ssl.TLSVersion, is_spoken: bool
) -> None:
    context = shared_certificate().client_context
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")

    async def call() -> int:
        async with (
            ClientSession(connector=TCPConnector(ssl=context)) as session,
            session.get(f"https://localhost:{server.port}/livez") as answer,
        ):
            return answer.status

    if is_spoken:
        assert await call() == 200
    else:
        with pytest.raises(OSError, match=r"(?i)ssl"):
            await call()


async def test_who_speaks_plain_http_is_cut_off_and_nobody_else(server: Serving) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    with suppress(ConnectionError):
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    async with raw_connection(server.port) as connection:
        await connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.answer()).status == 200


async def test_renewal_loses_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "RENEWAL_SECONDS", 0.02)
    old, new = make_certificate(tmp_path, "old"), make_certificate(tmp_path, "new")
    used = Files(*(Path(shutil.copy(path, tmp_path / f"used-{path.name}")) for path in old))
    context = ssl.create_default_context(cafile=old.certificate)
    context.load_verify_locations(new.certificate)
    logged = listen_to(monkeypatch, "pisync.web.transport.serve")
    app, ready = create_app(SETTINGS), asyncio.Queue[int]()
    running = asyncio.create_task(
        serve.serve(
            app,
            host="127.0.0.1",
            port=0,
            started=lambda addresses: ready.put_nowait(addresses[0][1]),
            timeouts=HASTE,
            certificate=ServerCertificate(*map(str, used)),
        )
    )
    port = await ready.get()
    statuses: list[int] = []
    is_over = asyncio.Event()

    async def call(session: ClientSession) -> None:
        while not is_over.is_set():
            async with session.get(f"https://localhost:{port}/livez") as answer:
                statuses.append(answer.status)

    async def name_shown() -> str:
        _, writer = await asyncio.open_connection("localhost", port, ssl=context)
        name: str = writer.get_extra_info("peercert")["subject"][0][0][1]
        writer.close()
        return name

    async def shows_new() -> bool:
        return await name_shown() == "new"

    async with (
        ClientSession(connector=TCPConnector(ssl=context)) as kept,
        ClientSession(connector=TCPConnector(ssl=context, force_close=True)) as new_each_time,
        asyncio.timeout(60),
    ):
        calls = [asyncio.create_task(call(session)) for session in (kept, new_each_time)]
        await eventually(lambda: len(statuses) > 20)
        shutil.copy(new.certificate, used.certificate)
        await eventually(lambda: bool(logged))
        assert await name_shown() == "old"
        shutil.copy(new.key, used.key)
        await eventually(shows_new)
        enough = len(statuses) + 50
        await eventually(lambda: len(statuses) > enough)
        is_over.set()
        await asyncio.gather(*calls)
    assert set(statuses) == {200}
    assert [line["event"] for line in logged][:2] == [
        "certificate not renewed",
        "certificate renewed",
    ]
    app[DRAINING].set()
    await running


async def test_hundreds_connect_at_once_and_are_let_go_at_the_end(server: Serving) -> None:
    async with AsyncExitStack() as stack:

        async def connect() -> RawConnection:
            connection = await stack.enter_async_context(raw_connection(server.port))
            await connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await connection.answer()).status == 200
            return connection

        connections = await asyncio.gather(*(connect() for _ in range(300)))
        server.app[DRAINING].set()
        assert {await connection.rest() for connection in connections} == {b""}
