"""Stores of every kind, open and ready."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest

from pisync.model.fleet import FirstData
from pisync.model.plans.profile import Profile
from pisync.model.requests.idempotency import MAX_KEYS
from pisync.stores.base import Store
from tests.support.stores.harness import (
    HARNESSES,
    StoreHarness,
)
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import (
    PROFILE,
    TWENTY,
)


class MakeStore(Protocol):
    async def __call__(
        self,
        first: FirstData = TWENTY,
        profile: Profile = PROFILE,
        *,
        max_error_logs: int = 1000,
        max_keys: int = MAX_KEYS,
    ) -> Store: ...


@pytest.fixture(params=HARNESSES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreHarness]:
    """The place of one kind of stores."""
    home = HARNESSES[request.param](tmp_path)
    await home.open()
    yield home
    await home.close()


@pytest.fixture
def heard() -> RecordingObserver:
    """What the stores of this test have told."""
    return RecordingObserver()


@pytest.fixture
async def make_store(home: StoreHarness, heard: RecordingObserver) -> AsyncIterator[MakeStore]:
    """Open a store with other first data; the one before it is closed."""
    opened: list[Store] = []

    async def make(
        first: FirstData = TWENTY,
        profile: Profile = PROFILE,
        *,
        max_error_logs: int = 1000,
        max_keys: int = MAX_KEYS,
    ) -> Store:
        while opened:
            await opened.pop().close()
        store = home.store(first, profile, max_error_logs, max_keys)
        await store.open(heard)
        # To fill an empty store may be a thing to tell.
        await home.hear()
        heard.forget()
        opened.append(store)
        return store

    yield make
    while opened:
        await opened.pop().close()


@pytest.fixture
async def store(make_store: MakeStore) -> Store:
    """A store whose fleet `default` has twenty devices that sync as PROFILE says."""
    return await make_store()


Reopen = Callable[[], Awaitable[Store]]


@pytest.fixture
def reopen(make_store: MakeStore) -> Reopen:
    """Close the store, and open the next one in its place."""
    # A store that is not empty has no use for first data.
    return lambda: make_store(TWENTY, Profile(seed=999))
