"""A database that writes slowly: what takes many rows is done in smaller pieces, and succeeds."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pisync.model.fleet import DeviceSpec, FirstData, Generated, Listed
from pisync.stores.postgres import fleet_writer
from pisync.stores.postgres.store import PostgresStore
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask, server
from tests.support.stores.short import FAILING, TWENTY

SOON = 60.0
COUNT = 2000
SLOW = """
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.0015); RETURN coalesce(new, old); END $$"""
TRIGGER = """
    CREATE TRIGGER slowly BEFORE INSERT OR DELETE ON devices
    FOR EACH ROW EXECUTE FUNCTION slowly()"""


@pytest.fixture(autouse=True)
def patient_store() -> None:
    """Let stores be as impatient as they are: it is what is tested."""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A database that needs longer for so many rows than a statement may take."""
    url = await server().make_database()
    await ask(url, SLOW)
    await ask(url, TRIGGER)
    yield url
    await server().drop_database(url)


@pytest.mark.parametrize(
    "first",
    [Generated(COUNT), Listed(tuple(DeviceSpec(number) for number in range(1, COUNT + 1)))],
    ids=["generated", "listed"],
)
async def test_a_large_fleet_is_made_and_deleted(
    url: str, first: FirstData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_writer, "_LISTED_AT_ONCE", COUNT)
    store = PostgresStore(url, TWENTY, FAILING)
    await store.open(RecordingObserver())
    view, _ = await store.fleets.put("large", first, FAILING)
    assert view.devices == COUNT
    assert await ask(url, "SELECT count(DISTINCT device_id) FROM devices") == COUNT
    await store.fleets.delete("large")
    async with asyncio.timeout(SOON):
        while await ask(url, "SELECT count(*) FROM devices") > 20:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await store.close()
