"""Stores that read what is sent, since nothing keeps their sessions for listening."""

from contextlib import AbstractContextManager
from unittest.mock import patch

from pisync.stores.base import Store
from pisync.stores.postgres import store
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.database import Database
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.short import FAILING, TWENTY


def reading_store(home: PostgresHarness) -> Store:
    """Return a store that is not open yet, and will not listen."""
    with without_sessions():
        return home.store(TWENTY, FAILING, 1000)


def without_sessions() -> AbstractContextManager[object]:
    """Let stores that are made meanwhile take it that no connection keeps its session."""
    return patch.object(store, "_database", _without_sessions)


def _without_sessions(url: str, _direct: str | None) -> Database:
    return Database(Address.parse(url), has_sessions=False)
