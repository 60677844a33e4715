"""Group commit: mutations that come while a transaction is being written make up the next one.

However many they are, they share its one wait for the disk.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pisync.model.fleet import DEFAULT_FLEET
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.sqlite.file import SqliteFile
from pisync.stores.embedded.transaction import Mutation, Transaction
from pisync.stores.embedded.writers import Contents
from pisync.stores.errors import CannotOpen, StoreError, StoreUnavailable
from pisync.telemetry.outage import Outage

_Result = TypeVar("_Result")


class _Waiting(NamedTuple):
    mutation: Mutation[Any]
    result: asyncio.Future[Any]


class GroupCommitWriter:
    """Writes to an SQLite file, in a thread of its own. What the methods promise: see `Writer`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._outage = Outage("database can't be written", "database can be written again")
        self._can_write = True
        """Whether the last transaction could be written."""
        # The disk must not hold up the event loop.
        self._thread = ThreadPoolExecutor(1, "sqlite")

    async def open(self, registry: FleetRegistry) -> Contents:
        self._registry = registry
        try:
            self._file = await self._in_thread(
                lambda: SqliteFile(self._path, registry.clocks, registry.budgets)
            )
        except CannotOpen:
            self._thread.shutdown()
            raise
        try:
            contents = await self._in_thread(self._file.contents)
        except Exception as exc:
            await self._in_thread(self._file.close)
            self._thread.shutdown()
            raise CannotOpen(f"{self._path}: what is in it can't be read: {exc!r}") from exc
        self._task = asyncio.create_task(self._write_groups())
        return contents

    async def close(self) -> None:
        while self._waiting:
            await self.write(lambda _: None)
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._in_thread(self._file.close)
        self._thread.shutdown()

    async def ping(self) -> None:
        if not self._can_write:
            # Only writing tells whether there is room again.
            await self.write(self._write_clock)

    def _write_clock(self, transaction: Transaction) -> None:
        """Write what is true already."""
        changes = transaction.changes_of(transaction.fleet(DEFAULT_FLEET))
        now = self._registry.clocks.monotonic()
        changes.clock = changes.clock.moved_to(changes.clock.fleet_time, now)

    async def write(self, mutation: Mutation[_Result]) -> _Result:
        result: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(mutation, result))
        self._arrived.set()
        return await result

    async def write_ahead(self, changes: FleetChanges[FleetState]) -> None:
        await self._in_thread(partial(self._file.write_ahead, changes))

    def discard(self, fleet: FleetState) -> None:
        self._file.end(fleet.generation)
        self._arrived.set()

    async def _write_groups(self) -> None:
        while True:
            if not self._file.has_ended_fleets:
                await self._arrived.wait()
            self._arrived.clear()
            group, self._waiting = self._waiting, []
            if group:
                await self._commit(group)
            if self._file.has_ended_fleets:
                await self._delete_some()

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        """Make a group of mutations true.

        A mutation that fails must not fail the others: the group is halved until it stands alone.
        """
        transaction = Transaction(self._registry.fleets)
        try:
            results = [_call(waiting.mutation, transaction) for waiting in group]
            if transaction:
                await self._in_thread(partial(self._file.write, transaction))
        except StoreUnavailable as exc:
            transaction.roll_back()
            self._failed(exc)
            _answer(group, [exc] * len(group))
        except Exception as exc:  # noqa: BLE001 - whatever it was, every caller must hear of it
            transaction.roll_back()
            if len(group) == 1:
                _answer(group, [exc])
                return
            middle = len(group) // 2
            await self._commit(group[:middle])
            await self._commit(group[middle:])
        else:
            if transaction:
                self._succeeded()
            transaction.commit(self._registry.fleets)
            _answer(group, results)

    def _failed(self, exc: StoreUnavailable) -> None:
        self._can_write = False
        self._outage.failed(str(exc.__cause__))

    def _succeeded(self) -> None:
        self._can_write = True
        self._outage.succeeded()

    async def _delete_some(self) -> None:
        try:
            await self._in_thread(self._file.delete_some)
        except StoreUnavailable as exc:
            self._failed(exc)
            # Not at once again: until a ping, or somebody's mutation, has found that it can write.
            await self._arrived.wait()

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _call(mutation: Mutation[Any], transaction: Transaction) -> Any:
    """Return a mutation's result, or why it was refused."""
    try:
        return mutation(transaction)
    except StoreError as refused:
        return refused


def _answer(group: Sequence[_Waiting], results: Sequence[Any]) -> None:
    for (_, future), result in zip(group, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
