"""What is committed is told to all replicas, in the order of the commits, by whoever sends it."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import cast
from unittest.mock import patch

import asyncpg
import pytest

from pisync.model.sync import Change
from pisync.stores.base import Store
from pisync.stores.postgres.connection import connect
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.outbox import relay
from pisync.stores.postgres.outbox.relay import Relay
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver, Replaced
from tests.support.stores.server import ask
from tests.support.stores.short import FAILING, TWENTY, F, manual, start
from tests.support.waiting import eventually


async def open_store(home: PostgresHarness, observer: RecordingObserver) -> Store:
    store = home.store(TWENTY, FAILING, 1000)
    await store.open(observer)
    return store


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - observers have no event to wait for
            await asyncio.sleep(0.01)


def changes(observer: RecordingObserver) -> list[Change]:
    return [event for event in observer.events.get(F, []) if isinstance(event, Change)]


async def test_a_sync_begins_while_nobody_can_send(home: PostgresHarness) -> None:
    observer = RecordingObserver()
    store = await open_store(home, observer)
    slow = await asyncpg.connect(home.url)
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("SELECT send_notices(1)")
    async with asyncio.timeout(1):
        await start(store, 1, 2, 3)
    assert changes(observer) == []
    await transaction.commit()
    await until(lambda: len(changes(observer)) == 3)
    await slow.close()
    await store.close()


async def test_others_send_what_a_replica_has_left(
    home: PostgresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = RecordingObserver()
    other = await open_store(home, observer)
    monkeypatch.setattr(relay.Relay, "send_soon", lambda _: None)
    one = await open_store(home, RecordingObserver())
    await start(one, 5)
    # It is gone before it has sent anything; others look after a second.
    await until(lambda: len(changes(observer)) == 1, 2.5)
    assert await ask(home.url, "SELECT count(*) FROM outbox") == 0
    await one.close()
    await other.close()


async def test_replicas_of_both_versions_tell_the_same_in_the_same_order(
    home: PostgresHarness,
) -> None:
    observers = [RecordingObserver(), RecordingObserver()]
    with patch.dict(connect.SENDING, clear=True):
        # 0.1.0 knows nothing of an outbox.
        old = await open_store(home, observers[0])
        await start(old, 20)
    new = await open_store(home, observers[1])
    await manual(new)
    await until(lambda: len(changes(observers[0])) == 1)
    for observer in observers:
        observer.forget()

    async def live(store: Store, turn: int) -> None:
        for step in range(12):
            await store.starter.begin(F, [(turn + step * 3) % 20 + 1])
            if step % 3 == turn:
                await store.finisher.settle(F)

    await asyncio.gather(live(old, 0), live(new, 1))
    await home.hear(2)
    first, second = (changes(observer) for observer in observers)
    assert len(first) > 20
    assert second == first
    await old.close()
    await new.close()


async def test_a_fleet_ends_after_all_that_happened_in_it(
    home: PostgresHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = RecordingObserver()
    monkeypatch.setattr(relay.Relay, "send_soon", lambda _: None)
    store = await open_store(home, observer)
    await home.hear()
    observer.forget()
    await start(store, 1, 2)
    await store.fleets.reset(F)
    assert len(changes(observer)) == 2
    assert observer.events[F][2:] == [Replaced()]
    assert await ask(home.url, "SELECT count(*) FROM outbox") == 0
    await store.close()


class _Outbox:
    """A database that has so many notices whenever it is asked, and notes when it was."""

    def __init__(self, notices: int) -> None:
        self.notices = notices
        self.asked_at: list[float] = []

    async def fetchval(self, *_: object) -> int:
        self.asked_at.append(asyncio.get_running_loop().time())
        # Every second look finds nothing more.
        return self.notices * (len(self.asked_at) % 2)


@pytest.mark.parametrize(("notices", "waits"), [(1, False), (1000, True)])
async def test_only_where_much_happens_it_gathers(notices: int, waits: bool) -> None:
    database = _Outbox(notices)
    sender = Relay(cast("Database", database))
    running = asyncio.create_task(sender.run())
    for count in range(1, 11):
        sender.send_soon()
        await eventually(lambda: len(database.asked_at) >= 2 * count)  # noqa: B023 - at once
    running.cancel()
    starts = database.asked_at[::2]
    shortest = min(later - earlier for earlier, later in pairwise(starts))
    assert (shortest > 0.019) is waits
