"""A journal in memory that is long: whoever reads it lets others have their turn."""

import asyncio

import pytest

from pisync.model.requests.journal import MAX_JOURNAL, JournalEntry, RequestFilter
from pisync.stores.embedded.store import EmbeddedStore
from tests.conftest import ManualTime
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import PROFILE, TWENTY, F

ENTRY = JournalEntry("", 0, "stats", "GET", "/stats", None, "alice", None, 200, None, None, 0.1)


@pytest.mark.parametrize(
    ("criteria", "found"), [(RequestFilter(), MAX_JOURNAL), (RequestFilter(user="bob"), 0)]
)
async def test_others_have_their_turn_while_it_is_read(criteria: RequestFilter, found: int) -> None:
    store = EmbeddedStore(TWENTY, PROFILE, ManualTime())
    await store.open(RecordingObserver())
    await store.fleets.change_profile(F, lambda same: same, journal=MAX_JOURNAL)
    for _ in range(MAX_JOURNAL):
        await store.requests.record(F, ENTRY)
    reading = asyncio.ensure_future(store.requests.journal(F, criteria, MAX_JOURNAL))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
        if turns == 2:
            await store.requests.record(F, ENTRY)
    assert turns > 10
    page = await reading
    assert len(page.requests) == found
    if found:
        # What came meanwhile is not among them.
        assert page.requests[0].number == MAX_JOURNAL
    await store.close()
