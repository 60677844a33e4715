"""Syncs that arrive in one turn of the event loop: one transaction, and no task for each answer.

Each is a request of its own in all that its client sees: it has its own answer, its own errors, its
line in log and journal. What they share is what a store does for them, and what is waited for.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from pisync.concurrency.resumed import resumed
from pisync.keys import DRAINING, IDLE_FLEETS, SIMULATOR
from pisync.model.requests.call import SYNC
from pisync.model.sync import SyncDecision, SyncResult
from pisync.stores.errors import StoreError
from pisync.web.contract.rendering import Rendered
from pisync.web.handlers.devices import ACCEPTED, refusal
from pisync.web.pipeline.middleware import (
    CLIENT_GONE,
    REQUEST_OBSERVER,
    AnsweredCall,
    shutting_down,
)
from pisync.web.pipeline.requests import JOURNALIST
from pisync.web.transport.aiohttp_internals import Protocol
from pisync.web.transport.raw_response import head_of
from pisync.web.transport.syncs.accepted import ROUTE, AcceptedAnswers

_METHOD = "POST"
# By themselves: to look one up in the enumeration takes a tenth of a microsecond.
_PENDING, _FULL = SyncDecision.PENDING, SyncDecision.FULL
# A named tuple's own constructor takes twice as long.
_new = tuple.__new__


class Sync(NamedTuple):
    """A request to sync a device, which holds its connection until it is answered."""

    batches: "SyncBatches"
    connection: Protocol
    fleet: str
    device_id: int
    path: str
    is_below_base_url: bool
    caller: tuple[str, str | None]
    """A token's user, and the client's `User-Agent`."""
    cors: bytes
    """Lines for the answer's head."""
    request_id: str
    began: float
    """When it arrived, of `perf_counter`."""

    def answered(self, status: int | None, attempt: str | None = None) -> AnsweredCall:
        """Return the call as it was answered; see there."""
        call = SYNC, _METHOD, self.path
        return _new(
            AnsweredCall,
            (self.request_id, self.began, call, self.device_id, self.caller, status, attempt),
        )

    def cancel(self) -> None:
        """Answer that the server can't wait any longer for what is to become of it."""
        self.batches.cancel(self)


class SyncBatches:
    """Begins the syncs of a turn together, each fleet's in one transaction, and answers them.

    `at_once` says that a store begins without a task, as `FastPath` has it.
    """

    def __init__(self, app: web.Application, *, at_once: bool) -> None:
        self._at_once = at_once
        self._start = app[SIMULATOR].start_each
        self._named = app[IDLE_FLEETS].named
        self._observer = app[REQUEST_OBSERVER]
        self._journalist = app[JOURNALIST]
        self._draining = app[DRAINING]
        self._arrived: dict[str, list[Sync]] = {}
        """Those of this turn, by fleet."""
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, sync: Sync) -> None:
        """Begin a sync before the next turn, and answer it."""
        sync.connection.hold(sync)
        arrived = self._arrived
        if not arrived:
            if sync.connection.is_alone:
                # Nothing would join it, and a turn more would cost it a tenth of its time.
                self._begin(sync.fleet, [sync])
                return
            asyncio.get_running_loop().call_soon(self._begin_all)
        of_fleet = arrived.get(sync.fleet)
        if of_fleet is None:
            arrived[sync.fleet] = [sync]
        else:
            of_fleet.append(sync)

    def cancel(self, sync: Sync) -> None:
        """Answer a sync that the server can't wait for any longer; it may have begun."""
        if not sync.connection.is_held_for(sync):
            return
        of_fleet = self._arrived.get(sync.fleet, [])
        if sync in of_fleet:
            of_fleet.remove(sync)
        if self._draining.is_set():
            self._answer_problem(sync, shutting_down())
        else:
            self._give_up(sync)

    def _begin_all(self) -> None:
        arrived, self._arrived = self._arrived, {}
        for fleet, syncs in arrived.items():
            self._begin(fleet, syncs)

    def _begin(self, fleet: str, syncs: Sequence[Sync]) -> None:
        self._named(fleet)
        answering = self._answer(fleet, syncs)
        if not self._at_once:
            self._go_on(answering)
            return
        try:
            waits_for = answering.send(None)
        except StopIteration:
            return
        self._go_on(resumed(answering, waits_for))

    def _go_on(self, answering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(answering)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, fleet: str, syncs: Sequence[Sync]) -> None:
        try:
            results = await self._start(fleet, [sync.device_id for sync in syncs])
        except Exception as exc:  # noqa: BLE001 - whatever it was, each gets an answer
            if isinstance(exc, StoreError) or len(syncs) == 1:
                for sync in syncs:
                    self._answer_problem(sync, exc)
                return
            # One that fails in a way that nobody expects must not fail the others.
            middle = len(syncs) // 2
            await self._answer(fleet, syncs[:middle])
            await self._answer(fleet, syncs[middle:])
        else:
            self._answer_all(fleet, syncs, results)

    def _answer_all(self, fleet: str, syncs: Sequence[Sync], results: Sequence[SyncResult]) -> None:
        close = self._draining.is_set()
        accepted = AcceptedAnswers(close=close)
        answers: list[tuple[Sync, bytes]] = []
        calls: list[AnsweredCall] = []
        for sync, result in zip(syncs, results, strict=True):
            if not sync.connection.is_held_for(sync):
                continue  # cancelled
            decision, device = result
            if device is None or decision is _PENDING or decision is _FULL:
                self._answer_problem(sync, refusal(result))
                continue
            try:
                answer = accepted.answer(device, sync.request_id, sync.cors, sync.is_below_base_url)
            except Exception as exc:  # noqa: BLE001 - the others are to be answered all the same
                self._answer_problem(sync, exc)
            else:
                answers.append((sync, answer))
                calls.append(sync.answered(ACCEPTED, str(device.attempt)))
        # Before they are written: who has an answer finds the request in metrics and journal.
        self._observer.answered_alike(ROUTE, _METHOD, ACCEPTED, calls)
        self._journalist.note_all(fleet, calls)
        for sync, answer in answers:
            sync.connection.let_go_with(answer, keep=not close)

    def _answer_problem(self, sync: Sync, exc: BaseException) -> None:
        """Answer a sync that was refused or that failed."""
        try:
            transport = sync.connection.transport
            problem = self._observer.problem_of(exc, transport, sync.request_id)
        except ConnectionError:
            self._give_up(sync)
            return
        rendered = Rendered.problem(problem)
        close = self._draining.is_set()
        head = head_of(rendered, sync.request_id, close=close, private=True, more=sync.cors)
        self._note(sync, rendered.status)
        sync.connection.let_go_with(head + rendered.body, keep=not close)

    def _give_up(self, sync: Sync) -> None:
        """Answer nobody: the client has gone."""
        self._note(sync, None)
        sync.connection.let_go(keep=False)

    def _note(self, sync: Sync, status: int | None) -> None:
        calls = (sync.answered(status),)
        self._observer.answered_alike(ROUTE, _METHOD, status or CLIENT_GONE, calls)
        self._journalist.note_all(sync.fleet, calls)
