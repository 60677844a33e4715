"""What only the embedded store has: a file, and transactiones that may fail to get into it."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from pisync.model.account import (
    Account,
    TokenRevocation,
)
from pisync.model.fleet import Generated
from pisync.model.outcome import SUCCEEDED
from pisync.model.sync import SyncDecision
from pisync.model.timestamp import SECOND
from pisync.stores.changes import STEP
from pisync.stores.embedded.bounds.budgets import FleetBudgets
from pisync.stores.embedded.sqlite.file import SqliteFile
from pisync.stores.embedded.sqlite.group_commit import GroupCommitWriter
from pisync.stores.embedded.sqlite.opening import APPLICATION_ID
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.errors import CannotOpen, StoreUnavailable
from pisync.stores.schema import migrations
from tests.conftest import ManualTime
from tests.support.stores.harness import SqliteHarness
from tests.support.stores.recording_observer import (
    RecordingObserver,
    Replaced,
)
from tests.support.stores.short import (
    PROFILE,
    TWENTY,
    F,
    devices,
    finish_all_due,
    now,
    planned,
    start,
    verdicts,
)


@pytest.fixture
async def home(tmp_path: Path) -> SqliteHarness:
    home = SqliteHarness(tmp_path)
    await home.open()
    return home


def new_store(home: SqliteHarness) -> EmbeddedStore:
    store = home.store(TWENTY, PROFILE, 1000)
    assert isinstance(store, EmbeddedStore)
    return store


@pytest.fixture
async def store(home: SqliteHarness, heard: RecordingObserver) -> AsyncIterator[EmbeddedStore]:
    store = new_store(home)
    await store.open(heard)
    heard.forget()
    yield store
    await store.close()


Full = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Full:
    """Let there be no room for a transaction, for a while."""

    def write(_: SqliteFile, __: Transaction) -> None:
        raise StoreUnavailable from sqlite3.OperationalError("database or disk is full")

    @contextmanager
    def full() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteFile, "write", write)
            yield

    return full


class TestFailedTransaction:
    async def test_leaves_what_a_settle_took_to_be_finished_in_its_time(
        self, store: EmbeddedStore, home: SqliteHarness, heard: RecordingObserver, full_disk: Full
    ) -> None:
        await planned(store, {1: 5, 2: 6})
        heard.due.clear()

        async def finish_due_twice() -> None:
            # Settling takes a step, too, before it finishes anything.
            assert await store.finisher.finish_due(256) == 0
            await store.finisher.finish_due(256)

        with full_disk():
            # One transaction: the second finds nothing due, and must not believe it.
            answers = await asyncio.gather(
                store.finisher.settle(F), finish_due_twice(), return_exceptions=True
            )
        assert [type(each) for each in answers] == [StoreUnavailable] * 2
        assert heard.due, "nobody would look at it again"
        home.time.pass_seconds(6)
        assert await store.finisher.next_due() == 0
        assert await finish_all_due(store) == 2

    async def test_in_the_middle_of_an_advance_leaves_what_the_answer_says(
        self, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        devices = 2 * STEP
        await store.fleets.put("lab", Generated(devices), PROFILE)
        present = (await store.finisher.set_clock("lab", 0)).now
        await planned(
            store, dict(zip(range(1, devices + 1), range(1, devices + 1), strict=True)), fleet="lab"
        )
        write, writes = SqliteFile.write, 0

        def fills_up(self: SqliteFile, transaction: Transaction) -> None:
            nonlocal writes
            writes += 1
            if writes > 1:
                raise StoreUnavailable from sqlite3.OperationalError("database or disk is full")
            write(self, transaction)

        with monkeypatch.context() as patch:
            patch.setattr(SqliteFile, "write", fills_up)
            moved = await store.finisher.advance("lab", 2 * devices * SECOND)
            assert moved == (present + STEP * SECOND, STEP)
            with pytest.raises(StoreUnavailable):
                await store.finisher.advance("lab", 2 * devices * SECOND)
        assert await now(store, "lab") == moved.now
        assert (await store.queries.stats("lab")).pending == devices - STEP
        moved = await store.finisher.advance("lab", 2 * devices * SECOND)
        assert moved.finished == devices - STEP

    async def test_is_tried_again_by_a_ping_that_changes_nothing(
        self, store: EmbeddedStore, home: SqliteHarness, full_disk: Full
    ) -> None:
        with full_disk():
            with pytest.raises(StoreUnavailable):
                await store.starter.begin(F, [1])
            with pytest.raises(StoreUnavailable):
                await store.ping()
        # Who stops the clock at the same time has stopped it.
        await asyncio.gather(store.finisher.set_clock(F, 0), store.ping())
        before = await now(store)
        home.time.pass_seconds(5)
        assert await now(store) == before


class TestWriting:
    def test_goes_on_after_a_transaction_that_no_file_can_hold(self, tmp_path: Path) -> None:
        file = SqliteFile(tmp_path / "pisync.db", ManualTime(), FleetBudgets(1))
        for tokens_since in (2**63, 5):
            transaction = Transaction({})
            transaction.revocations["alice"] = TokenRevocation("alice", tokens_since=tokens_since)
            if tokens_since > 5:
                with pytest.raises(OverflowError):
                    file.write(transaction)
            else:
                file.write(transaction)
        assert [each.tokens_since for each in file.contents().revocations] == [5]
        file.close()

    def test_is_not_there_for_a_transaction_that_it_can_not_even_roll_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Failing(sqlite3.Connection):
            """On a disk that reads and writes nothing, for a while."""

            refused: ClassVar[Sequence[str]] = ()

            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql in self.refused:
                    raise sqlite3.OperationalError("disk I/O error")
                return super().execute(sql, *args)

        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Failing))
        file = SqliteFile(tmp_path / "pisync.db", ManualTime(), FleetBudgets(1))
        transaction = Transaction({})
        transaction.revocations["alice"] = TokenRevocation("alice", tokens_since=5)
        monkeypatch.setattr(Failing, "refused", ("COMMIT", "ROLLBACK"))
        with pytest.raises(StoreUnavailable):
            file.write(transaction)
        monkeypatch.setattr(Failing, "refused", ())
        with pytest.raises(StoreUnavailable):
            file.write(transaction)
        assert list(file.contents().revocations) == []
        file.write(transaction)
        assert [each.key for each in file.contents().revocations] == ["alice"]
        file.close()

    async def test_waits_for_the_disk_once_for_all_who_come_meanwhile(
        self, home: SqliteHarness, heard: RecordingObserver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commits = []

        class Counting(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    # 2: it waits until the disk has it, at every commit.
                    ((synchronous,),) = super().execute("PRAGMA synchronous")
                    ((mode,),) = super().execute("PRAGMA journal_mode")
                    commits.append((synchronous, mode))
                return super().execute(sql, *args)

        monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Counting))
        store = new_store(home)
        await store.open(heard)
        commits.clear()
        await asyncio.gather(*(store.starter.begin(F, [device_id]) for device_id in range(1, 21)))
        assert commits == [(2, "wal")]
        await store.close()


class TestSchema:
    async def test_of_an_older_version_comes_up_to_date_with_all_that_is_in_it(
        self, home: SqliteHarness, heard: RecordingObserver
    ) -> None:
        store = new_store(home)
        await store.open(heard)
        await store.accounts.add(Account("Alice", b"hash", ("devices",)))
        pending = await start(store, 1, 2)
        await store.close()
        engine = create_engine(f"sqlite:///{home.path}", poolclass=NullPool)
        with engine.begin() as connection:
            migrations.downgrade(connection, "0001")
        store = new_store(home)
        await store.open(heard)
        assert [await store.queries.device(F, 1), await store.queries.device(F, 2)] == pending
        assert await store.accounts.find("alice") is not None
        await store.accounts.delete("alice", 5)
        await store.close()


class TestReplacedFleet:
    async def test_is_gone_at_once_and_deleted_some_rows_at_a_time(
        self, store: EmbeddedStore, home: SqliteHarness
    ) -> None:
        await store.fleets.put("lab", Generated(12_000), PROFILE)
        await store.starter.begin("lab", range(1, 12_001))
        await store.fleets.reset("lab")
        with closing(sqlite3.connect(home.path)) as file:
            (left,) = file.execute("SELECT count(*) FROM devices").fetchone()
            assert left > 0, "all at once"
            await until_empty(file)
        assert await devices(store, "lab")

    async def test_is_deleted_after_a_crash_and_its_number_is_not_used_again(
        self, home: SqliteHarness, heard: RecordingObserver
    ) -> None:
        with closing(sqlite3.connect(home.path)) as file, file:
            file.execute("INSERT INTO devices VALUES (9, 1, 0, 200, NULL, 0, 1, NULL, NULL, NULL)")
        store = new_store(home)
        await store.open(heard)
        assert (await store.queries.fleet(F)).generation == 10
        with closing(sqlite3.connect(home.path)) as file:
            await until_empty(file)
        assert (await store.queries.device(F, 1)).attempt == 0
        await store.close()


async def until_empty(file: sqlite3.Connection) -> None:
    async with asyncio.timeout(20):
        while file.execute("SELECT 1 FROM devices LIMIT 1").fetchone():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class TestOneTransaction:
    """Mutations that share a transaction see what those before them did."""

    async def test_finishes_nothing_of_a_fleet_that_it_ended(
        self, store: EmbeddedStore, home: SqliteHarness, heard: RecordingObserver
    ) -> None:
        await store.fleets.put("other", Generated(3), PROFILE)
        await planned(store, {1: 5}, SUCCEEDED, fleet="other")
        home.time.pass_seconds(6)
        heard.forget()
        _, finished = await asyncio.gather(
            store.fleets.delete("other"), store.finisher.finish_due(256)
        )
        assert finished == 0
        assert heard.events["other"] == [Replaced()]
        assert heard.finishes == {}

    async def test_ends_what_began_in_a_fleet_that_it_made_and_replaced(
        self,
        store: EmbeddedStore,
        home: SqliteHarness,
        heard: RecordingObserver,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def at_once(call: Callable[..., object], *args: object) -> object:
            return call(*args)

        monkeypatch.setattr(asyncio, "to_thread", at_once)  # else the fleets come too late for it
        _, begun, _ = await asyncio.gather(
            store.fleets.put("other", Generated(3), PROFILE),
            store.starter.begin("other", [1]),
            store.fleets.put("other", Generated(3), PROFILE),
        )
        assert verdicts(begun) == [SyncDecision.STARTED]
        home.time.pass_seconds(11)
        assert await finish_all_due(store) == 0
        assert heard.finishes == {}
        assert {each.attempt for each in await devices(store, "other")} == {0}


class TestFile:
    @pytest.mark.parametrize("what", ["removed", "replaced"])
    async def test_that_is_not_there_any_more_takes_no_promises(
        self, store: EmbeddedStore, home: SqliteHarness, what: str
    ) -> None:
        away = home.path.with_name("away.db")
        home.path.rename(away)
        if what == "replaced":
            home.path.write_bytes(away.read_bytes())
        with pytest.raises(StoreUnavailable):
            await store.starter.begin(F, [1])
        with pytest.raises(StoreUnavailable):
            await store.ping()
        assert (await store.queries.stats(F)).pending == 0
        away.rename(home.path)
        await store.ping()
        await start(store, 1)

    @pytest.mark.parametrize("table", ["tallies", "restrictions"])
    def test_that_was_killed_over_its_first_start_opens_at_the_next(
        self, tmp_path: Path, table: str
    ) -> None:
        path = tmp_path / "pisync.db"
        killed = subprocess.run(
            [sys.executable, "-c", _KILLED_BEFORE_A_TABLE, table, str(path)], check=False
        )
        assert killed.returncode == -signal.SIGKILL
        assert path.exists()
        SqliteFile(path, ManualTime(), FleetBudgets(1)).close()

    @pytest.mark.parametrize(
        ("sql", "reason"),
        [
            (None, "file is not a database"),
            (
                "CREATE TABLE fleets (x)",
                "this database belongs to another program (its tables: fleets). Give PiSync one of"
                " its own.",
            ),
            (
                "PRAGMA application_id = 7",
                "this file belongs to another program. Give PiSync one of its own.",
            ),
        ],
        ids=["no_database", "with_tables", "with_an_id"],
    )
    async def test_that_is_none_of_ours_is_refused_in_a_line_and_left_as_it_is(
        self, home: SqliteHarness, heard: RecordingObserver, sql: str | None, reason: str
    ) -> None:
        if sql is None:
            home.path.write_bytes(b"hello" * 1000)
        else:
            home.path.unlink()
            other = sqlite3.connect(home.path)
            other.execute("CREATE TABLE orders (x)" if sql.startswith("PRAGMA") else sql)
            other.execute(sql if sql.startswith("PRAGMA") else "SELECT 1")
            other.close()
        before = home.path.read_bytes()
        with pytest.raises(CannotOpen) as caught:
            await new_store(home).open(heard)
        assert str(caught.value) == f"{home.path}: {reason}"
        assert home.path.read_bytes() == before
        assert [path.name for path in home.directory.iterdir()] == ["pisync.db"]

    async def test_of_a_newer_version_is_refused_and_left_as_it_is(
        self, home: SqliteHarness, heard: RecordingObserver
    ) -> None:
        with closing(sqlite3.connect(home.path)) as file, file:
            file.execute("UPDATE alembic_version SET version_num = '0099'")
        before = home.path.read_bytes()
        with pytest.raises(CannotOpen, match="a newer PiSync: its schema is at 0099"):
            await new_store(home).open(heard)
        assert home.path.read_bytes() == before
        assert [path.name for path in home.directory.iterdir()] == ["pisync.db"]

    async def test_of_the_first_version_gets_its_mark(
        self, home: SqliteHarness, heard: RecordingObserver
    ) -> None:
        with closing(sqlite3.connect(home.path)) as file:
            file.execute("PRAGMA application_id = 0")
        store = new_store(home)
        await store.open(heard)
        await store.close()
        with closing(sqlite3.connect(home.path)) as file:
            assert file.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)

    @pytest.mark.parametrize("umask", [0, 0o777])
    @pytest.mark.parametrize("is_there", [False, True])
    async def test_can_be_read_by_its_owner_alone(
        self, home: SqliteHarness, heard: RecordingObserver, umask: int, is_there: bool
    ) -> None:
        home.path.chmod(0o644)
        if not is_there:
            home.path.unlink()
        before = os.umask(umask)
        try:
            store = new_store(home)
            await store.open(heard)
            found = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in home.directory.iterdir()
            }
        finally:
            os.umask(before)
        assert found == dict.fromkeys(
            ("pisync.db", "pisync.db-wal", "pisync.db-shm", "pisync.db.lock"), 0o600
        )
        await store.close()

    @pytest.mark.parametrize("name", ["a?mode=ro", "%41", "a b#c", "file:x"])
    async def test_may_have_any_name(
        self, tmp_path: Path, heard: RecordingObserver, name: str
    ) -> None:
        for _ in range(2):
            writer = GroupCommitWriter(tmp_path / name)
            store = EmbeddedStore(TWENTY, PROFILE, ManualTime(), writer=writer)
            await store.open(heard)
            await store.close()
        assert set(os.listdir(tmp_path)) == {name, f"{name}.lock"}  # noqa: PTH208 - one line

    @pytest.mark.parametrize("suffix", ["-wal", "-shm", ".lock"])
    async def test_whose_log_or_lock_was_removed_takes_no_promises(
        self,
        store: EmbeddedStore,
        home: SqliteHarness,
        suffix: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await start(store, 1)
        home.path.with_name(f"pisync.db{suffix}").unlink()
        for _ in range(100):
            with pytest.raises(StoreUnavailable):
                await store.starter.begin(F, [2])
        with pytest.raises(StoreUnavailable):
            await store.ping()
        assert (await store.queries.stats(F)).pending == 1
        assert caplog.text.count("database can't be written") == 1

    async def test_with_rows_that_make_no_sense_is_refused_and_let_go(
        self, home: SqliteHarness, heard: RecordingObserver
    ) -> None:
        store = new_store(home)
        await store.open(heard)
        await store.close()
        with closing(sqlite3.connect(home.path)) as file, file:
            file.execute("UPDATE fleets SET profile = '{'")
        for _ in range(2):  # the lock is free again
            with pytest.raises(CannotOpen, match="what is in it can't be read"):
                await new_store(home).open(heard)

    async def test_that_can_not_be_filled_at_first_is_refused(
        self, home: SqliteHarness, heard: RecordingObserver, full_disk: Full
    ) -> None:
        with full_disk():
            for _ in range(2):
                with pytest.raises(CannotOpen, match="database or disk is full"):
                    await new_store(home).open(heard)


_KILLED_BEFORE_A_TABLE = f"""
import os, sys
from pathlib import Path
from alembic import op
from pisync.stores.embedded.bounds.budgets import FleetBudgets
from pisync.stores.embedded.sqlite.file import SqliteFile
from tests.conftest import ManualTime

table, path = sys.argv[1:]
create_table = op.create_table

def create(name, *columns):
    if name == table:
        os.kill(os.getpid(), {int(signal.SIGKILL)})
    return create_table(name, *columns)

op.create_table = create
SqliteFile(Path(path), ManualTime(), FleetBudgets(1))
"""
