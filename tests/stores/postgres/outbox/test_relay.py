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
    monkeypatch.setattr(relay.Relay, "send_soon", lambda *_: None)
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
    monkeypatch.setattr(relay.Relay, "send_soon", lambda *_: None)
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
        return self.notices


@pytest.mark.parametrize(
    ("notices", "own", "waits"),
    [
        (1, '"changed",[1]', False),
        (999, '"changed",[1]', True),
        (1, '"changed"' + ",[1]" * 300, True),
    ],
)
async def test_only_where_much_happens_it_gathers(notices: int, own: str, waits: bool) -> None:
    database = _Outbox(notices)
    sender = Relay(cast("Database", database))
    running = asyncio.create_task(sender.run())
    for count in range(1, 11):
        sender.send_soon([own])
        await eventually(lambda: len(database.asked_at) >= count)  # noqa: B023 - at once
    running.cancel()
    shortest = min(later - earlier for earlier, later in pairwise(database.asked_at))
    assert (shortest > 0.019) is waits


async def test_who_hears_its_own_notices_does_not_send_them_again() -> None:
    database = _Outbox(1)
    sender = Relay(cast("Database", database))
    # Another replica sends a good deal, among it what this one is about to send.
    for _ in range(5):
        sender.heard('[0,"changed"]')
    running = asyncio.create_task(sender.run())
    sender.send_soon(['"changed",1]', '"changed",2]'])
    await asyncio.sleep(0.01)
    sender.heard('[0,"changed",1]')
    sender.heard('[7,"changed",2]')
    await asyncio.sleep(0.06)
    assert database.asked_at == []
    sender.send_soon(['"changed",3]'])
    await eventually(lambda: len(database.asked_at) == 1)
    running.cancel()


async def test_others_are_let_send_for_so_long_and_no_longer() -> None:
    database = _Outbox(1)
    sender = Relay(cast("Database", database))
    running = asyncio.create_task(sender.run())
    now = asyncio.get_running_loop().time
    began = now()
    sender.send_soon(['"changed",1]'])
    while not database.asked_at:
        # Another one sends all the time, but not this.
        sender.heard('[0,"changed"]')
        await asyncio.sleep(0.005)
        assert now() < began + 5
    assert database.asked_at[0] - began >= 0.09
    running.cancel()


async def test_who_has_ever_more_to_tell_leaves_it_to_others_while_they_send_it() -> None:
    database = _Outbox(1)
    sender = Relay(cast("Database", database))
    running = asyncio.create_task(sender.run())
    sender.heard('[0,"changed"]')
    now = asyncio.get_running_loop().time
    began, number = now(), 0
    while now() < began + 0.3:
        sender.send_soon([f'"changed",{number + 1}]'])
        sender.heard(f'[0,"changed",{number}]')
        number += 1
        await asyncio.sleep(0.002)
    assert database.asked_at == []
    running.cancel()
