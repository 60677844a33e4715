"""The kinds of stores that the contract suite runs on, and what a test must know of each.

A new store gets a class here and a line in HOMES; the tests stay as they are.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from pisync.model.fleet import FirstData
from pisync.model.plans.profile import Profile
from pisync.model.requests.idempotency import MAX_KEYS
from pisync.stores.base import Store, StoreObserver
from pisync.stores.embedded.bounds.budgets import FleetBudgets
from pisync.stores.embedded.sqlite.file import SqliteFile
from pisync.stores.embedded.sqlite.group_commit import GroupCommitWriter
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.postgres.store import PostgresStore
from tests.conftest import ManualTime
from tests.support.stores.server import (
    ask,
    server,
)


class StoreHarness(ABC):
    """Where stores of one kind keep what they know. `directory` is empty and this home's own."""

    outlives_the_process: ClassVar[bool] = True
    examples: ClassVar[int] = 40
    """How many examples a state machine is worth here: some hundreds of calls each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    async def open(self) -> None:
        """Get ready for a first store."""

    @abstractmethod
    async def close(self) -> None:
        """Remove all that is kept."""

    @abstractmethod
    def store(
        self, first: FirstData, profile: Profile, max_error_logs: int, max_keys: int = MAX_KEYS
    ) -> Store:
        """Return a store that is not open yet; it finds what the one before it has kept."""

    @abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let so many real seconds pass, or a little more."""

    @abstractmethod
    async def skip_time(self, seconds: float) -> None:
        """Put the clocks that stores read forward, without waiting."""

    @abstractmethod
    async def wall(self) -> int:
        """Return the wall clock that fleets start from, in microseconds."""

    @abstractmethod
    async def step_wall_clock(self, seconds: float) -> None:
        """Step the wall clock, and that alone; skip the test where it can't be done."""

    @abstractmethod
    async def hear(self) -> None:
        """Wait until observers have been told all that was committed so far."""


class InProcessHarness(StoreHarness):
    """Stores that go by this process's time, which stands still unless a test moves it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.time = ManualTime()

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def pass_time(self, seconds: float) -> None:
        self.time.pass_seconds(seconds)

    async def skip_time(self, seconds: float) -> None:
        await self.pass_time(seconds)

    async def wall(self) -> int:
        return self.time.wall()

    async def step_wall_clock(self, seconds: float) -> None:
        self.time.wall_time += round(seconds * 1e6)

    async def hear(self) -> None:
        await asyncio.sleep(0)


class MemoryHarness(InProcessHarness):
    """Nowhere: each store starts empty."""

    outlives_the_process = False

    def store(
        self, first: FirstData, profile: Profile, max_error_logs: int, max_keys: int = MAX_KEYS
    ) -> Store:
        return EmbeddedStore(
            first, profile, self.time, max_error_logs=max_error_logs, max_keys=max_keys
        )


class SqliteHarness(InProcessHarness):
    """A file."""

    @property
    def path(self) -> Path:
        return self.directory / "pisync.db"

    async def open(self) -> None:
        self.path.write_bytes(_empty_database())

    def store(
        self, first: FirstData, profile: Profile, max_error_logs: int, max_keys: int = MAX_KEYS
    ) -> Store:
        return EmbeddedStore(
            first,
            profile,
            self.time,
            writer=GroupCommitWriter(self.path),
            max_error_logs=max_error_logs,
            max_keys=max_keys,
        )


@cache
def _empty_database() -> bytes:
    """Return a database that has its tables: to make them takes longer than most tests."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "empty.db"
        SqliteFile(path, ManualTime(), FleetBudgets(1)).close()
        return path.read_bytes()


class PostgresHarness(StoreHarness):
    """A database of its own, on a server that all tests of this process share."""

    examples = 12

    async def open(self) -> None:
        self.url = await server().make_database()
        self._markers = count(1)
        self._clock_error = 0
        self._heard: dict[float, asyncio.Semaphore] = {}

    async def close(self) -> None:
        await server().drop_database(self.url)

    def store(
        self, first: FirstData, profile: Profile, max_error_logs: int, max_keys: int = MAX_KEYS
    ) -> Store:
        return _MarkedStore(
            self.mark, self.url, first, profile, max_error_logs=max_error_logs, max_keys=max_keys
        )

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def skip_time(self, seconds: float) -> None:
        self._clock_error += round(seconds * 1e6)
        await ask(
            self.url,
            f"""CREATE OR REPLACE FUNCTION wall_now() RETURNS bigint LANGUAGE sql
            RETURN {self._clock_error}
                + (extract(epoch FROM clock_timestamp()) * 1000000)::bigint""",
        )

    async def wall(self) -> int:
        return int(await ask(self.url, "SELECT wall_now()"))

    async def step_wall_clock(self, seconds: float) -> None:
        await self.skip_time(seconds)
        # Replicas see to it that time goes on, each second.
        await asyncio.sleep(1.1)

    async def hear(self, stores: int = 1) -> None:
        marker = -float(next(self._markers))
        self._heard[marker] = asyncio.Semaphore(0)
        await ask(self.url, "SELECT send_notices(1000000)")
        await ask(self.url, f"SELECT tell_replicas('[0,\"due\",{marker}]')")
        async with asyncio.timeout(20):
            for _ in range(stores):
                await self._heard[marker].acquire()

    def mark(self, marker: float) -> None:
        """Hear a marker among what the store is told: all that came before it was told, too."""
        self._heard[marker].release()


class _MarkedStore(PostgresStore):
    """Keeps a home's markers from the observer, and leaves nothing that is due to others."""

    def __init__(
        self,
        mark: Callable[[float], None],
        url: str,
        first: FirstData,
        profile: Profile,
        *,
        max_error_logs: int,
        max_keys: int,
    ) -> None:
        super().__init__(
            url, first, profile, max_error_logs=max_error_logs, max_keys=max_keys, grace=0
        )
        self._mark = mark

    async def open(self, observer: StoreObserver) -> None:
        await super().open(_Marked(observer, self._mark))


class _Marked:
    def __init__(self, observer: StoreObserver, mark: Callable[[float], None]) -> None:
        self._mark = mark
        self.began = observer.began
        self.finished = observer.finished
        self.changed = observer.changed
        self.heard = observer.heard
        self.replaced = observer.replaced
        self.reads_changed = observer.reads_changed
        self.missed = observer.missed
        self._due_in = observer.due_in

    def due_in(self, seconds: float) -> None:
        if seconds < 0:
            self._mark(seconds)
        else:
            self._due_in(seconds)


HARNESSES: dict[str, type[StoreHarness]] = {
    "memory": MemoryHarness,
    "sqlite": SqliteHarness,
    "postgres": PostgresHarness,
}
DURABLE = [name for name, harness in HARNESSES.items() if harness.outlives_the_process]
