"""The embedded store: the memory store, with every batch in a journal before it is true."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from pisync.clocks import MachineClocks
from pisync.model.fleet import DEFAULT_FLEET, FirstData
from pisync.model.profile import Profile
from pisync.stores.base import (
    CannotOpen,
    StoreError,
    StoreObserver,
    StoreUnavailable,
)
from pisync.stores.embedded.sqlite_file import SqliteFile
from pisync.stores.embedded.store import MemoryStore
from pisync.stores.embedded.transaction import (
    Mutation,
    Transaction,
)
from pisync.telemetry.logs import get_logger

_log = get_logger()
_Result = TypeVar("_Result")
_Waiting = tuple[Mutation[Any], asyncio.Future[Any]]


class SqliteStore(MemoryStore):
    """A `Store` in one process and one file.

    Reads are the memory store's. Jobs that come while a batch is being written make up the next
    one: however many they are, they share its one wait for the disk (group commit).
    """

    def __init__(
        self,
        path: Path,
        first: FirstData,
        profile: Profile,
        time: MachineClocks,
        *,
        max_error_logs: int = 100_000,
    ) -> None:
        super().__init__(first, profile, time, max_error_logs=max_error_logs)
        self._path = path
        self._jobs: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._failed = False
        # The journal's own thread: the disk must not hold up the event loop.
        self._thread = ThreadPoolExecutor(1, "journal")

    async def open(self, observer: StoreObserver) -> None:
        self._observer = observer
        self._journal = await self._in_thread(self._open_journal)
        try:
            await self._in_thread(self._load)
        except Exception as exc:
            await self._in_thread(self._journal.close)
            raise CannotOpen(f"{self._path}: what is in it can't be read: {exc!r}") from exc
        self._writer = asyncio.create_task(self._write_batches())
        if DEFAULT_FLEET not in self._fleets:
            try:
                await self.put_fleet(DEFAULT_FLEET, self._first, self._profile)
            except StoreUnavailable as exc:
                await self.close()
                raise CannotOpen(f"{self._path}: {exc.__cause__}") from exc

    def _open_journal(self) -> SqliteFile:
        return SqliteFile(self._path, self._time, self._most_error_logs)

    def _load(self) -> None:
        self._fleets = {fleet.name: fleet for fleet in self._journal.fleets()}
        self._waiting = set(self._fleets.values())
        newest = max((fleet.generation for fleet in self._waiting), default=0)
        self._generations = count(newest + 1)
        for restriction in self._journal.revocations():
            self._accounts.restrict(restriction)
        for account in self._journal.accounts():
            restriction = self._accounts.revocation(account.key)
            self._accounts.add_account(account.with_revocation(restriction))
        for key, (failures, left) in self._journal.guesses().items():
            self._accounts.restore(key, failures, left)

    async def close(self) -> None:
        while self._jobs:
            await self._write(lambda _batch: None)
        self._writer.cancel()
        await asyncio.wait([self._writer])
        await self._in_thread(self._journal.close)
        self._thread.shutdown()

    async def ping(self) -> None:
        if self._failed:
            # Only writing tells whether there is room again.
            await self._write(self._write_what_is_so)

    def _write_what_is_so(self, batch: Transaction) -> None:
        work = batch.work(batch.fleet(DEFAULT_FLEET))
        work.clock = work.clock.with_speed(work.clock.speed, self._time.monotonic())

    async def record_login(self, keys: Sequence[bytes], *, failed: bool) -> None:
        await super().record_login(keys, failed=failed)
        if failed:
            await self._write(lambda batch: batch.guesses.update(self._accounts.failures(keys)))

    async def _write(self, job: Mutation[_Result]) -> _Result:
        done: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, done))
        self._arrived.set()
        return await done

    async def _write_batches(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            jobs, self._jobs = self._jobs, []
            await self._write_batch(jobs)

    async def _write_batch(self, jobs: Sequence[_Waiting]) -> None:
        batch = Transaction(self._fleets)
        results = []
        try:
            for job, done in jobs:
                try:
                    results.append((done, job(batch)))
                except StoreError as refused:
                    _fail([done], refused)
            if batch:
                await self._in_thread(partial(self._journal.write, batch))
                self._failed = False
        except Exception as exc:  # noqa: BLE001 - whatever it was, every caller must hear of it
            batch.give_up()
            _fail([done for _, done in jobs], exc)
            if isinstance(exc, StoreUnavailable):
                self._failed = True
                _log.error("journal can't be written", reason=str(exc.__cause__))
            return
        batch.apply(self._fleets)
        for done, result in results:
            if not done.done():
                done.set_result(result)

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _fail(waiting: Sequence[asyncio.Future[Any]], exc: Exception) -> None:
    for done in waiting:
        if not done.done():
            done.set_exception(exc)
