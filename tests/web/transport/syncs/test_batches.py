"""Syncs that arrive in one turn of the event loop: begun together, each answered by itself."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pisync import keys
from pisync.model.fleet import DEFAULT_FLEET, Generated
from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.profile import Profile
from pisync.model.requests.fault import FaultRule, StatusFault
from pisync.model.requests.journal import RequestFilter
from pisync.stores.embedded.sqlite.file import SqliteFile
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.errors import StoreUnavailable
from pisync.web.transport.aiohttp_internals import Protocol
from pisync.web.transport.connection import Connection
from tests.support.raw_connection import Answer, RawConnection, raw_connection, settle
from tests.support.waiting import eventually
from tests.support.warm_server import HEAD, LIST, LIVE, Warm, ask, plain_server, warm_server

SLOW = Profile(seed=7, delay=ConstantDelay(10))


def sync(device_id: int, fleet: str | None = None) -> bytes:
    base = "" if fleet is None else f"/fleets/{fleet}"
    return b"POST %b/devices/%d/sync HTTP/1.1\r\n" % (base.encode(), device_id) + HEAD


@dataclass
class Lab:
    """A warm server, and what its store is asked to begin."""

    warm: Warm
    stack: AsyncExitStack
    begun: list[tuple[str, list[int]]] = field(default_factory=list)
    connections: list[Protocol] = field(default_factory=list)
    """Of the syncs that have arrived, in their order."""
    when_arrived: Callable[[], object] = lambda: None
    """Called when a sync has arrived, and has not begun."""
    is_quiet: bool = False
    """Whether syncs arrive one at a time, as far as the server knows."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Until it is set, no commit comes to its end."""

    @property
    def simulator(self) -> Any:
        return self.warm.app[keys.SIMULATOR]

    async def connect(self) -> RawConnection:
        connection = await self.stack.enter_async_context(raw_connection(self.warm.port))
        assert await ask(connection, LIST) == 200
        return connection

    async def together(self, *requests: bytes) -> list[Answer]:
        """Send requests on connections of their own in one turn; return their answers."""
        clients = [await self.connect() for _ in requests]
        return await self.ask_together(clients, requests)

    async def ask_together(
        self, clients: Sequence[RawConnection], requests: Sequence[bytes]
    ) -> list[Answer]:
        for client, request in zip(clients, requests, strict=True):
            await client.send(request)
        return [await client.answer() for client in clients]


@asynccontextmanager
async def lab(**settings: Any) -> AsyncIterator[Lab]:
    async with warm_server(**settings) as warm, AsyncExitStack() as stack:
        made = Lab(warm, stack)
        made.gate.set()
        starter, answer = warm.app[keys.STORE].starter, warm.front.answer
        begin = starter.begin

        async def recorded(fleet: str, device_ids: Any, **more: Any) -> Any:
            made.begun.append((fleet, [*device_ids]))
            result = await begin(fleet, device_ids, **more)
            await made.gate.wait()
            return result

        def watched(connection: Protocol, packet: bytes) -> bool:
            taken = answer(connection, packet)
            if taken and packet.startswith(b"POST"):
                made.connections.append(connection)
                made.when_arrived()
            return taken

        starter.begin = recorded  # type: ignore[method-assign] # to be watched
        warm.front.answer = watched  # type: ignore[method-assign] # to be watched
        with pytest.MonkeyPatch.context() as patched:
            # Else the first of a turn would begin by itself where there was one before it.
            patched.setattr(Connection, "is_alone", property(lambda _: made.is_quiet))
            yield made


def statuses(answers: Sequence[Answer]) -> list[int]:
    return [answer.status for answer in answers]


async def test_syncs_of_one_turn_begin_in_one_transaction_in_their_order() -> None:
    async with lab() as made:
        answers = await made.together(*map(sync, (9, 5, 7)))
        assert statuses(answers) == [202] * 3
        assert [answer.json()["device_id"] for answer in answers] == [9, 5, 7]
        assert made.begun == [(DEFAULT_FLEET, [9, 5, 7])]


async def test_an_answer_has_the_same_bytes_as_the_applications() -> None:
    requests = [LIVE, sync(5), sync(5, "default"), sync(6, "nosuch"), sync(99)]
    async with lab() as made, plain_server() as plain, raw_connection(plain) as other:
        connection = await made.connect()
        for request in requests:
            answers = []
            for client in (connection, other):
                await client.send(request)
                answers.append(await client.answer())
            for answer in answers:
                answer.headers.popall("Date")
                answer.headers.popall("X-Request-ID")
            ours, application = answers
            assert (ours.status, [*ours.headers.items()], ours.body) == (
                *(application.status, [*application.headers.items()], application.body),
            )
        assert len(made.connections) == 4


async def test_one_that_comes_alone_begins_at_once() -> None:
    async with lab() as made:
        client = await made.connect()
        begun_on_arrival: list[int] = []
        made.when_arrived = lambda: begun_on_arrival.append(len(made.begun))
        for made.is_quiet in (True, False):
            assert await ask(client, sync(5)) == 202
        assert begun_on_arrival == [1, 1]
        assert made.begun == [(DEFAULT_FLEET, [5]), (DEFAULT_FLEET, [5])]


async def test_the_same_device_twice_in_a_turn_begins_once() -> None:
    async with lab() as made:
        answers = await made.together(sync(5), sync(5))
        assert statuses(answers) == [202, 202]
        assert [answer.headers["Pisync-Attempt"] for answer in answers] == ["1", "1"]
        ledger = await made.simulator.queries.ledger(DEFAULT_FLEET)
        assert (ledger.accepted, ledger.joined) == (2, 3)  # the server was warmed up before


async def test_where_joining_is_refused_the_second_of_a_turn_is_refused() -> None:
    async with lab() as made:
        await made.simulator.fleets.put("strict", Generated(9), Profile(7, refuse_pending=True))
        answers = await made.together(sync(5, "strict"), sync(5, "strict"), sync(6, "strict"))
        assert statuses(answers) == [202, 409, 202]
        answers[1].assert_problem(409)


async def test_what_is_beyond_the_limit_of_a_turn_is_refused() -> None:
    async with lab() as made:
        await made.simulator.fleets.put("small", Generated(9), Profile(7, max_pending=2))
        answers = await made.together(*(sync(number, "small") for number in (1, 2, 3)))
        assert statuses(answers) == [202, 202, 503]
        assert answers[2].headers["Retry-After"] == "1"
        answers[2].assert_problem(503)


async def test_each_fleet_of_a_turn_has_a_transaction_of_its_own() -> None:
    async with lab() as made:
        await made.simulator.fleets.put("a", Generated(9), SLOW)
        answers = await made.together(sync(1, "a"), sync(5), sync(2, "a"), sync(1, "nosuch"))
        assert statuses(answers) == [202, 202, 202, 404]
        answers[3].assert_problem(404)
        assert made.begun == [("a", [1, 2]), (DEFAULT_FLEET, [5]), ("nosuch", [1])]


async def test_an_id_that_is_not_there_is_404_and_the_others_begin() -> None:
    async with lab() as made:
        answers = await made.together(sync(5), sync(99), sync(6))
        assert statuses(answers) == [202, 404, 202]
        answers[1].assert_problem(404)


async def test_what_fails_in_a_way_that_nobody_expects_fails_alone() -> None:
    async with lab() as made:
        starter = made.warm.app[keys.STORE].starter
        begin = starter.begin

        async def broken(fleet: str, device_ids: Any) -> Any:
            if 6 in device_ids:
                raise ValueError("oops")
            return await begin(fleet, device_ids)

        starter.begin = broken  # type: ignore[method-assign,assignment] # breaks one device
        answers = await made.together(*map(sync, (4, 5, 6, 7)))
        assert statuses(answers) == [202, 202, 500, 202]
        answers[2].assert_problem(500)


async def test_an_answer_that_cannot_be_made_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from pisync.web.contract import rendering  # noqa: PLC0415

    render = rendering.pending_device

    def broken(device: Any) -> bytes:
        if device.device_id == 5:
            raise ValueError("oops")
        return render(device)

    monkeypatch.setattr(rendering, "pending_device", broken)
    async with lab() as made:
        assert statuses(await made.together(*map(sync, (4, 5, 6)))) == [202, 500, 202]


async def test_on_a_full_disk_nothing_begins_and_each_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(store=f"sqlite:///{tmp_path}/a.db") as made:
        before = await made.simulator.queries.ledger(DEFAULT_FLEET)

        def full(*_: object) -> None:
            raise StoreUnavailable from sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(SqliteFile, "_write", full)
            answers = await made.together(*map(sync, (4, 5, 6)))
        assert statuses(answers) == [503] * 3
        for answer in answers:
            answer.assert_problem(503)
        assert await made.simulator.queries.ledger(DEFAULT_FLEET) == before
        assert statuses(await made.together(*map(sync, (4, 5, 6)))) == [202] * 3


async def test_on_sqlite_a_turn_waits_for_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(store=f"sqlite:///{tmp_path}/a.db") as made:
        commits = 0
        write = SqliteFile.write

        def counted(file: SqliteFile, transaction: Transaction) -> None:
            nonlocal commits
            commits += 1
            write(file, transaction)

        monkeypatch.setattr(SqliteFile, "write", counted)
        answers = await made.together(*map(sync, (4, 5, 6, 99)))
        assert statuses(answers) == [202, 202, 202, 404]
        assert commits == 1


async def test_what_a_client_that_has_gone_asked_for_begins_all_the_same() -> None:
    async with lab() as made:
        client, gone = await made.connect(), await made.connect()

        def leave() -> None:
            if len(made.connections) == 2:
                made.connections[1].force_close()

        made.when_arrived = leave
        await client.send(sync(5))
        await gone.send(sync(6))
        assert (await client.answer()).status == 202
        assert await gone.rest() == b""
        assert (await made.simulator.queries.device(DEFAULT_FLEET, 6)).is_pending
        assert await ask(client, LIST) == 200


async def test_a_refusal_that_nobody_waits_for_is_counted_as_such() -> None:
    async with lab() as made:
        gone = await made.connect()

        def leave() -> None:
            made.connections[-1].force_close()

        made.when_arrived = leave
        await gone.send(sync(99))
        assert await gone.rest() == b""
        counted = made.warm.app[keys.METRICS].render().decode()
        assert 'route="/devices/{device_id}/sync",status="499"} 1.0' in counted
        page = await made.simulator.requests.journal(DEFAULT_FLEET, RequestFilter(), 1)
        assert (page.requests[0].entry.device_id, page.requests[0].entry.status) == (99, None)


async def test_a_server_that_begins_to_drain_answers_and_closes() -> None:
    async with lab() as made:
        made.when_arrived = made.warm.app[keys.DRAINING].set
        clients = [await made.connect() for _ in range(2)]
        answers = await made.ask_together(clients, [sync(5), sync(99)])
        assert statuses(answers) == [202, 404]
        assert [answer.headers["Connection"] for answer in answers] == ["close", "close"]
        assert [await client.rest() for client in clients] == [b"", b""]


async def test_when_the_server_stops_who_waits_for_a_commit_is_told_so() -> None:
    async with lab() as made:
        made.gate.clear()
        clients = [await made.connect() for _ in range(2)]
        for client in clients:
            await client.send(sync(5))
        await eventually(lambda: len(made.begun) == 1)
        made.warm.app[keys.DRAINING].set()
        for client in clients:
            answer = await client.answer()
            answer.assert_problem(503)
            assert answer.headers["Connection"] == "close"
            assert await client.rest() == b""
        made.gate.set()
        await settle()


async def test_when_the_server_stops_what_is_nearly_done_is_answered() -> None:
    async with lab() as made:
        made.gate.clear()
        client = await made.connect()
        await client.send(sync(5))
        await eventually(lambda: len(made.begun) == 1)
        made.warm.app[keys.DRAINING].set()
        made.gate.set()
        answer = await client.answer()
        assert (answer.status, answer.headers["Connection"]) == (202, "close")


async def test_what_is_cancelled_before_it_has_begun_does_not_begin() -> None:
    async with lab() as made:

        def stop() -> None:
            made.warm.app[keys.DRAINING].set()
            made.connections[0].cancel_request()

        made.when_arrived = stop
        client = await made.connect()
        await client.send(sync(5))
        (await client.answer()).assert_problem(503)
        assert [device_ids for _, device_ids in made.begun if device_ids] == []
        assert not (await made.simulator.queries.device(DEFAULT_FLEET, 5)).is_pending


async def test_one_who_waits_is_not_cancelled_but_closed_where_the_server_goes_on() -> None:
    async with lab() as made:
        made.gate.clear()
        client = await made.connect()
        await client.send(sync(5))
        await eventually(lambda: len(made.begun) == 1)
        made.connections[0].cancel_request()
        assert await client.rest() == b""
        made.gate.set()
        await settle()
        counted = made.warm.app[keys.METRICS].render().decode()
        assert 'route="/devices/{device_id}/sync",status="499"} 1.0' in counted


async def test_what_is_sent_meanwhile_is_answered_behind_it() -> None:
    async with lab() as made:
        made.gate.clear()
        client = await made.connect()
        await client.send(sync(5))
        await eventually(lambda: len(made.begun) == 1)
        for request in (sync(6), LIST.replace(b"/devices", b"/devices/99"), LIST):
            await client.send(request)
            await settle()
        made.gate.set()
        answers = [await client.answer() for _ in range(4)]
        assert statuses(answers) == [202, 202, 404, 200]
        assert await ask(client, sync(7)) == 202


async def test_two_syncs_in_one_packet_are_answered_in_their_order() -> None:
    async with lab() as made:
        client = await made.connect()
        await client.send(sync(5) + sync(99))
        assert [(await client.answer()).status for _ in range(2)] == [202, 404]


async def test_who_sends_no_more_gets_the_answer() -> None:
    async with lab() as made:
        made.gate.clear()
        client = await made.connect()
        await client.send(sync(5))
        client.end()
        await settle()
        made.gate.set()
        assert (await client.answer()).status == 202
        assert await client.rest() == b""


async def test_one_who_reads_slowly_holds_nobody_up() -> None:
    async with lab() as made:
        slow, fast = await made.connect(), await made.connect()

        def pause() -> None:
            if len(made.connections) == 1:
                made.connections[0].pause_writing()

        made.when_arrived = pause
        await slow.send(sync(5))
        await fast.send(sync(6))
        assert (await fast.answer()).status == 202
        assert (await slow.answer()).status == 202
        await slow.send(LIST)
        await settle()
        assert made.connections[0].is_busy
        made.connections[0].resume_writing()
        assert (await slow.answer()).status == 200
        assert await ask(slow, sync(7)) == 202


async def test_a_fleet_that_is_deleted_before_its_syncs_begin_is_404() -> None:
    async with lab() as made:
        await made.simulator.fleets.put("suite", Generated(9), SLOW)

        def delete() -> None:
            with pytest.raises(StopIteration):
                made.simulator.fleets.delete("suite").send(None)

        client = await made.connect()
        assert await ask(client, sync(1, "suite")) == 202
        made.when_arrived = delete
        await client.send(sync(2, "suite"))
        (await client.answer()).assert_problem(404)


async def test_a_fleet_that_meets_faults_goes_the_ordinary_way() -> None:
    async with lab() as made:
        rules = (FaultRule(("sync",), StatusFault(503)),)
        await made.simulator.fleets.put("faulty", Generated(9), SLOW)
        await made.simulator.requests.set_faults("faulty", rules)
        client = await made.connect()
        assert await ask(client, sync(1, "faulty")) == 503
        assert made.connections == []
        assert await ask(client, sync(1)) == 202
        assert len(made.connections) == 1


async def test_each_sync_of_a_turn_is_in_metrics_and_journal() -> None:
    async with lab() as made:
        answers = await made.together(sync(5), sync(99), sync(6))
        counted = made.warm.app[keys.METRICS].render().decode()
        assert 'route="/devices/{device_id}/sync",status="202"} 5.0' in counted
        assert 'route="/devices/{device_id}/sync",status="404"} 1.0' in counted
        page = await made.simulator.requests.journal(DEFAULT_FLEET, RequestFilter(), 3)
        entries = [request.entry for request in page.requests]
        assert Counter((each.device_id, each.status, each.attempt) for each in entries) == Counter(
            [(5, 202, 1), (99, 404, None), (6, 202, 1)]
        )
        sent = {answer.headers["X-Request-ID"] for answer in answers}
        assert {each.request_id for each in entries} == sent
        assert {(each.call, each.method, each.user) for each in entries} == {
            ("sync", "POST", "tester")
        }


async def test_each_sync_of_a_turn_is_a_line_of_the_access_log() -> None:
    from tests.support.raw_connection import capture_logs  # noqa: PLC0415

    with capture_logs() as lines:
        async with lab(access_log=True) as made:
            lines.clear()
            answers = await made.together(sync(5), sync(99))
            await settle()
            logged = [line for line in lines if line.get("method") == "POST"]
    assert sorted((line["path"], line["status"]) for line in logged) == [
        *(("/devices/5/sync", 202), ("/devices/99/sync", 404)),
    ]
    ids = {answer.headers["X-Request-ID"] for answer in answers}
    assert {line["request_id"] for line in logged} == ids
