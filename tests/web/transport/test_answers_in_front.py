"""Answers that were begun in front of the parser, and wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pisync import keys
from pisync.web.contract.rendering import Rendered
from pisync.web.handlers.page_cache import PAGES
from pisync.web.transport.fast_path import FAST_PATH
from pisync.web.transport.recognition.targets import LISTS
from tests.conftest import ManualTime
from tests.support.raw_connection import (
    HASTE,
    RawConnection,
    raw_connection,
    serving,
    settle,
)
from tests.support.waiting import eventually
from tests.support.warm_server import (
    LIST,
    STATS,
    SYNC,
    Warm,
    Watched,
    an_app,
    ask,
    warm_server,
)


@dataclass
class Gate:
    """Holds the answers to `GET /stats` until it is opened."""

    entered: asyncio.Event
    opened: asyncio.Event
    answered: int = 0


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(asyncio.Event(), asyncio.Event())
    gate.opened.set()

    async def held(*_: object) -> Rendered:
        gate.entered.set()
        await gate.opened.wait()
        gate.answered += 1
        return Rendered.of({})

    monkeypatch.setitem(LISTS, "/stats", LISTS["/stats"]._replace(answer=held))
    return gate


@asynccontextmanager
async def held_answer(gate: Gate, warm: Warm) -> AsyncIterator[RawConnection]:
    """A connection on which an answer waits, after it was begun in front of the parser."""
    async with raw_connection(warm.port) as connection:
        assert await ask(connection, LIST) == 200
        gate.entered.clear()
        gate.opened.clear()
        await connection.send(STATS)
        await gate.entered.wait()
        assert warm.front.taken[-1]
        yield connection


async def test_an_answer_that_waits_is_written_when_it_is_there(gate: Gate) -> None:
    async with warm_server() as warm, held_answer(gate, warm) as connection:
        await settle()
        gate.opened.set()
        assert (await connection.answer()).status == 200
        assert [await ask(connection, request) for request in (LIST, STATS)] == [200, 200]
        assert warm.front.taken[-2:] == [True, True]


async def test_what_is_sent_meanwhile_is_answered_behind_it(gate: Gate) -> None:
    async with warm_server() as warm, held_answer(gate, warm) as connection:
        await connection.send(LIST.replace(b"/devices", b"/devices/99"))
        await connection.send(LIST)
        await settle()
        gate.opened.set()
        assert [(await connection.answer()).status for _ in range(3)] == [200, 404, 200]
        assert await ask(connection, LIST) == 200


async def test_who_sends_no_more_meanwhile_gets_the_answer(gate: Gate) -> None:
    async with warm_server() as warm, held_answer(gate, warm) as connection:
        connection.end()
        await settle()
        gate.opened.set()
        assert (await connection.answer()).status == 200
        assert await connection.rest() == b""


async def test_what_a_client_that_has_gone_asked_for_is_done(gate: Gate) -> None:
    async with warm_server() as warm:
        before = gate.answered
        async with held_answer(gate, warm) as connection:
            connection.reset()
            await settle()
            gate.opened.set()
            await eventually(lambda: gate.answered == before + 1)
        await settle()
        tasks = [task for task in asyncio.all_tasks() if "start" in repr(task.get_coro())]
        assert tasks == []
        async with raw_connection(warm.port) as another:
            assert await ask(another, LIST) == 200


async def test_an_answer_that_waits_keeps_an_idle_connection_open(gate: Gate) -> None:
    app, _ = an_app()
    app[FAST_PATH] = front = Watched(app)
    async with serving(app, replace(HASTE, idle=0.2)) as running:
        warm = Warm(app, running.port, front, ManualTime())
        async with raw_connection(running.port) as connection:
            for _ in range(3):
                assert await ask(connection, STATS) == 200
        async with held_answer(gate, warm) as connection:
            await asyncio.sleep(0.5)
            gate.opened.set()
            assert (await connection.answer()).status == 200
            assert 0.05 < await connection.seconds_until_closed() < 5


async def test_when_the_server_stops_what_is_not_done_is_told_so(gate: Gate) -> None:
    async with warm_server() as warm, held_answer(gate, warm) as connection:
        warm.app[keys.DRAINING].set()
        answer = await connection.answer()
        answer.assert_problem(503)
        assert answer.headers["Connection"] == "close"
        assert await connection.rest() == b""


async def test_when_the_server_stops_what_is_nearly_done_is_answered(gate: Gate) -> None:
    async with warm_server() as warm, held_answer(gate, warm) as connection:
        warm.app[keys.DRAINING].set()
        gate.opened.set()
        answer = await connection.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert await connection.rest() == b""


async def test_a_mistake_is_answered_in_the_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    is_broken = False

    async def broken(*_: object) -> Rendered:
        if is_broken:
            raise ValueError("oops")
        return Rendered.of({})

    monkeypatch.setitem(LISTS, "/stats", LISTS["/stats"]._replace(answer=broken))
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        assert await ask(connection, LIST) == 200
        is_broken = True
        await connection.send(STATS)
        (await connection.answer()).assert_problem(500)
        assert warm.front.taken[-1]
        assert await ask(connection, LIST) == 200


@pytest.mark.parametrize("is_kept", [False, True], ids=["made", "kept"])
async def test_one_who_reads_slowly_gets_it_all_and_the_next_answer_behind_it(
    monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    size = 20_000_000

    async def large(*_: object) -> Rendered:
        return Rendered(bytes(size))

    monkeypatch.setitem(LISTS, "/stats", LISTS["/stats"]._replace(answer=large))
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        assert await ask(connection, LIST) == 200
        if is_kept:
            kept = iter([await large()])
            monkeypatch.setattr(warm.app[PAGES], "current", lambda _: next(kept, None))
        await connection.send(LIST if is_kept else STATS)
        await settle()
        assert warm.front.taken[-1]
        await connection.send(LIST)
        assert len((await connection.answer()).body) == size
        assert (await connection.answer()).status == 200


async def test_on_sqlite_a_sync_is_answered_after_its_commit(tmp_path: Any) -> None:
    async with warm_server(store=f"sqlite:///{tmp_path}/a.db") as warm:
        async with raw_connection(warm.port) as connection:
            assert await ask(connection, LIST) == 200
            for number in (5, 6, 7):
                request = SYNC.replace(b"/3/", b"/%d/" % number)
                assert await ask(connection, request) == 202
                assert warm.front.taken[-1]
        stats = await warm.app[keys.SIMULATOR].queries.stats("default")
        assert stats.pending == 4
