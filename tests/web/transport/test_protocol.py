"""Requests that no client library would send: each is refused in the one shape, or understood."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import pytest

from pisync import keys
from pisync.app import create_app
from pisync.web.transport.fast_path import FAST_PATH
from pisync.web.transport.timeouts import Timeouts
from tests.conftest import SETTINGS
from tests.support.raw_connection import (
    RawConnection,
    Serving,
    raw_connection,
    serving,
)
from tests.support.stalls import Stalls

GOOD = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
_Answered = TypeVar("_Answered")

TIMEOUTS = Timeouts(idle=0.4, head=0.4, grace=0.0, under_way=0.5)


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    """Whether the server speaks TLS: what it answers is the same."""
    return bool(request.param)


@pytest.fixture
async def server(tls: bool) -> AsyncIterator[Serving]:
    """A whole server that waits for no one longer than 0.4 s."""
    async with serving(create_app(SETTINGS), TIMEOUTS, tls=tls) as running:
        yield running


@pytest.fixture
async def connection(server: Serving) -> AsyncIterator[RawConnection]:
    async with raw_connection(server.port) as connected:
        yield connected


def post(*headers: bytes, body: bytes = b"") -> bytes:
    lines = (b"POST /login HTTP/1.1", b"Host: a", *headers, b"", body)
    return b"\r\n".join(lines)


def get(target: bytes = b"/livez", *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join((b"GET " + target + b" " + version, b"Host: a", *headers, b"", b""))


SMUGGLING = {
    "two lengths": post(b"Content-Length: 1", b"Content-Length: 2", body=b"ab"),
    "one length twice": post(b"Content-Length: 1", b"Content-Length: 1", body=b"a"),
    "two lengths in one": post(b"Content-Length: 1, 1", body=b"a"),
    "length and chunked": post(
        b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + GOOD
    ),
    "chunked and length": post(
        b"Transfer-Encoding: chunked", b"Content-Length: 6", body=b"0\r\n\r\n" + GOOD
    ),
    "length with plus": post(b"Content-Length: +5", body=b"abcde"),
    "length with minus": post(b"Content-Length: -5", body=b"abcde"),
    "length in hex": post(b"Content-Length: 0x5", body=b"abcde"),
    "length with underscore": post(b"Content-Length: 1_0", body=b"abcdefghij"),
    "length with letters": post(b"Content-Length: 5 a", body=b"abcde"),
    "length without digits": post(b"Content-Length:", body=b"abcde"),
    "length beyond 64 bits": post(b"Content-Length: 99999999999999999999999", body=b"abcde"),
    "xchunked": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "chunked not last": post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "chunked, identity": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "identity, chunked": post(b"Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n"),
    "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "nothing, chunked": post(b"Transfer-Encoding: ,chunked", body=b"0\r\n\r\n"),
    "identity, then chunked": post(
        b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "chunked twice": post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "chunked, then another": post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: cow", body=b"0\r\n\r\n"
    ),
    "chunked after a vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "space before the colon": post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "chunked in HTTP/1.0": b"POST /login HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk with bare line feeds": post(b"Transfer-Encoding: chunked", body=b"1\na\n0\n\n"),
    "chunk extension with a line feed": post(
        b"Transfer-Encoding: chunked", body=b"1;\nxx\r\na\r\n0\r\n\r\n"
    ),
    "chunk size with plus": post(b"Transfer-Encoding: chunked", body=b"+1\r\na\r\n0\r\n\r\n"),
    "chunk size with 0x": post(b"Transfer-Encoding: chunked", body=b"0x1\r\na\r\n0\r\n\r\n"),
    "chunk size of no digits": post(b"Transfer-Encoding: chunked", body=b"zz\r\na\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": post(
        b"Transfer-Encoding: chunked", body=b"f" * 17 + b"\r\na\r\n0\r\n\r\n"
    ),
    "chunk longer than it says": post(b"Transfer-Encoding: chunked", body=b"1\r\nabc\r\n0\r\n\r\n"),
    "a second Host in a trailer": post(
        b"Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\nHost: b\r\n\r\n"
    ),
    "bare line feeds": GOOD.replace(b"\r\n", b"\n"),
    "one bare line feed": b"GET /livez HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "a bare carriage return": b"GET /livez HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "a folded header": get(b"/livez", b"X: y", b" z"),
    "two Host headers": get(b"/livez", b"Host: b"),
    "the same Host twice": get(b"/livez", b"Host: a"),
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
}

BROKEN = {
    "garbage": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "HTTP/2.0": get(version=b"HTTP/2.0"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3": get(version=b"HTTP/3.0"),
    "HTTP/9.9": get(version=b"HTTP/9.9"),
    "HTTP/0.9": b"GET /livez\r\n\r\n",
    "an unknown method": b"BREW /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method in lower case": GOOD.replace(b"GET", b"get"),
    "no path": GOOD.replace(b"/livez", b""),
    "a star for GET": get(b"*"),
    "NUL in the path": get(b"/\x00"),
    "NUL in a header": get(b"/livez", b"X: a\x00b"),
    "NUL in a header's name": get(b"/livez", b"X\x00: a"),
    "bytes in the path": get(b"/\xff"),
    "UTF-8 in the path": get("/ü".encode()),
    "a URL with half an address": get(b"http://[::1"),
    "a URL with no address": get(b"http://[zz]/"),
    "a URL with no such port": get(b"http://b:99999/"),
    "a URL of a file": get(b"file:///etc/passwd"),
    "an empty header name": get(b"/livez", b": x"),
    "a header without a colon": get(b"/livez", b"nothing"),
    "a long request line": get(b"/" + b"a" * 20_000),
    "200 headers": get(b"/livez", *(b"X: y" for _ in range(200))),
    "a second content type": post(b"Content-Type: a/b", b"Content-Type: c/d", b"Content-Length: 0"),
}


@pytest.mark.parametrize(
    "request_", [*SMUGGLING.values(), *BROKEN.values()], ids=[*SMUGGLING, *BROKEN]
)
async def test_bad_http_is_refused_in_the_one_shape_and_the_connection_closed(
    request_: bytes, connection: RawConnection
) -> None:
    await connection.send(request_ + GOOD)
    (await connection.answer()).assert_problem(400)
    assert await connection.rest() == b""


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(
    "name", ["length and chunked", "bare line feeds", "two Host headers", "garbage"]
)
async def test_bad_http_is_refused_also_piece_by_piece(
    name: str, size: int, connection: RawConnection
) -> None:
    request_ = (SMUGGLING | BROKEN)[name]
    answer = asyncio.create_task(connection.answer())
    with suppress(ConnectionError):  # the server need not wait for the rest
        for at in range(0, len(request_), size):
            if not answer.done():
                await connection.send(request_[at : at + size])
                await asyncio.sleep(0)
    (await answer).assert_problem(400)
    assert await connection.rest() == b""


@pytest.mark.parametrize("name", ["chunked in HTTP/1.0", "HTTP/0.9"])
async def test_old_http_is_refused_also_when_nothing_follows(
    name: str, connection: RawConnection
) -> None:
    await connection.send((SMUGGLING | BROKEN)[name])
    (await connection.answer()).assert_problem(400)
    assert await connection.rest() == b""


async def test_bad_http_after_a_good_request_closes_the_connection(
    connection: RawConnection,
) -> None:
    await connection.send(GOOD)
    assert (await connection.answer()).status == 200
    await connection.send(SMUGGLING["length and chunked"])
    (await connection.answer()).assert_problem(400)
    assert await connection.rest() == b""


ODD = {
    "an origin of its own": (get(b"http://elsewhere/livez"), 200),
    "a query that means nothing": (get(b"/livez?_=1700000000000&_=1"), 200),
    "a fragment": (get(b"/livez#here"), 200),
    "an empty Host": (GOOD.replace(b"Host: a", b"Host:"), 200),
    "half an address as Host": (GOOD.replace(b"Host: a", b"Host: ["), 200),
    "bytes as Host": (GOOD.replace(b"Host: a", b"Host: \xff"), 200),
    "bytes in a header": (get(b"/livez", b"X: \xff\xfe"), 200),
    "lines before the request": (b"\r\n\r\n" + GOOD, 200),
    "HTTP/1.0 without Host": (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    "chunk extensions": (
        post(b"Transfer-Encoding: chunked", body=b"1;a=b\r\n{\r\n0\r\n\r\n"),
        415,
    ),
    "chunked after a tab, in capitals": (
        post(b"Transfer-Encoding:\tCHUNKED", body=b"0\r\n\r\n"),
        415,
    ),
    "a bad escape": (get(b"/%zz"), 401),
    "an escape alone": (get(b"/%"), 401),
    "escaped bytes": (get(b"/%ff%fe"), 401),
    "an escaped NUL": (get(b"/%00"), 401),
    "an escaped surrogate": (get(b"/%ed%a0%80"), 401),
    "two slashes": (get(b"//livez"), 401),
    "two slashes and half an address": (get(b"//["), 401),
    "an upgrade": (get(b"/livez", b"Connection: Upgrade", b"Upgrade: websocket"), 200),
    "OPTIONS of a call that takes a token": (b"OPTIONS /devices HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    "OPTIONS of nothing": (b"OPTIONS /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    "TRACE": (b"TRACE /livez HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    "PROPFIND": (b"PROPFIND /livez HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    "RTSP": (b"DESCRIBE /livez RTSP/1.0\r\nHost: a\r\n\r\n", 401),
    "a body that is no gzip": (
        post(
            b"Content-Type: application/json",
            b"Content-Encoding: gzip",
            b"Content-Length: 3",
            body=b"abc",
        ),
        400,
    ),
    "a body that is packed by brotli": (
        post(
            b"Content-Type: application/json",
            b"Content-Encoding: br",
            b"Content-Length: 3",
            body=b"abc",
        ),
        415,
    ),
    "a body that is packed twice": (
        post(
            b"Content-Type: application/json",
            b"Content-Encoding: gzip",
            b"Content-Encoding: gzip",
            b"Content-Length: 3",
            body=b"abc",
        ),
        415,
    ),
    "an expectation that can't be met": (
        post(b"Expect: everything", b"Content-Length: 0"),
        417,
    ),
    "one in a request for what is not there": (get(b"/nowhere", b"Expect: everything"), 417),
}


@pytest.mark.parametrize(("request_", "status"), ODD.values(), ids=[*ODD])
async def test_odd_http_is_understood_or_refused_but_never_fails(
    request_: bytes, status: int, connection: RawConnection
) -> None:
    await connection.send(request_)
    answer = await connection.answer()
    if status == 200:
        assert (answer.status, answer.json()) == (200, {"status": "ok"})
    else:
        answer.assert_problem(status)


async def test_an_expectation_that_cannot_be_met_leaves_head_without_a_body(
    connection: RawConnection,
) -> None:
    await connection.send(b"HEAD /livez HTTP/1.1\r\nHost: a\r\nExpect: everything\r\n\r\n" + GOOD)
    (await connection.answer(head=True)).assert_problem(417, head=True)
    assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /livez HTTP/1.1\r\nHost: a\r\nExpect: everything\r\nX-Request-ID: mine\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nTransfer-Encoding: chunked\r\nX-Request-ID: mine\r\n\r\n0\r\n\r\n",
    ],
    ids=["an expectation that cannot be met", "chunks in HTTP/1.0"],
)
async def test_what_is_refused_before_the_application_keeps_the_callers_request_id(
    request_: bytes, connection: RawConnection
) -> None:
    await connection.send(request_)
    answer = await connection.answer()
    assert answer.status in (400, 417)
    assert answer.headers.getall("X-Request-ID") == ["mine"]


JSON = b"Content-Type: application/json"
EXPECT = b"Expect: 100-continue"


async def test_who_asks_whether_to_go_on_is_told_so(connection: RawConnection) -> None:
    await connection.send(post(JSON, EXPECT, b"Content-Length: 2"))
    assert (await connection.answer()).status == 100
    await connection.send(b"{}")
    assert (await connection.answer()).status == 422


async def test_who_sends_the_body_without_waiting_is_told_to_go_on_all_the_same(
    connection: RawConnection,
) -> None:
    await connection.send(post(JSON, EXPECT, b"Content-Length: 2", body=b"{}") + GOOD)
    assert [(await connection.answer()).status for _ in range(3)] == [100, 422, 200]


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (b"POST /login", (b"Content-Type: text/plain", b"Content-Length: 2"), 415),
        (b"POST /login", (JSON, b"Content-Length: 70000"), 413),
        (b"POST /login", (JSON, b"Content-Encoding: br", b"Content-Length: 2"), 415),
        (b"POST /devices/sync", (JSON, b"Content-Length: 2"), 401),
        (b"POST /devices/sync", (JSON, b"Content-Length: 2", b"Authorization: {no scope}"), 403),
        (b"POST /nowhere", (JSON, b"Content-Length: 2", b"Authorization: {no scope}"), 404),
        (b"PUT /login", (JSON, b"Content-Length: 2", b"Authorization: {no scope}"), 405),
    ],
)
async def test_who_asks_whether_to_go_on_is_told_at_once_what_the_head_alone_decides(
    line: bytes, headers: tuple[bytes, ...], status: int
) -> None:
    app = create_app(SETTINGS)
    token = f"Bearer {app[keys.TOKENS].issue('tester', [])}".encode()
    head = b"\r\n".join((line + b" HTTP/1.1", b"Host: a", EXPECT, *headers, b"", b""))
    async with serving(app, TIMEOUTS) as running, raw_connection(running.port) as connection:
        await connection.send(head.replace(b"{no scope}", token))
        answer = await connection.answer()
    answer.assert_problem(status)
    assert answer.headers["Connection"] == "close"  # the body may still come, or not


@pytest.mark.parametrize("size", [15_000, 16_384 - len("Cookie")])
async def test_a_header_may_have_16_kib(size: int, connection: RawConnection) -> None:
    await connection.send(get(b"/livez", b"Cookie: " + b"a" * size))
    assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    "headers",
    [(b"Cookie: " + b"a" * 16_385,), (b"a" * 20_000 + b": x",)],
    ids=["a value", "a name"],
)
async def test_a_larger_header_is_431(
    headers: tuple[bytes, ...], connection: RawConnection
) -> None:
    await connection.send(get(b"/livez", *headers))
    (await connection.answer()).assert_problem(431)
    assert await connection.rest() == b""


async def test_many_headers_that_are_large_together_are_431_before_they_end(
    connection: RawConnection,
) -> None:
    await connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n")
    for number in range(5):
        await connection.send(b"X-%d: %s\r\n" % (number, b"a" * 16_000))
    (await connection.answer()).assert_problem(431)
    assert await connection.rest() == b""


@pytest.mark.parametrize(
    ("method", "hint"),
    [("FOO", "no method FOO."), ("patch", "PATCH is written in capitals"), ("Get", "GET is")],
)
async def test_a_method_that_http_does_not_know_is_named(
    method: str, hint: str, connection: RawConnection
) -> None:
    await connection.send(f"{method} /livez HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answer = await connection.answer()
    answer.assert_problem(400)
    assert hint in answer.json()["message"]


@pytest.mark.parametrize(
    "request_",
    [get(version=b"HTTP/2.0"), get(version=b"HTTP/3.0"), b"GET /livez\r\n\r\n", b"hello\r\n\r\n"],
)
async def test_whatever_was_sent_the_status_line_is_of_http_1_1(
    request_: bytes, connection: RawConnection
) -> None:
    await connection.send(request_)
    assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")


PAGE = b"https://app.example"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"FOO / HTTP/1.1\r\nHost: a\r\nOrigin: " + PAGE + b"\r\n\r\n", 400),
        (get(b"/livez", b"origin:" + PAGE, b"Cookie: " + b"a" * 17_000), 431),
        (get(b"/livez", b"Origin: " + PAGE, b"Expect: much"), 417),
        (get(b"/livez", b"Origin: " + PAGE).replace(b"Host: a", b"Host: evil.example"), 421),
    ],
)
async def test_an_allowed_page_reads_what_no_middleware_sees(request_: bytes, status: int) -> None:
    app = create_app(replace(SETTINGS, cors_origins=(PAGE.decode(),)))
    async with serving(app) as running, raw_connection(running.port) as connection:
        await connection.send(request_)
        answer = await connection.answer()
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE.decode()
    async with serving(create_app(SETTINGS)) as running, raw_connection(running.port) as connection:
        await connection.send(request_)
        answer = await connection.answer()
        assert answer.status == status
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("target", [b"http://host", b"http://host/", b"http://host?_=1"])
async def test_a_host_alone_as_target_means_its_root(
    target: bytes, connection: RawConnection
) -> None:
    await connection.send(get(target))
    answer = await connection.answer()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("target", "allow"),
    [
        (b"/livez", "GET, HEAD, OPTIONS"),
        (b"/login", "OPTIONS, POST"),
        (b"/", "GET, HEAD, OPTIONS"),
        (b"*", "GET, HEAD, OPTIONS"),
        (b"/docs/docs.js", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_of_what_is_open_is_204_with_its_methods(
    target: bytes, allow: str, connection: RawConnection
) -> None:
    await connection.send(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n" + GOOD)
    answer = await connection.answer()
    assert (answer.status, answer.headers["Allow"], answer.body) == (204, allow, b"")
    assert (await connection.answer()).status == 200


UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk", b"Upgrade: h2c")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(b"/livez", *UPGRADE), 200),
        (get(b"/livez", b"Connection: upgrade", b"UPGRADE: foo/2"), 200),
        (post(JSON, *UPGRADE, b"Content-Length: 2", body=b"{}"), 422),
        (post(JSON, *UPGRADE, b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"), 422),
    ],
    ids=["h2c", "another", "with a body", "with chunks"],
)
async def test_what_follows_an_upgrade_that_is_not_known_is_answered(
    request_: bytes, status: int, connection: RawConnection
) -> None:
    await connection.send(GOOD + request_ + request_ + GOOD)
    statuses = [(await connection.answer()).status for _ in range(4)]
    assert statuses == [200, status, status, 200]


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "ordinary"])
@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (b"GET /devices HTTP/1.1\r\nHost: a\r\n{token}\r\n", [200]),
        (b"POST /devices/3/sync HTTP/1.1\r\nHost: a\r\n{token}\r\n", [202]),
        (post(JSON, b"Content-Length: 2", body=b"{}"), [422]),
        (GOOD * 3, [200, 200, 200]),
        (b"GET /devices HTTP/1.1\r\nHost: a\r\n{token}\r\n" + GOOD, [200, 200]),
    ],
    ids=["a list", "a sync", "a body", "several", "both ways"],
)
async def test_who_sends_no_more_gets_the_answers(
    request_: bytes, statuses: list[int], fast: bool
) -> None:
    app = create_app(SETTINGS)
    if not fast:
        del app._state[FAST_PATH]  # noqa: SLF001 - applications let no key go
    token = app[keys.TOKENS].issue("tester", ["devices"])
    request_ = request_.replace(b"{token}", f"Authorization: Bearer {token}\r\n".encode())
    async with serving(app) as running, raw_connection(running.port) as connection:
        await connection.send(request_)
        connection.end()
        assert [(await connection.answer()).status for _ in statuses] == statuses
        assert await connection.rest() == b""


# asyncio ends both directions of TLS at once.
@pytest.mark.parametrize("tls", [False], indirect=True, ids=["tcp"])
async def test_who_ends_in_the_middle_of_a_request_gets_no_answer(
    connection: RawConnection,
) -> None:
    await connection.send(post(JSON, b"Content-Length: 2", body=b"{"))
    connection.end()
    assert await connection.rest() == b""


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
async def test_bound_to_loopback_a_strangers_name_is_421(
    host: str, connection: RawConnection
) -> None:
    for path in (b"/livez", b"/devices"):
        await connection.send(get(path).replace(b"Host: a", f"Host: {host}".encode()) + GOOD)
        answer = await connection.answer()
        answer.assert_problem(421)
        assert "PISYNC_ALLOWED_HOSTS" in answer.json()["message"]
        assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        get(b"/livez", b"Connection: close", b"Expect: much"),
        get(b"/livez", b"Connection: close").replace(b"Host: a", b"Host: evil.example"),
        get(b"/livez", b"Expect: much", version=b"HTTP/1.0"),
        get(b"/nowhere", b"Connection: close"),
        get(b"/devices", b"Connection: close"),
    ],
    ids=["417", "421", "HTTP/1.0", "401", "fast path"],
)
async def test_an_error_ends_the_connection_of_who_asks_for_that(
    request_: bytes, connection: RawConnection
) -> None:
    await connection.send(request_)
    answer = await connection.answer()
    assert answer.status >= 400
    assert answer.headers["Connection"] == "close"
    assert await connection.rest() == b""


async def test_requests_in_a_row_are_answered_in_their_order(connection: RawConnection) -> None:
    ids = [b"a", b"b", b"c"]
    await connection.send(b"".join(get(b"/livez", b"X-Request-ID: " + each) for each in ids))
    for each in ids:
        assert (await connection.answer()).headers["X-Request-ID"] == each.decode()


async def test_a_declined_upgrade_leaves_the_connection_usable(connection: RawConnection) -> None:
    await connection.send(get(b"/livez", b"Connection: Upgrade", b"Upgrade: websocket") + GOOD)
    assert [(await connection.answer()).status for _ in range(2)] == [200, 200]


async def test_an_idle_connection_is_closed(connection: RawConnection) -> None:
    assert await connection.seconds_until_closed() > 0.3


async def test_an_idle_connection_is_closed_after_a_request_too(connection: RawConnection) -> None:
    await connection.send(GOOD)
    assert (await connection.answer()).status == 200
    assert await connection.seconds_until_closed() > 0.3


@pytest.mark.parametrize("before", [b"", GOOD], ids=["at first", "after a request"])
async def test_dripping_headers_are_cut_off(before: bytes, connection: RawConnection) -> None:
    if before:
        await connection.send(before)
        await connection.answer()

    async def drip() -> None:
        for byte in get(b"/livez", *(b"X: y" for _ in range(50))):
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    assert await connection.seconds_until_closed() > 0.3
    assert not dripping.done()
    dripping.cancel()


async def test_headers_that_come_slowly_but_in_time_are_answered(server: Serving) -> None:
    async def send_slowly(connection: RawConnection) -> int:
        for at in range(0, len(GOOD), 9):
            await connection.send(GOOD[at : at + 9])
            await asyncio.sleep(0.03)
        return (await connection.answer()).status

    assert await unless_stalled(server, send_slowly) == 200


async def test_a_connection_in_use_is_not_idle(server: Serving) -> None:
    async def use(connection: RawConnection) -> set[int]:
        statuses = set()
        for _ in range(6):
            await asyncio.sleep(0.15)
            await connection.send(GOOD)
            statuses.add((await connection.answer()).status)
        return statuses

    assert await unless_stalled(server, use) == {200}


async def unless_stalled(
    server: Serving, talk: Callable[[RawConnection], Coroutine[None, None, _Answered]]
) -> _Answered:
    """Talk to the server; again if that fails and this process was held up, so was not in time."""
    while True:
        async with raw_connection(server.port) as connection, Stalls() as stalls:
            (answered,) = await asyncio.gather(talk(connection), return_exceptions=True)
            if not isinstance(answered, BaseException):
                return answered
            if stalls.seconds < 0.1:
                raise answered
