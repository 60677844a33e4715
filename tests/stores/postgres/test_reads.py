"""Pages have versions, which change with whatever replica changes a device."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from pisync.model.device import Device, DevicePage
from pisync.model.fleet import Generated
from pisync.stores.base import Store
from pisync.stores.errors import NoSuchFleet, StoreUnavailable
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import ask
from tests.support.stores.short import FAILING, TWENTY, F, start
from tests.support.waiting import eventually


@pytest.fixture
async def stores(home: PostgresHarness) -> AsyncIterator[list[Store]]:
    """Two replicas."""
    stores: list[Store] = [home.store(TWENTY, FAILING, 1000) for _ in range(2)]
    for store in stores:
        await store.open(RecordingObserver())
    yield stores
    for store in stores:
        await store.close()


async def page(
    store: Store, known: DevicePage | None = None, statuses: frozenset[int] | None = None
) -> DevicePage:
    return await store.queries.devices(
        F, after=3, limit=10, statuses=statuses, known=known and known.version
    )


@pytest.mark.parametrize("statuses", [None, frozenset({200, 404})])
async def test_a_page_that_is_known_comes_without_devices_until_one_changes(
    stores: list[Store], statuses: frozenset[int] | None
) -> None:
    one, other = stores
    whole = await page(one, statuses=statuses)
    known = await page(one, whole, statuses)
    assert known == whole._replace(devices=[])
    assert known.more
    await start(other, 7)
    begun = await page(one, whole, statuses)
    assert begun.version != whole.version
    assert begun == await page(one, statuses=statuses)
    # It fails.
    await other.finisher.settle(F)
    finished = await page(one, begun, statuses)
    assert finished.version not in (whole.version, begun.version)
    assert finished == await page(one, statuses=statuses)


async def test_a_page_of_a_fleet_that_was_replaced_is_another(stores: list[Store]) -> None:
    one, other = stores
    await one.fleets.put(F, Generated(20), FAILING)
    whole = await page(one)
    await other.fleets.put(F, Generated(20), FAILING)
    assert (await page(one, whole)).devices
    await one.fleets.put("short-lived", Generated(5), FAILING)
    known = await one.queries.devices("short-lived", after=0, limit=3, statuses=None)
    await other.fleets.delete("short-lived")
    with pytest.raises(NoSuchFleet):
        await one.queries.devices(
            "short-lived", after=0, limit=3, statuses=None, known=known.version
        )


async def test_a_page_is_read_anew_on_another_connection(
    stores: list[Store], home: PostgresHarness
) -> None:
    """It may lead to another server, on which the same transaction numbers mean others."""
    one, _ = stores
    whole = await page(one)
    assert not (await page(one, whole)).devices
    await ask(
        home.url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    async with asyncio.timeout(10):
        while not (again := await devices_or_none(one, whole)):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)
    assert again == whole.devices


async def test_and_when_the_connection_that_listens_is_another(
    stores: list[Store], home: PostgresHarness
) -> None:
    """Others may lead through a pooler, which hides that there is another server behind it."""
    one, _ = stores
    # So that there are all connections that it makes by itself.
    await asyncio.gather(*(one.requests.faults(F) for _ in range(30)))
    whole = await page(one)
    ended = await ask(
        home.url,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND (query LIKE 'LISTEN%' OR query LIKE 'SELECT keep_time%')",
    )
    assert ended == 2
    assert not (await page(one, whole)).devices
    await eventually(lambda: _is_anew(one, whole))


async def _is_anew(store: Store, known: DevicePage) -> bool:
    return (await page(store, known)).devices == known.devices


async def devices_or_none(store: Store, known: DevicePage) -> Sequence[Device]:
    try:
        return (await page(store, known)).devices
    except StoreUnavailable:  # the connection is gone
        return ()
