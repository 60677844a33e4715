"""Jobs that share a batch of the embedded store: one sees what those before it have done."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from pisync.stores.embedded.sqlite import SqliteStore
from tests.conftest import ManualTime
from tests.support.stores.recording_observer import (
    RecordingObserver,
    Replaced,
)
from tests.support.stores.short import (
    FAILING,
    TWENTY,
)

_Result = TypeVar("_Result")


class GatedStore(SqliteStore):
    """An embedded store whose journal writes only while a gate is open."""

    def __init__(self, path: Path, time: ManualTime) -> None:
        super().__init__(path, TWENTY, FAILING, time)
        self.gate = asyncio.Event()
        self.gate.set()

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        await self.gate.wait()
        return await super()._in_thread(call)

    async def in_one_batch(self, *calls: Awaitable[object]) -> None:
        """Make calls, in this order, that all are made true by the same batch."""
        self.gate.clear()
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(self.begin("default", [1]))]
        for waiting, call in enumerate(calls, start=1):
            tasks.append(asyncio.ensure_future(call))
            while len(self._jobs) < waiting:  # noqa: ASYNC110 - fleets are made in threads
                await asyncio.sleep(0.001)
        self.gate.set()
        await asyncio.gather(*tasks)


async def test_nothing_finishes_in_a_fleet_that_its_own_batch_replaced_or_deleted(
    tmp_path: Path,
) -> None:
    path, time, heard = tmp_path / "pisync.db", ManualTime(), RecordingObserver()
    store = GatedStore(path, time)
    await store.open(heard)
    made = [store.put_fleet("lab", TWENTY, FAILING) for _ in range(3)]
    await store.in_one_batch(made[0], store.begin("lab", [1]), made[1])
    await store.in_one_batch(made[2], store.begin("lab", [2]), store.delete_fleet("lab"))
    time.pass_seconds(60)
    assert await store.finish_due(100) == 1, "the one of the default fleet"
    assert set(heard.events["lab"]) == {Replaced()}
    assert "lab" not in heard.finishes
    await store.close()
    with sqlite3.connect(path) as file:
        owners = {owner for (owner,) in file.execute("SELECT fleet_id FROM devices")}
        assert owners <= {fleet for (fleet,) in file.execute("SELECT fleet_id FROM fleets")}
    file.close()
