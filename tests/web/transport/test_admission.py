"""More than can be answered: what is too much is refused soon and in the one shape."""

import asyncio
import re
import time
from dataclasses import replace

import orjson
import pytest
from aiohttp import web

from pisync.app import create_app
from pisync.config.settings import Settings
from pisync.web.pipeline.cors import Cors
from pisync.web.transport.admission import (
    NORMAL,
    PROBES_A_TURN,
    AdmissionControl,
    Limits,
    connections_possible,
    refusal,
)
from tests.conftest import SETTINGS
from tests.support.raw_connection import (
    Answer,
    RawConnection,
    observed,
    raw_connection,
    serving,
    settle,
)
from tests.support.waiting import eventually

GET = b"GET /devices HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /login HTTP/1.1\r\nHost: a\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


class Clock:
    """Time, of either kind, spent by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that goes by while turns are long."""
    clock = Clock()
    monkeypatch.setattr("pisync.web.transport.admission.perf_counter", clock)
    return clock


async def turn(gate: AdmissionControl, clock: Clock, requests: int, each: float) -> int:
    """Let so many requests come in one turn of the loop; return how many came in."""
    let_in = sum([gate.lets_in() for _ in range(requests)])
    await asyncio.sleep(0)
    clock.seconds += let_in * each + (requests - let_in) * 20e-6
    gate.answered()
    return let_in


def test_what_is_normal_is_the_settings_default() -> None:
    settings = Settings()
    assert Limits(settings.max_connections, settings.max_requests) == NORMAL


# Which requests come in


async def test_a_burst_comes_in_whatever_its_size() -> None:
    gate, clock = AdmissionControl(10), Clock()
    assert await turn(gate, clock, 5000, 0.00005) == 5000


async def test_full_turns_for_a_second_are_overload_and_so_many_come_in(wall: Clock) -> None:
    clock = Clock()
    gate = AdmissionControl(100, clock)
    let_in = []
    for _ in range(60):
        let_in.append(await turn(gate, clock, 1000, 0.005))
        wall.seconds += 0.25
    # Two teach what a request costs; then turns are too long, and after a second it is overload.
    assert let_in[:7] == [1000] * 7
    assert let_in[7] < 1000
    assert 8 <= let_in[-1] <= 12  # 50 ms


async def test_clients_who_wait_for_each_other_but_not_long_are_no_overload(
    monkeypatch: pytest.MonkeyPatch, wall: Clock
) -> None:
    monkeypatch.setattr("pisync.web.transport.admission._SECONDS_TO_OVERLOAD", wall.seconds)
    clock = Clock()
    gate = AdmissionControl(100, clock)
    assert [await turn(gate, clock, 3000, 0.0001) for _ in range(20)] == [3000] * 20


async def test_however_little_requests_cost_only_so_many_come_in(
    monkeypatch: pytest.MonkeyPatch, wall: Clock
) -> None:
    monkeypatch.setattr("pisync.web.transport.admission._SECONDS_TO_OVERLOAD", wall.seconds)
    clock = Clock()
    gate = AdmissionControl(100, clock)
    await turn(gate, clock, 1000, 0.01)
    await turn(gate, clock, 1000, 0.01)
    assert [await turn(gate, clock, 1000, 0.0) for _ in range(60)][-1] == 100


async def test_one_turn_of_calm_ends_overload(monkeypatch: pytest.MonkeyPatch, wall: Clock) -> None:
    monkeypatch.setattr("pisync.web.transport.admission._SECONDS_TO_OVERLOAD", wall.seconds)
    clock = Clock()
    gate = AdmissionControl(100, clock)
    let_in = [await turn(gate, clock, 150, 0.01) for _ in range(60)]
    assert 4 <= let_in[-1] <= 6
    assert [await turn(gate, clock, n, 0.01) for n in (2, 150)] == [2, 150]


async def test_bursts_with_rest_between_them_are_no_overload(wall: Clock) -> None:
    clock = Clock()
    gate = AdmissionControl(100, clock)
    for _ in range(40):
        assert await turn(gate, clock, 150, 0.01) == 150
        wall.seconds += 0.3


async def test_turns_of_few_cost_no_look_at_the_processor_time() -> None:
    clock, looks = Clock(), 0

    def used() -> float:
        nonlocal looks
        looks += 1
        return clock()

    gate = AdmissionControl(160, used)
    for _ in range(100):
        await turn(gate, clock, 9, 0.01)
    assert not looks
    await turn(gate, clock, 10, 0.01)
    assert looks


async def test_a_few_who_ask_how_it_is_come_in_all_the_same(
    monkeypatch: pytest.MonkeyPatch, wall: Clock
) -> None:
    monkeypatch.setattr("pisync.web.transport.admission._SECONDS_TO_OVERLOAD", wall.seconds)
    clock = Clock()
    gate = AdmissionControl(100, clock)
    for _ in range(60):
        await turn(gate, clock, 1000, 0.01)
    for _ in range(2):
        assert await turn(gate, clock, 1000, 0.01) < 1000
        assert not gate.lets_in_probe(GET)
        assert sum(gate.lets_in_probe(LIVEZ) for _ in range(50)) == PROBES_A_TURN
        await asyncio.sleep(0)


# How the others are refused


async def test_it_is_quiet_while_requests_come_one_in_a_turn(wall: Clock) -> None:
    gate = AdmissionControl(10, Clock())
    seen = []
    for requests in (1, 1, 3, 1, 1):
        for _ in range(requests):
            gate.lets_in()
            seen.append(gate.is_quiet)
        await asyncio.sleep(0)
    assert seen == [True, True, True, False, False, False, True]


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"\r\n",
        GET.replace(b"GET", b"HEAD") + b"\r\n",
        POST + b"Content-Length: 0\r\n\r\n",
        POST + b"content-length: 2\r\n\r\n{}",
    ],
)
def test_where_a_request_plainly_ends_the_connection_is_kept(request_: bytes) -> None:
    answer, keep = refusal(request_)
    assert keep
    assert b"Connection" not in answer


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        GET + b"\r\n" + GET + b"\r\n",
        GET + b"Connection: close\r\n\r\n",
        GET + b"Upgrade: websocket\r\n\r\n",
        GET.replace(b"1.1", b"1.0") + b"\r\n",
        GET.replace(b"\r\n", b"\n") + b"\r\n\r\n",
        GET.replace(b"\r\n", b"\r\r\n") + b"\r\n",
        b"GET / HTTP/1.1\nHost: a\n\nGET /devices HTTP/1.1\r\n\r\n",
        POST + b"Content-Length: 2\r\n\r\n{",
        POST + b"Content-Length: 2\r\n\r\n{}x",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        b"",
        b"\x16\x03\x01",
    ],
)
def test_where_it_takes_a_parser_to_tell_the_connection_is_closed(request_: bytes) -> None:
    answer, keep = refusal(request_)
    assert not keep
    assert b"\r\nConnection: close\r\n" in answer


def test_the_rest_of_a_head_is_no_request() -> None:
    assert not refusal(GET + b"\r\n", whole=False).keep


@pytest.mark.parametrize(
    ("given", "is_taken"), [(b"mine-7", True), (b"not/mine", False), (b"x" * 129, False)]
)
def test_a_refusal_has_the_one_shape_and_the_request_id(given: bytes, is_taken: bool) -> None:
    answer, _ = refusal(GET + b"X-Request-ID: " + given + b"\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 1\r\n" in head
    found = re.search(rb"\r\nX-Request-ID: ([A-Za-z0-9._-]{1,128})\r\n", answer)
    assert found
    assert (found[1] == given) == is_taken
    assert list(orjson.loads(body)) == ["message"]
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head


@pytest.mark.parametrize(
    ("origins", "given", "allowed"),
    [
        (("https://a.example",), b"Origin: https://a.example\r\n", b"https://a.example"),
        (("https://a.example",), b"Origin: https://b.example\r\n", None),
        (("https://a.example",), b"", None),
        (("*",), b"origin:https://a.example\r\n", b"*"),
    ],
)
def test_pages_that_may_call_may_read_a_refusal(
    origins: tuple[str, ...], given: bytes, allowed: bytes | None
) -> None:
    answer, keep = refusal(GET + given + b"\r\n", cors=Cors(origins))
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert lines.get(b"Access-Control-Allow-Origin") == allowed
    assert (b"Retry-After" in lines.get(b"Access-Control-Expose-Headers", b"")) == bool(allowed)
    assert (lines.get(b"Vary") == b"Origin") == (origins != ("*",))
    assert len(body) == int(lines[b"Content-Length"])
    assert keep


async def test_pages_that_may_call_may_read_that_there_are_too_many_connections() -> None:
    app = create_app(replace(SETTINGS, cors_origins=("*",)))
    async with (
        serving(app, limits=Limits(connections=1)) as running,
        raw_connection(running.port) as first,
        raw_connection(running.port) as second,
    ):
        await first.send(LIVEZ)
        assert (await first.answer()).status == 200
        answer = await second.answer()
    answer.assert_problem(503)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_head_is_refused_without_a_body() -> None:
    assert refusal(GET.replace(b"GET", b"HEAD") + b"\r\n").answer.endswith(b"\r\n\r\n")


# The whole server


async def slow(_: web.Request) -> web.Response:
    end = time.thread_time() + 0.002
    while time.thread_time() < end:  # this is what overload is made of
        pass
    return web.json_response({})


async def ask(connection: RawConnection, times: int, request_: bytes) -> list[Answer]:
    answers = []
    for _ in range(times):
        await connection.send(request_)
        answers.append(await connection.answer())
    return answers


async def test_at_overload_some_are_answered_the_rest_refused_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pisync.web.transport.admission._SECONDS_TO_OVERLOAD", 0.05)
    monkeypatch.setattr("pisync.web.transport.admission._LONG_TURN_SECONDS", 0.01)
    app = observed(web.get("/slow", slow), web.get("/livez", slow))
    async with serving(app, limits=Limits(requests=4)) as server, asyncio.TaskGroup() as group:

        async def client(request_: bytes) -> list[Answer]:
            async with raw_connection(server.port) as connection:
                return await ask(connection, 20, request_)

        slows = [group.create_task(client(LIVEZ.replace(b"livez", b"slow"))) for _ in range(30)]
        probe = group.create_task(client(LIVEZ))
        await asyncio.wait([*slows, probe])
    answers = [answer for each in slows for answer in each.result()]
    statuses = [answer.status for answer in answers]
    assert len(statuses) == 600
    assert set(statuses) == {200, 503}
    for answer in answers:
        if answer.status == 503:
            answer.assert_problem(503)
            assert answer.headers["Retry-After"] == "1"
    assert {answer.status for answer in probe.result()} == {200}


async def test_one_connection_too_many_is_told_so_and_closed() -> None:
    async with (
        serving(create_app(SETTINGS), limits=Limits(connections=2)) as server,
        raw_connection(server.port) as first,
    ):
        async with raw_connection(server.port) as second, raw_connection(server.port) as third:
            assert (await ask(first, 1, LIVEZ))[0].status == 200
            assert (await ask(second, 1, LIVEZ))[0].status == 200
            (await third.answer()).assert_problem(503)
            assert await third.rest() == b""
        await settle()
        async with raw_connection(server.port) as another:
            answers = await ask(another, 1, LIVEZ)
            assert answers[0].status == 200
            metrics = await ask(another, 1, LIVEZ.replace(b"livez", b"metrics"))
            assert b"pisync_requests_turned_away_total 1.0" in metrics[0].body


async def test_more_than_a_refused_request_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pisync.web.transport.admission.AdmissionControl.lets_in", lambda _: False)
    monkeypatch.setattr("pisync.web.transport.connection.HOLD_SECONDS", 2.0)
    async with serving(create_app(SETTINGS)) as server, raw_connection(server.port) as connection:
        await connection.send(GET + b"\r\n")
        await settle()
        await connection.send(GET + b"\r\n")
        answer = await connection.answer()
        answer.assert_problem(503)
        assert answer.headers["Connection"] == "close"
        assert await connection.rest() == b""


async def test_a_request_under_way_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    came = 0

    def lets_in_the_first(_: AdmissionControl) -> bool:
        nonlocal came
        came += 1
        return came == 1

    monkeypatch.setattr(
        "pisync.web.transport.admission.AdmissionControl.lets_in", lets_in_the_first
    )
    async with serving(create_app(SETTINGS)) as server, raw_connection(server.port) as connection:
        await connection.send(
            POST + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
        )
        await eventually(lambda: came == 1)
        await settle()
        await connection.send(b"}")
        assert (await connection.answer()).status == 422


def test_no_more_connections_are_wanted_than_the_system_allows() -> None:
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert connections_possible(10) == 10
        possible = connections_possible(10**9)
        assert 0 < possible < 10**9 or before[1] == resource.RLIM_INFINITY
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# Requests behind others on their connection


async def test_at_overload_what_lies_behind_a_request_is_refused_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_first = iter([True])
    monkeypatch.setattr(
        "pisync.web.transport.admission.AdmissionControl.lets_in", lambda _: next(is_first, False)
    )
    second = GET.replace(b"GET", b"HEAD") + b"X-Request-ID: two\r\n\r\n"
    async with serving(create_app(SETTINGS)) as server, raw_connection(server.port) as connection:
        await connection.send(LIVEZ + second + LIVEZ * 3)
        assert (await connection.answer()).status == 200
        refused = await connection.answer(head=True)
        refused.assert_problem(503, head=True)
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["X-Request-ID"] == "two"
        assert refused.headers["Connection"] == "close"
        assert await connection.rest() == b""


async def test_at_overload_what_lies_behind_a_request_and_is_no_http_is_400(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_first = iter([True])
    monkeypatch.setattr(
        "pisync.web.transport.admission.AdmissionControl.lets_in", lambda _: next(is_first, False)
    )

    async def waits(_: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.json_response({})

    app = observed(web.get("/livez", waits))
    async with serving(app) as server, raw_connection(server.port) as connection:
        await connection.send(LIVEZ)
        await asyncio.sleep(0.03)
        await connection.send(b"hello\r\n\r\n")
        assert (await connection.answer()).status == 200
        (await connection.answer()).assert_problem(400)
        assert await connection.rest() == b""
