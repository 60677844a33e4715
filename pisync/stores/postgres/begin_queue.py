"""Attempts begin: the calls that come while one commit is under way share the next one."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import asyncpg

from pisync.model.requests.idempotency import (
    MAX_KEYS,
    KeyedRequest,
    KeyedStep,
    RememberedAnswer,
)
from pisync.model.sync import FinishedSync, SyncResult
from pisync.stores.changes import FleetChanges, all_of
from pisync.stores.errors import (
    FleetReplaced,
    RequestRemembered,
    StoreError,
    StoreUnavailable,
)
from pisync.stores.postgres.commit import Commits, SnapshotChanges, due_in, numbered
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import PATIENCE, Database
from pisync.stores.postgres.finishing.along import MOST, DueAlong, Lent
from pisync.stores.postgres.notifications import ObserverHolder
from pisync.stores.postgres.requests.answers import read_answers, remember_answers
from pisync.stores.postgres.snapshot import FleetSnapshot, load_fleet

_MOST_DEVICES = 1024
"""How many devices one commit is about, unless a single call is about more."""
_BUSY = 4
"""How many syncs in a commit, those of bulk syncs aside, show that more are on their way."""
_GATHERING = 0.004
"""Seconds that a busy fleet's next commit waits for more calls."""
_CALLERS_PATIENCE = 2 * PATIENCE
"""Seconds that a call may take: it may have to wait for a commit before its own."""


class _Request(NamedTuple):
    device_ids: Sequence[int]
    generation: int | None
    step: KeyedStep | None
    answer: asyncio.Future[list[SyncResult]]


class BeginQueue:
    """One queue of requests for each fleet. What `begin` promises: see pisync.stores.base."""

    def __init__(
        self,
        database: Database,
        holder: ObserverHolder,
        along: DueAlong,
        commits: Commits,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._database = database
        self._along = along
        self._commits = commits
        self._holder = holder
        self._max_keys = max_keys
        self._queues: dict[str, list[_Request]] = {}
        self._workers: set[asyncio.Task[None]] = set()

    async def begin(
        self,
        fleet: str,
        device_ids: Iterable[int],
        *,
        generation: int | None = None,
        step: KeyedStep | None = None,
    ) -> Sequence[SyncResult]:
        answer: asyncio.Future[list[SyncResult]] = asyncio.get_running_loop().create_future()
        request = _Request([*device_ids], generation, step, answer)
        if fleet in self._queues:
            self._queues[fleet].append(request)
        else:
            self._queues[fleet] = [request]
            worker = asyncio.create_task(self._answer_all(fleet))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        try:
            async with asyncio.timeout(_CALLERS_PATIENCE):
                return await request.answer
        except TimeoutError:
            raise StoreUnavailable from None

    async def remembered(self, fleet: str, request: KeyedRequest) -> RememberedAnswer | None:
        async def read(connection: Connection) -> RememberedAnswer | None:
            known = await load_fleet(self._database, connection, fleet)
            answers = await read_answers(connection, known.fleet_id, [request.key])
            return answers.get(request.key)

        return await self._database.call(read)

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._workers:
            await asyncio.wait(self._workers)

    async def _answer_all(self, fleet: str) -> None:
        queue = self._queues[fleet]
        while queue:
            requests = _next_requests(queue)
            answers = await self._answers(fleet, requests)
            for request, answer in zip(requests, answers, strict=True):
                _reply_to(request, answer)
            if sum(len(each.device_ids) for each in requests if each.generation is None) >= _BUSY:
                # Those who have their answers now are about to call again.
                await asyncio.sleep(_GATHERING)
        del self._queues[fleet]

    async def _answers(
        self, fleet: str, requests: Sequence[_Request], *, finishing: bool = True
    ) -> Sequence[list[SyncResult] | Exception]:
        """Return what to answer to requests that share a commit; what is due may finish with it.

        What fails must not fail the others: what is due is left out, and then requests are halved
        until one stands alone.
        """
        try:
            return await self._database.persist(
                partial(self._begin, fleet, requests, finishing=finishing)
            )
        except Exception as exc:  # noqa: BLE001 - whatever it was, every caller must hear of it
            is_answer = isinstance(exc, StoreError) and not isinstance(
                exc.__cause__, asyncpg.DataError
            )
            if is_answer or (len(requests) == 1 and not finishing):
                return [exc] * len(requests)
        if finishing:
            return await self._answers(fleet, requests, finishing=False)
        middle = len(requests) // 2
        return [
            *await self._answers(fleet, requests[:middle], finishing=False),
            *await self._answers(fleet, requests[middle:], finishing=False),
        ]

    async def _begin(
        self, name: str, requests: Sequence[_Request], connection: Connection, *, finishing: bool
    ) -> Sequence[list[SyncResult] | Exception] | None:
        with self._along.lent(name, MOST if finishing else 0) as lent:
            fleet = await self._load(connection, name, requests, lent)
            self._along.begins_in(fleet)
            keys = [request.step.request.key for request in requests if request.step is not None]
            known = await read_answers(connection, fleet.fleet_id, keys) if keys else {}
            changes = FleetChanges(fleet)
            # First: what is due may be asked for again.
            due = lent.of(fleet)
            ended = changes.finish_due(due, fleet.now, by_itself=True)
            answers = [_begun(changes, request, known) for request in requests]
            newest_error = await self._commit(connection, changes, ended)
            if newest_error is None:
                return None
            lent.are_done(due)
        self._tell(changes, answers, [numbered(each, newest_error) for each in ended])
        return answers

    async def _load(
        self, connection: Connection, name: str, requests: Sequence[_Request], lent: Lent
    ) -> FleetSnapshot:
        """Read a fleet, and the devices that requests and what is due are about."""
        device_ids = {device_id for request in requests for device_id in request.device_ids}
        device_ids.update(due.position for due in lent.due)
        fleet = await load_fleet(self._database, connection, name, [*device_ids])
        lent.due = [due for due in lent.due if due.position in fleet.devices]
        return fleet

    def _tell(
        self,
        changes: SnapshotChanges,
        answers: Sequence[list[SyncResult] | Exception],
        ended: Sequence[FinishedSync],
    ) -> None:
        """Tell this process's observer of attempts that began and finished."""
        fleet, observer = changes.fleet, self._holder.observer
        for answer in answers:
            if not isinstance(answer, Exception):
                observer.began(fleet.name, answer)
        if ended:
            observer.finished(fleet.name, fleet.fleet_id, ended)
        wait = due_in(changes)
        if wait is not None:
            observer.due_in(wait)

    async def _commit(
        self, connection: Connection, changes: SnapshotChanges, ended: Sequence[FinishedSync]
    ) -> int | None:
        """Make changes true; return the id of the newest error log before them.

        None if what they were computed from no longer holds.
        """
        begun = [device for device in changes.devices.values() if device.is_pending]
        changed = [*all_of(ended).changed, *begun]
        more = None
        if changes.remembered is not None:
            more = partial(remember_answers, changes=changes, max_keys=self._max_keys)
        elif not changes.counts:
            return 0
        return await self._commits.apply(connection, changes, changed=changed, more=more)


def _begun(
    changes: SnapshotChanges, request: _Request, known: Mapping[bytes, RememberedAnswer]
) -> list[SyncResult] | Exception:
    """Return what becomes of a request."""
    fleet, step = changes.fleet, request.step
    if request.generation not in (None, fleet.fleet_id):
        return FleetReplaced()
    if step is None:
        return changes.begin(request.device_ids, fleet.now)
    answer = known.get(step.request.key)
    try:
        return changes.begin_step(request.device_ids, fleet.now, step, answer, fleet.real_time)
    except RequestRemembered as refused:
        return refused


def _next_requests(queue: list[_Request]) -> list[_Request]:
    """Take the next requests out of a queue; those that nobody waits for any more are left out."""
    requests: list[_Request] = []
    devices = 0
    while queue and (not requests or devices + len(queue[0].device_ids) <= _MOST_DEVICES):
        request = queue.pop(0)
        if not request.answer.done():
            requests.append(request)
            devices += len(request.device_ids)
    return requests


def _reply_to(request: _Request, answer: list[SyncResult] | Exception) -> None:
    if request.answer.done():
        return
    if isinstance(answer, Exception):
        request.answer.set_exception(answer)
    else:
        request.answer.set_result(answer)
