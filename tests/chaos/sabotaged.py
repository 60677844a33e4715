"""`pisync`, with one of its protections taken away: what the oracle is to see.

`python -m tests.chaos.sabotaged NAME serve …`
"""

import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pisync.model.sync import (
    SyncDecision,
    SyncResult,
)
from pisync.stores.changes import Due, FleetChanges, Progress
from pisync.stores.embedded.sqlite.file import SqliteFile
from pisync.stores.embedded.sqlite.group_commit import GroupCommitWriter
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres import store
from pisync.stores.postgres.begin_queue import BeginQueue
from pisync.stores.postgres.commit import Commits, SnapshotChanges
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import FAILURES, SESSION, Connection, connect
from pisync.stores.postgres.connection.migrate import migrate as get_ready
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finishing import due_syncs
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.snapshot import (
    FleetSnapshot,
    load_due,
)
from pisync.stores.schema import migrations


def replace(owner: Any, name: str, by: object) -> None:
    """Put something else into a class's or a module's place for a name."""
    setattr(owner, name, by)


def answers_before_it_has_written() -> None:
    """SQLite: what is asked for is true, and answered, a moment before it is in the file."""

    async def commit(self: Any, group: Sequence[tuple[Any, asyncio.Future[Any]]]) -> None:
        transaction = Transaction(self._registry.fleets)
        results = [(future, mutation(transaction)) for mutation, future in group]
        transaction.commit(self._registry.fleets)
        for future, result in results:
            if not future.done():
                future.set_result(result)
        await asyncio.sleep(0.1)
        if transaction:
            await self._in_thread(partial(self._file.write, transaction))

    replace(GroupCommitWriter, "_commit", commit)


def takes_no_notice_of_a_full_disk() -> None:
    """SQLite: a transaction that could not be written is taken for one that was."""
    write = SqliteFile.write

    def hopeful(self: SqliteFile, transaction: Transaction) -> None:
        try:
            write(self, transaction)
        except StoreUnavailable:
            return

    replace(SqliteFile, "write", hopeful)


def _begins(work: SnapshotChanges) -> bool:
    """Whether somebody waits for these changes: attempts begin with them."""
    return any(device.is_pending for device in work.devices.values())


def answers_before_it_has_committed() -> None:
    """PostgreSQL: a sync is answered a moment before it is written."""
    databases: list[Database] = []
    under_way = set()
    open_database = Database.open

    async def remember(self: Database) -> None:
        databases.append(self)
        await open_database(self)

    apply = Commits.apply

    async def hasty(
        self: Commits, connection: Connection, work: SnapshotChanges, **told: Any
    ) -> int | None:
        if not _begins(work):
            return await apply(self, connection, work, **told)

        async def write() -> None:
            await asyncio.sleep(0.3)
            await databases[0].call(lambda connection: apply(self, connection, work, **told))

        under_way.add(asyncio.create_task(write()))
        return 0

    replace(Database, "open", remember)
    replace(Commits, "apply", hasty)


def takes_no_answer_for_yes() -> None:
    """PostgreSQL: a connection that is lost in the middle of a write is not worth a thought."""
    apply = Commits.apply

    async def hopeful(
        self: Commits, connection: Connection, work: SnapshotChanges, **told: Any
    ) -> int | None:
        try:
            return await apply(self, connection, work, **told)
        except FAILURES:
            if not _begins(work):
                raise
            return 0

    replace(Commits, "apply", hopeful)


def finishes_only_what_it_began() -> None:
    """PostgreSQL: each replica leaves to the others what is theirs."""
    own: set[tuple[int, int]] = set()
    begin = BeginQueue.begin

    async def remember(
        self: BeginQueue, fleet: str, device_ids: Iterable[int], *, generation: int | None = None
    ) -> Sequence[SyncResult]:
        begun = await begin(self, fleet, device_ids, generation=generation)
        own.update(
            (device.device_id, device.attempt)
            for verdict, device in begun
            if device is not None and verdict is SyncDecision.STARTED
        )
        return begun

    async def load(
        connection: Connection, fleet: FleetSnapshot, until: int, limit: int
    ) -> list[Due]:
        due = await load_due(connection, fleet, until, limit)
        return [each for each in due if (each[1], fleet.devices[each[1]].attempt) in own]

    replace(BeginQueue, "begin", remember)
    replace(due_syncs, "load_due", load)


def does_not_look_again() -> None:
    """PostgreSQL: what was read a moment ago is taken for what is so now."""
    text = (Path(migrations.__file__).parent / "versions/0015_commit_work.sql").read_text()
    for check in (
        "AND devices.attempt = change.attempt_before",
        "AND devices.sync_status_code = change.code_before",
        "AND same.sync_status_code = change.code_before",
    ):
        assert check in text
        text = text.replace(check, "")

    async def careless(address: Address) -> None:
        await get_ready(address)
        connection = await connect(address)
        await connection.execute(text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
        await connection.close()

    replace(store, "migrate", careless)
    # All replicas finish the same syncs, as they do when one that began them is late.
    replace(store, "OwnSyncs", lambda _: OwnSyncs(0))


def goes_by_its_own_clock() -> None:
    """PostgreSQL: the time is what this machine takes it for."""
    replace(Database, "real_time", lambda *_: time.time_ns() // 1000)


def does_not_insist_on_the_disk() -> None:
    """PostgreSQL: a commit is answered when the server says so, whatever it means by that."""
    del SESSION["synchronous_commit"]


def begins_own_attempts_when_it_looks() -> None:
    """All stores: what a device does by itself begins when somebody looks, not at its moment."""
    run_one = FleetChanges._run_one  # noqa: SLF001 - what is taken away is inside

    def run_late(
        self: FleetChanges[Any], due: Due, now: int, progress: Progress, *, by_itself: bool
    ) -> Due | None:
        if due.is_own and self.moments.get(due.position, due.moment) == due.moment:
            self.moments[due.position] = now
            due = due._replace(moment=now)
        return run_one(self, due, now, progress, by_itself=by_itself)

    replace(FleetChanges, "_run_one", run_late)


SABOTAGE = {
    each.__name__: each
    for each in (
        answers_before_it_has_written,
        takes_no_notice_of_a_full_disk,
        answers_before_it_has_committed,
        takes_no_answer_for_yes,
        finishes_only_what_it_began,
        does_not_look_again,
        goes_by_its_own_clock,
        does_not_insist_on_the_disk,
        begins_own_attempts_when_it_looks,
    )
}

if __name__ == "__main__":
    from pisync.cli.main import main

    SABOTAGE[sys.argv.pop(1)]()
    main(prog_name="pisync")
