"""Fleets that have ended are freed some at a time, and not while somebody uses them."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from pisync.model.fleet import DeviceSpec, Listed
from pisync.model.plans.profile import Profile
from pisync.stores.embedded.bounds import disposal
from pisync.stores.embedded.fleet_state import Container
from pisync.stores.embedded.store import EmbeddedStore
from tests.conftest import ManualTime
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.waiting import eventually

DEVICES = 50_000


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(disposal, "_DELAY", 0.01)
    gc.disable()  # what is freed must not need it
    yield
    gc.enable()


async def test_a_large_fleet_is_freed_in_many_turns_once_nobody_uses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dropped: list[int] = []
    drop_some = disposal._drop_some  # noqa: SLF001 - what a turn does

    def counted(container: Container) -> bool:
        before = len(container)
        more = drop_some(container)
        dropped.append(before - len(container))
        return more

    monkeypatch.setattr(disposal, "_drop_some", counted)
    first = Listed([DeviceSpec(number, None, 400, "Full") for number in range(1, DEVICES + 1)])
    store = EmbeddedStore(Listed([]), Profile(1), ManualTime())
    await store.open(RecordingObserver())
    await store.fleets.put("large", first, Profile(1))
    used = store._registry.fleet("large")  # noqa: SLF001 - somebody who still reads it
    fleet = weakref.ref(used)
    await store.fleets.delete("large")
    await asyncio.sleep(0.1)
    assert not dropped
    assert used.devices.load(DEVICES - 1).error_message == "Full"
    del used
    await eventually(lambda: fleet() is None)
    await eventually(lambda: sum(dropped) >= 2 * DEVICES)  # the table's column, and the list
    assert max(dropped) <= 8192
    assert len(first.devices) == DEVICES
    await store.close()
