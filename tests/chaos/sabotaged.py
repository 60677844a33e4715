"""`pisync`, with one of its protections taken away: what the oracle is to see.

`python -m tests.chaos.sabotaged NAME serve …`
"""

import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from pisync.stores.base import StoreUnavailable
from pisync.stores.batch import Batch
from pisync.stores.journal import Journal
from pisync.stores.sqlite import SqliteStore


def answers_before_it_has_written() -> None:
    """SQLite: what is asked for is true, and answered, a moment before it is in the journal."""

    async def write_batch(self: Any, jobs: Sequence[tuple[Any, asyncio.Future[Any]]]) -> None:
        batch = Batch(self._fleets)
        results = [(done, job(batch)) for job, done in jobs]
        batch.apply(self._fleets)
        for done, result in results:
            if not done.done():
                done.set_result(result)
        await asyncio.sleep(0.1)
        if batch:
            await self._in_thread(partial(self._journal.write, batch))

    SqliteStore._write_batch = write_batch  # type: ignore[method-assign]  # noqa: SLF001


def takes_no_notice_of_a_full_disk() -> None:
    """SQLite: a batch that could not be written is taken for one that was."""
    write = Journal.write

    def hopeful(self: Journal, batch: Batch) -> None:
        try:
            write(self, batch)
        except StoreUnavailable:
            return

    Journal.write = hopeful  # type: ignore[method-assign]


SABOTAGE = {
    each.__name__: each for each in (answers_before_it_has_written, takes_no_notice_of_a_full_disk)
}

if __name__ == "__main__":
    from pisync.cli import main

    SABOTAGE[sys.argv.pop(1)]()
    main(prog_name="pisync")
