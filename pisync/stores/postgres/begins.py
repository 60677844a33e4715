"""Attempts begin: the calls that come while one commit is under way share the next one."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from pisync.stores.base import Begun, FleetReplaced, Observer, StoreUnavailable
from pisync.stores.postgres.applying import apply, due_in
from pisync.stores.postgres.database import PATIENCE, Connection, Database
from pisync.stores.postgres.loaded import load_fleet
from pisync.stores.work import Work

_MOST_DEVICES = 1024
"""How many devices one commit is about, unless a single call is about more."""
_CALLERS_PATIENCE = 2 * PATIENCE
"""Seconds that a call may take: it may have to wait for a commit before its own."""


class _Wish(NamedTuple):
    device_ids: Sequence[int]
    generation: int | None
    answer: asyncio.Future[list[Begun]]


class Begins:
    """One line of wishes for each fleet. `begin` is what pisync.stores.base says."""

    def __init__(self, database: Database, observer: Observer, most_error_logs: int) -> None:
        self._database = database
        self._observer = observer
        self._most_error_logs = most_error_logs
        self._lines: dict[str, list[_Wish]] = {}
        self._servants: set[asyncio.Task[None]] = set()

    async def begin(
        self, fleet: str, device_ids: Sequence[int], generation: int | None
    ) -> list[Begun]:
        """Begin an attempt of each device, or join the one under way."""
        wish = _Wish(device_ids, generation, asyncio.get_running_loop().create_future())
        if fleet in self._lines:
            self._lines[fleet].append(wish)
        else:
            self._lines[fleet] = [wish]
            servant = asyncio.create_task(self._serve(fleet))
            self._servants.add(servant)
            servant.add_done_callback(self._servants.discard)
        try:
            async with asyncio.timeout(_CALLERS_PATIENCE):
                return await wish.answer
        except TimeoutError:
            raise StoreUnavailable from None

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._servants:
            await asyncio.wait(self._servants)

    async def _serve(self, fleet: str) -> None:
        line = self._lines[fleet]
        while line:
            wishes = _next_wishes(line)
            try:
                answers = await self._database.persist(partial(self._begin, fleet, wishes))
            except Exception as exc:  # noqa: BLE001 - whatever it was, every caller must hear of it
                answers = [exc] * len(wishes)
            for wish, answer in zip(wishes, answers, strict=True):
                _give(wish, answer)
        del self._lines[fleet]

    async def _begin(
        self, name: str, wishes: Sequence[_Wish], connection: Connection
    ) -> Sequence[list[Begun] | Exception] | None:
        device_ids = {device_id for wish in wishes for device_id in wish.device_ids}
        fleet = await load_fleet(self._database, connection, name, [*device_ids])
        work = Work(fleet)
        answers: list[list[Begun] | Exception] = [
            FleetReplaced()
            if wish.generation not in (None, fleet.fleet_id)
            else work.begin(wish.device_ids, fleet.now)
            for wish in wishes
        ]
        if work.counts and await apply(connection, work, self._most_error_logs) is None:
            return None
        for answer in answers:
            if not isinstance(answer, Exception):
                self._observer.began(name, answer)
        wait = due_in(work)
        if wait is not None:
            self._observer.due_in(wait)
        return answers


def _next_wishes(line: list[_Wish]) -> list[_Wish]:
    """Take the next wishes out of a line; those that nobody waits for any more are left out."""
    wishes: list[_Wish] = []
    devices = 0
    while line and (not wishes or devices + len(line[0].device_ids) <= _MOST_DEVICES):
        wish = line.pop(0)
        if not wish.answer.done():
            wishes.append(wish)
            devices += len(wish.device_ids)
    return wishes


def _give(wish: _Wish, answer: list[Begun] | Exception) -> None:
    if wish.answer.done():
        return
    if isinstance(answer, Exception):
        wish.answer.set_exception(answer)
    else:
        wish.answer.set_result(answer)
