"""A fleet that is being made of a snapshot when the process dies."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pisync.model.snapshot import Snapshot, SnapshotPart
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet
from tests.support.stores.harness import SqliteHarness, StoreHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import PROFILE, TWENTY, F, devices, manual, start


@pytest.mark.parametrize("home", ["sqlite"], indirect=True)
async def test_is_not_there_when_the_next_one_starts(
    store: Store, home: StoreHarness, tmp_path: Path
) -> None:
    await manual(store)
    await start(store, 1, 2)
    left = tmp_path / "left"

    async def parts(snapshot: Snapshot) -> AsyncIterator[SnapshotPart]:
        async for part in snapshot.parts:
            yield part
        # All of it is in the file, but for the fleet's own row.
        shutil.copytree(home.directory, left, ignore=shutil.ignore_patterns("left", "*.lock"))

    async with store.snapshots.take(F) as snapshot:
        await store.snapshots.restore("copy", Snapshot(snapshot.head, parts(snapshot)))
    assert len(await devices(store, "copy")) == 20
    after = SqliteHarness(left).store(TWENTY, PROFILE, 1000)
    await after.open(RecordingObserver())
    try:
        with pytest.raises(NoSuchFleet):
            await after.queries.fleet("copy")
        assert await devices(after, F) == await devices(store, F)
    finally:
        await after.close()
