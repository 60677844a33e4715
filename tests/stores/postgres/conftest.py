"""What tests of stores that share a database have in common."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from pisync.model.plans.profile import Profile
from pisync.stores.base import Store
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import FAILING, TWENTY


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[PostgresHarness]:
    """A database."""
    home = PostgresHarness(tmp_path)
    await home.open()
    yield home
    await home.close()


@pytest.fixture
def profile() -> Profile:
    """What the fleet `default` of the replicas does."""
    return FAILING


@pytest.fixture
def observers() -> list[RecordingObserver]:
    """What each replica has told."""
    return [RecordingObserver(), RecordingObserver(), RecordingObserver()]


@pytest.fixture
async def replicas(
    home: PostgresHarness, observers: list[RecordingObserver], profile: Profile
) -> AsyncIterator[Sequence[Store]]:
    """Three stores on one database, whose fleet `default` has twenty devices."""
    stores = [home.store(TWENTY, profile, 1000) for _ in observers]
    for store, observer in zip(stores, observers, strict=True):
        await store.open(observer)
    await home.hear(len(stores))
    for observer in observers:
        observer.forget()
    yield stores
    for store in stores:
        await store.close()
