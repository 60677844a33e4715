"""The fast path in front of the parser: what it takes, what it leaves, and that nobody notices."""

import asyncio
import random
import re
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from pisync import keys
from pisync.web.transport.fast_path import FAST_PATH
from pisync.web.transport.recognition import heads
from tests.support.raw_connection import (
    HASTE,
    RawConnection,
    raw_connection,
    serving,
)
from tests.support.warm_server import (
    HEAD,
    KNOWN,
    LIST,
    LIVE,
    STATS,
    SYNC,
    TOKEN,
    Warm,
    Watched,
    an_app,
    ask,
    know,
    plain_server,
    warm_server,
)
from tests.web.transport.test_protocol import BROKEN, ODD, SMUGGLING


async def all_answers(port: int, *pieces: bytes) -> bytes:
    """What a connection answers to some pieces, until it is closed, but for dates and ids."""
    async with raw_connection(port) as connection:
        await ask(connection, LIVE)
        reading = asyncio.create_task(connection.parts())
        for piece in pieces:
            if not reading.done():
                with suppress(ConnectionError):
                    await connection.send(piece)
                await asyncio.sleep(0.004)
        connection.end()
        return re.sub(rb"(Date|X-Request-ID): [^\r]*", rb"\1", await reading)


async def assert_answered_alike(warm: Warm, plain: int, *pieces: bytes) -> None:
    answers = await asyncio.gather(all_answers(warm.port, *pieces), all_answers(plain, *pieces))
    assert answers[0] == answers[1], pieces


async def test_what_is_known_is_answered_with_the_same_bytes() -> None:
    async with warm_server() as warm, plain_server() as plain:
        for request in KNOWN:
            await assert_answered_alike(warm, plain, request)
        assert warm.front.taken.count(True) == len(KNOWN)


async def test_requests_are_counted_and_logged_wherever_they_are_answered() -> None:
    async with warm_server() as warm:
        counted = warm.app[keys.METRICS].render().decode()
    assert f'route="/devices/{{device_id}}/sync",status="202"}} {3.0}' in counted
    assert f'route="/devices",status="422"}} {3.0}' in counted


DEVICE = b"GET /devices/3 HTTP/1.1\r\n" + HEAD
DIFFERENT = {
    "a request in two pieces": (LIST[:30], LIST[30:]),
    "two requests in one piece": (LIST + STATS,),
    "a byte more": (LIST + b"G",),
    "a line more": (LIST + b"\r\n",),
    "a byte less": (LIST[:-1],),
    "a header that differs in one byte": (LIST.replace(b"Host: a", b"Host: b"),),
    "a header in other case": (LIST.replace(b"Host: a", b"host: a"),),
    "headers in another order": (
        b"GET /devices HTTP/1.1\r\nAuthorization: Bearer a.known.token\r\nHost: a\r\n\r\n",
    ),
    "a header more": (LIST.replace(b"\r\n\r\n", b"\r\nX: y\r\n\r\n"),),
    "bare line feeds": (LIST.replace(b"\r\n", b"\n"),),
    "a bare line feed behind the request line": (LIST.replace(b"1.1\r\n", b"1.1\n"),),
    "a NUL": (LIST.replace(b"Host: a", b"Host: a\x00"),),
    "a folded header": (LIST.replace(b"\r\n\r\n", b"\r\n folded\r\n\r\n"),),
    "the end of the head, and more lines": (LIST.replace(b"1.1\r\n", b"1.1\r\n\r\n"),),
    "a first header that is folded": (LIST.replace(b"Host: a", b" Host: a"),),
    "a first header behind a tab": (LIST.replace(b"Host: a", b"\tHost: a"),),
    "a folded header within": (LIST.replace(b"Host: a", b"Host:\r\n a"),),
    "a digit more of a version": (DEVICE.replace(b"HTTP/1.1", b"HTTP/1.11"),),
    "a space behind the version": (DEVICE.replace(b"HTTP/1.1", b"HTTP/1.1 "),),
    "a tab for a space": (DEVICE.replace(b" HTTP", b"\tHTTP"),),
    "a line feed in the target": (DEVICE.replace(b"devices/3", b"devices/3\n"),),
    "a NUL in the target": (DEVICE.replace(b"devices/3", b"devices/3\x00"),),
    "a fragment": (DEVICE.replace(b"devices/3", b"devices/3#x"),),
    "a digit that is none of ASCII": (DEVICE.replace(b"devices/3", "devices/\u0663".encode()),),
    "an absolute target": (DEVICE.replace(b"/devices/3", b"http://a/devices/3"),),
    "a path with two slashes": (DEVICE.replace(b"/devices/3", b"//devices/3"),),
    "HTTP/1.0 on a connection that is kept": (
        LIST.replace(b"HTTP/1.1", b"HTTP/1.0").replace(
            b"Host: a", b"Host: a\r\nConnection: keep-alive"
        ),
    ),
    "HTTP/1.0": (LIST.replace(b"HTTP/1.1", b"HTTP/1.0"),),
    "HTTP/1.2": (LIST.replace(b"HTTP/1.1", b"HTTP/1.2"),),
    "lines before": (b"\r\n" + LIST,),
    "two spaces": (LIST.replace(b"GET ", b"GET  "),),
    "HEAD": (LIST.replace(b"GET", b"HEAD"),),
    "a method in lower case": (LIST.replace(b"GET", b"get"),),
    "a leading zero": (b"GET /devices/03 HTTP/1.1\r\n" + HEAD,),
    "POST where GET is": (b"POST /devices/3 HTTP/1.1\r\n" + HEAD,),
    "a query of one device": (b"GET /devices/3?x=1 HTTP/1.1\r\n" + HEAD,),
    "headers that follow what looks like a whole request": (
        b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\nX: ",
        LIST,
    ),
    "a body that looks like a request": (
        b"POST /devices/3/sync HTTP/1.1\r\nContent-Length: %d\r\n" % len(LIST) + HEAD,
        LIST,
    ),
    "a chunk that looks like a request": (
        b"POST /devices/3/sync HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HEAD,
        LIST,
    ),
    "what follows an upgrade": (
        b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + LIST[:20],
        LIST,
    ),
}


async def test_what_differs_goes_the_ordinary_way() -> None:
    async with warm_server() as warm, plain_server() as plain:
        for name, pieces in DIFFERENT.items():
            await assert_answered_alike(warm, plain, *pieces)
            assert True not in warm.front.taken, name


HEADERS_OF_ONE_REQUEST = (
    *(b"Connection: keep-alive\r\nConnection: close", b"Connection: keep-alive\r\nConnection: TE"),
    *(b"Connection: close", b"Connection: Upgrade", b"Expect: 100-continue", b"Upgrade: x"),
    *(b"If-None-Match: *", b"Transfer-Encoding: chunked", b"Idempotency-Key: one"),
    *(b"Content-Length: 1", b"Authorization: Bearer a.known.token"),
    *(b"X-Request-ID:mine", b"X-Request-ID: my own", b"X-Request-ID: " + b"a" * 129),
    *(b"X-Request-ID: a\r\nX-Request-ID: b", b"X-Request-ID: a\r\nX-Request-ID: b c"),
    *(b"X-Request-ID: b c\r\nX-Request-ID: a",),
)


async def test_what_is_unusual_is_not_remembered() -> None:
    async with warm_server() as warm, plain_server() as plain:
        for line in HEADERS_OF_ONE_REQUEST:
            request = SYNC.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")
            for _ in range(4):
                await assert_answered_alike(warm, plain, request)
            assert True not in warm.front.taken, line


@pytest.mark.parametrize(
    "line", [b"Content-Length: 0", b"Connection: keep-alive", b"Connection: Keep-Alive", b"X: y"]
)
async def test_what_all_of_a_clients_requests_say_is_remembered(line: bytes) -> None:
    request = SYNC.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n")
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        assert [await ask(connection, request) for _ in range(4)] == [202] * 4
        assert warm.front.taken[-1]


OWN = LIST.replace(b"Host: a", b"X-Request-ID: one\r\nHost: a\r\nTraceparent: 00-0a-01-01")


async def answered(connection: RawConnection, request: bytes) -> tuple[int, str]:
    await connection.send(request)
    answer = await connection.answer()
    return answer.status, answer.headers["X-Request-ID"]


async def test_requests_with_ids_of_their_own_are_remembered_without_them() -> None:
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        for number in range(5):
            request = OWN.replace(b"one", b"id.%d" % number).replace(b"0a", b"0b%d" % number)
            assert await answered(connection, request) == (200, f"id.{number}")
        assert warm.front.taken == [False, False, True, True, True]
        without = OWN.replace(b"X-Request-ID: one\r\n", b"")
        assert [(await answered(connection, without))[0] for _ in range(3)] == [200] * 3
        assert (await answered(connection, without))[1] != "one"
        assert warm.front.taken[-1]


LIKE_OWN = {
    "an id that is none": OWN.replace(b"one", b"o ne"),
    "an id that is too long": OWN.replace(b"one", b"a" * 129),
    "no id": OWN.replace(b"one", b""),
    "no space": OWN.replace(b": one", b":one"),
    "no colon": OWN.replace(b"X-Request-ID: one", b"X-Request-ID"),
    "a space before the colon": OWN.replace(b"-ID:", b"-ID :"),
    "a NUL": OWN.replace(b"one", b"o\x00ne"),
    "a carriage return": OWN.replace(b"one", b"o\rne"),
    "a line feed alone": OWN.replace(b"one\r\n", b"one\n"),
    "a folded line": OWN.replace(b"one\r\n", b"one\r\n two\r\n"),
    "two ids": OWN.replace(b"one\r\n", b"one\r\nX-Request-ID: two\r\n"),
    "an id in another place": OWN.replace(
        b"X-Request-ID: one\r\nHost: a", b"Host: a\r\nX-Request-ID: one"
    ),
    "an end of the head": OWN.replace(b"one\r\n", b"one\r\n\r\n"),
    "a length before": OWN.replace(b"X-Request", b"Content-Length: 5\r\nX-Request"),
}


@pytest.mark.parametrize("name", LIKE_OWN)
async def test_what_is_like_an_id_of_its_own_goes_the_ordinary_way(name: str) -> None:
    async with warm_server() as warm, plain_server() as plain:
        for _ in range(3):
            await assert_answered_alike(warm, plain, OWN)
        assert warm.front.taken.pop()
        warm.front.taken.clear()
        await assert_answered_alike(warm, plain, LIKE_OWN[name])
        assert True not in warm.front.taken


async def test_a_request_that_waits_for_its_turn_is_not_taken_for_the_one_before() -> None:
    """Its bytes arrive while another request, with another token, has not been handled yet."""
    async with warm_server() as warm:
        know(warm.app, "another.known.token")
        other = STATS.replace(b"a.known", b"another.known")
        for _ in range(20):
            async with raw_connection(warm.port) as connection:
                await connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
                await connection.answer()
                for request in (STATS.replace(b"Host: a", b"host: a"), other):
                    await connection.send(request)
                await connection.answer()
                await connection.answer()
        meanings = warm.front._heads  # noqa: SLF001 - what it must not know
    for lines, head in meanings.items():
        assert lines.count(head.token.encode()) == 1


async def test_attacks_are_answered_alike_once_their_headers_were_tried() -> None:
    """Their header lines come first in requests that are known but for these lines."""
    attacks = [*SMUGGLING.values(), *BROKEN.values(), *(request for request, _ in ODD.values())]
    token = b"\r\nAuthorization: Bearer a.known.token\r\n"
    async with warm_server() as warm, plain_server() as plain:

        async def assert_harmless(attack: bytes) -> None:
            signed = attack.replace(b"\r\n", token, 1)
            asked = b"GET /stats HTTP/1.1\r\n" + signed.partition(b"\r\n")[2]
            for pieces in ((asked,), (asked,), (asked, signed), (signed, LIST), (LIST, signed)):
                await assert_answered_alike(warm, plain, *pieces)

        await asyncio.gather(*map(assert_harmless, attacks))


def mutated(draw: random.Random) -> list[bytes]:
    """Good requests with something wrong, in pieces."""
    requests = (*KNOWN, OWN, OWN, b"GET /livez HTTP/1.1\r\n" + HEAD)
    data = bytearray(b"".join(draw.choices(requests, k=2)))
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(data))
        match draw.randrange(5):
            case 0:
                data[at] = draw.randrange(256)
            case 1:
                del data[at : at + draw.randrange(1, 30)]
            case 2:
                data[at:at] = draw.choice((b"\r\n", b"\n", b"\0", b" ", b"\r\n\r\n", HEAD, LIST))
            case 3:
                end = at + draw.randrange(1, 60)
                data[at:at] = data[at:end]
            case 4:
                data[at:at] = draw.choice(HEADERS_OF_ONE_REQUEST) + b"\r\n"
    cuts = sorted(
        {
            0,
            len(data),
            *(match.end() for match in re.finditer(rb"\r\n\r\n", data) if draw.random() < 0.8),
            *(draw.randrange(len(data)) for _ in range(draw.randrange(2)) if data),
        }
    )
    return [bytes(data[start:end]) for start, end in pairwise(cuts)]


async def test_whatever_is_sent_is_answered_as_by_a_server_that_remembers_nothing() -> None:
    draw = random.Random(1)  # noqa: S311 - the same ones each time
    async with warm_server() as warm, plain_server() as plain:
        for _ in range(3):
            await assert_answered_alike(warm, plain, OWN)
        assert warm.front.taken[-1]
        for _ in range(200):
            await assert_answered_alike(warm, plain, *mutated(draw))
        assert warm.front.taken.count(True) > 20


async def test_connections_in_use_are_kept_and_idle_ones_closed() -> None:
    app, _ = an_app()
    app[FAST_PATH] = front = Watched(app)
    async with (
        serving(app, replace(HASTE, idle=0.4)) as running,
        raw_connection(running.port) as connection,
    ):
        for _ in range(12):
            assert await ask(connection, LIST) == 200
            await asyncio.sleep(0.1)
        assert front.taken[-1]
        assert 0.1 < await connection.seconds_until_closed() < 5


async def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_BYTES", 20_000)
    monkeypatch.setattr(heads, "_MAX_SEEN", 50)
    async with warm_server() as warm:
        for number in range(60):
            line, query = b"\r\nX: %d\r\n\r\n" % number, b"/devices?limit=%d " % (number + 1)
            request = LIST.replace(b"\r\n\r\n", line).replace(b"/devices ", query)
            async with raw_connection(warm.port) as connection:
                for _ in range(2):
                    assert await ask(connection, request) == 200
        newest = LIST.replace(b"\r\n\r\n", b"\r\nX: new\r\n\r\n")
        async with raw_connection(warm.port) as connection:
            assert [await ask(connection, newest) for _ in range(3)] == [200] * 3
        front = warm.front
        assert front.taken[-1]
        for remembered in (front._heads, front._lines):  # noqa: SLF001 - they must not grow
            assert 10 < len(remembered) < 40
        assert len(front._seen) <= 50  # noqa: SLF001


async def test_heads_that_never_come_twice_are_soon_hardly_looked_at() -> None:
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        before = len(warm.front._seen)  # noqa: SLF001 - what is noted costs time and room
        for number in range(200):
            line = b"\r\nX: %d\r\n\r\n" % number
            assert await ask(connection, LIST.replace(b"\r\n\r\n", line)) == 200
        assert 10 < len(warm.front._seen) - before < 40  # noqa: SLF001
        warm.front.taken.clear()
        for _ in range(20):
            assert await ask(connection, LIST) == 200
        assert warm.front.taken.index(True) <= 16
        assert all(warm.front.taken[17:])


async def test_the_heads_of_ten_thousand_tokens_take_16_mib_at_most() -> None:
    """By a tenth of them, each in a head as long as those of browsers."""
    tokens = [f"{number}".rjust(300, "t") for number in range(1_000)]
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        for token in tokens:
            know(warm.app, token)
        agent = b"User-Agent: " + b"a" * 100 + b"\r\n\r\n"
        heads = [HEAD.replace(TOKEN.encode(), token.encode())[:-2] + agent for token in tokens]
        assert await ask(connection, LIVE) == 200
        tracemalloc.start()
        try:
            for head in heads:
                request = b"GET /devices HTTP/1.1\r\n" + head
                assert [await ask(connection, request) for _ in range(3)] == [200] * 3
                assert warm.front.taken[-1]
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(warm.front._heads) > len(tokens)  # noqa: SLF001 - none of them was forgotten
        assert grown < 16 * 1024 * 1024 / 10
