"""Reads that share a transaction with what comes before them."""

import asyncio

import pytest

from pisync.model.device import Device
from pisync.model.plans.script import Script, Step
from pisync.stores.base import Store
from tests.support.stores.short import FULL, F

pytestmark = pytest.mark.parametrize("home", ["memory", "sqlite"], indirect=True)


async def test_see_what_those_before_them_have_done(store: Store) -> None:
    """A group commit makes one transaction of all of them."""
    await store.fleets.set_script(F, 7, Script((Step(FULL, polls=2),)))
    pending, failed = frozenset((202,)), frozenset((400,))

    def find(statuses: frozenset[int], after: int = 0) -> asyncio.Task[tuple[list[int], int]]:
        return asyncio.create_task(found(store, statuses, after))

    begin = asyncio.create_task(_begin(store, 7))
    reads = [find(pending), find(pending, 7), find(failed), find(pending)]
    reads += [find(pending), find(failed), find(failed, 7)]
    assert (await begin).attempt == 1
    assert await asyncio.gather(*reads) == [
        *(([7], 1), ([], 1), ([], 0), ([7], 1)),
        *(([], 0), ([7], 1), ([], 1)),
    ]


async def found(store: Store, statuses: frozenset[int], after: int) -> tuple[list[int], int]:
    """Return the ids of devices on a page, and how many there are on all."""
    page = await store.acting_reads.devices(F, after=after, limit=10, statuses=statuses)
    return [device.device_id for device in page.devices], page.total


async def _begin(store: Store, device_id: int) -> Device:
    (begun,) = await store.starter.begin(F, (device_id,))
    assert begun.device is not None
    return begun.device
