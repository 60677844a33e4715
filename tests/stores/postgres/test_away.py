"""A database that goes away: callers are told soon, nothing is half done, and it comes back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from pisync.model.device import ErrorFilter
from pisync.stores.base import Store
from pisync.stores.errors import StoreError, StoreUnavailable
from pisync.stores.postgres.database import CONNECTIONS
from tests.support.stalls import Stalls
from tests.support.stores.harness import PostgresHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.server import (
    Cable,
    server,
)
from tests.support.stores.short import (
    FAILING,
    FULL,
    TWENTY,
    F,
    start,
)

SOON = 5.0
"""Seconds after which whoever calls must know."""
BACK = 10.0
"""Seconds after which all must be well again."""


@pytest.fixture(autouse=True)
def patient_store() -> None:
    """Let stores be as impatient as they are: it is what is tested."""


@pytest.fixture
async def cable(home: PostgresHarness) -> AsyncIterator[Cable]:
    async with Cable(home.url) as cable:
        yield cable


@pytest.fixture
def heard() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
async def store(
    home: PostgresHarness, cable: Cable, heard: RecordingObserver
) -> AsyncIterator[Store]:
    home.url = cable.url
    store = home.store(TWENTY, FAILING, 1000)
    await store.open(heard)
    yield store
    await store.close()


def calls(store: Store) -> dict[str, Callable[[], Awaitable[object]]]:
    """One of every kind of call."""
    return {
        "ping": store.ping,
        "find": lambda: store.accounts.find("alice"),
        "acquire": lambda: store.login_attempts.acquire([b"k"], 5, 60),
        "fleets": lambda: store.queries.fleets(after="", limit=10),
        "put_fleet": lambda: store.fleets.put("new", TWENTY, FAILING),
        "change_profile": lambda: store.fleets.change_profile(F, lambda profile: profile),
        "reset_fleet": lambda: store.fleets.reset(F),
        "set_clock": lambda: store.finisher.set_clock(F, 1),
        "settle": lambda: store.finisher.settle(F),
        "device": lambda: store.queries.device(F, 1),
        "devices": lambda: store.queries.devices(F, after=0, limit=10, statuses=frozenset((400,))),
        "begin": lambda: store.starter.begin(F, [1]),
        "finish_due": lambda: store.finisher.finish_due(100),
        "next_due": store.finisher.next_due,
        "set_script": lambda: store.fleets.set_script(F, 1, None),
        "release": lambda: store.finisher.release(F, 1, FULL),
        "errors": lambda: store.queries.errors(F, ErrorFilter(), 10),
        "pending": store.queries.pending,
        "stats": lambda: store.queries.stats(F),
    }


async def answers_in_time(store: Store) -> dict[str, bool]:
    """Say which calls succeed; assert that others are unavailable, and that all say it in time."""
    loop = asyncio.get_running_loop()
    took: dict[str, float] = {}
    succeeded: dict[str, bool] = {}

    async def ask(name: str, call: Callable[[], Awaitable[object]]) -> None:
        before, stalled = loop.time(), stalls.seconds
        try:
            await call()
        except StoreUnavailable:
            succeeded[name] = False
        except StoreError:
            succeeded[name] = True
        else:
            succeeded[name] = True
        took[name] = loop.time() - before - (stalls.seconds - stalled)

    async with Stalls() as stalls:
        await asyncio.gather(*(ask(*each) for each in calls(store).items()))
    assert max(took.values()) < SOON, took
    return succeeded


async def is_back(store: Store, heard: RecordingObserver) -> None:
    """Assert that all is well again in time, and that the observer knows what it has missed."""
    async with asyncio.timeout(BACK):
        while True:
            try:
                await store.ping()
                break
            except StoreUnavailable:
                await asyncio.sleep(0.1)
        while not heard.misses:  # noqa: ASYNC110 - an observer has no events to wait for
            await asyncio.sleep(0.1)
    heard.forget()
    await store.starter.begin(F, [20])
    await store.finisher.settle(F)
    async with asyncio.timeout(BACK):
        while len(heard.changes(F)) < 3:  # noqa: ASYNC110 - nor here
            await asyncio.sleep(0.01)
    assert (await store.queries.ledger(F)).balanced


async def test_all_connections_are_ended(
    store: Store, home: PostgresHarness, heard: RecordingObserver
) -> None:
    await start(store, 1, 2, 3)
    await server().throw_out(home.url)
    await is_back(store, heard)
    assert (await store.queries.ledger(F)).accepted == 4


async def test_the_server_stops_and_starts_again(store: Store, heard: RecordingObserver) -> None:
    await start(store, 1, 2, 3)
    await server().stop()
    try:
        assert not any((await answers_in_time(store)).values())
    finally:
        await server().start()
    await is_back(store, heard)
    assert (await store.queries.ledger(F)).accepted == 4


async def test_nothing_gets_through(store: Store, cable: Cable, heard: RecordingObserver) -> None:
    await start(store, 1, 2, 3)
    cable.cut()
    assert not any((await answers_in_time(store)).values())
    # A connection that hears nothing for a shorter time is as good as before, and misses nothing.
    await asyncio.sleep(2)
    cable.mend()
    await is_back(store, heard)


async def test_all_connections_are_in_use(store: Store, home: PostgresHarness) -> None:
    blocker = await asyncpg.connect(home.url)
    async with blocker.transaction():
        # Whoever writes to the fleet waits for this.
        await blocker.execute("SELECT FROM turns FOR UPDATE")
        writes = [
            asyncio.create_task(store.fleets.set_script(F, device_id, None))
            for device_id in range(1, 16)
        ]
        await asyncio.sleep(0.2)
        assert not (await answers_in_time(store))["begin"]
        answers = await asyncio.gather(*writes, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
    await blocker.close()
    await store.ping()
    assert len(await start(store, 1, 2, 3)) == 3


async def test_many_more_wait_than_there_are_connections(
    store: Store, home: PostgresHarness
) -> None:
    loop = asyncio.get_running_loop()
    blocker = await asyncpg.connect(home.url)
    async with blocker.transaction():
        await blocker.execute("SELECT FROM turns FOR UPDATE")
        before = loop.time()
        writes = [store.fleets.set_script(F, n % 20 + 1, None) for n in range(5 * CONNECTIONS)]
        answers = await asyncio.gather(*writes, return_exceptions=True)
        assert loop.time() - before < SOON
        assert {type(answer) for answer in answers} == {StoreUnavailable}
    await blocker.close()
    await store.ping()


async def test_whatever_was_under_way_is_done_wholly_or_not_at_all(
    store: Store, home: PostgresHarness, heard: RecordingObserver
) -> None:
    told: Counter[int] = Counter()
    unknown = 0

    async def client(number: int) -> None:
        nonlocal unknown
        for _ in range(40):
            try:
                (begun,) = await store.starter.begin(F, [number])
                assert begun.device is not None
                told[number] = max(told[number], begun.device.attempt)
                await store.finisher.settle(F)
            except StoreUnavailable:
                unknown += 1
                await asyncio.sleep(0.05)

    clients = [asyncio.create_task(client(number)) for number in range(1, 11)]
    for _ in range(3):
        await asyncio.sleep(0.2)
        await server().throw_out(home.url)
    await asyncio.gather(*clients)
    await store.finisher.settle(F)
    assert unknown
    ledger = await store.queries.ledger(F)
    assert ledger.balanced
    assert ledger.accepted == ledger.error_logs
    # What was answered was never lost.
    for number, attempt in told.items():
        assert (await store.queries.device(F, number)).attempt >= attempt
    logs = (await store.queries.errors(F, ErrorFilter(), 1000)).error_logs
    assert set(Counter((log.device_id, log.attempt) for log in logs).values()) == {1}


async def test_nobody_sees_the_password(
    store: Store, home: PostgresHarness, cable: Cable, caplog: pytest.LogCaptureFixture
) -> None:
    await server().throw_out(home.url)
    cable.cut()
    for call in (store.ping, store.queries.pending):
        with pytest.raises(StoreUnavailable) as caught:
            await call()
        assert "geheim" not in f"{caught.value} {caught.value.__cause__!r}"
    cable.mend()
    await asyncio.sleep(1.1)
    assert "database can't be reached" in caplog.text
    assert "geheim" not in caplog.text
