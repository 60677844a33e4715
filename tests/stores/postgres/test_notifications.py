"""Notices: what is known of one before it is decoded agrees with what is in it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pisync.model.device import MAX_DEVICE_ID, Device, ErrorLog, Pending, synced
from pisync.model.outcome import PENDING, SUCCEEDED, SUCCESS, Outcome
from pisync.model.sync import UnreadChanges
from pisync.model.timestamp import EARLIEST, LATEST
from pisync.simulation.events import MAX_BATCH
from pisync.stores.postgres import notifications
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.requests.settings import KnownSettings
from tests.support.stores.recording_observer import RecordingObserver

FLEET_ID = 3
IDS = st.integers(1, MAX_DEVICE_ID)
MOMENTS = st.integers(EARLIEST, LATEST)
MESSAGES = st.text(min_size=1, max_size=40)
CODES = st.sampled_from((400, 404, 500))
OUTCOMES = st.just(SUCCEEDED) | st.builds(Outcome, CODES, MESSAGES)
PENDINGS = st.just(Pending(None, None)) | st.builds(Pending, OUTCOMES, MOMENTS)
ENDS = st.just((SUCCESS, None)) | st.tuples(CODES, MESSAGES)
DEVICES = st.builds(
    lambda device_id, last, end, at, attempt: Device(device_id, last, end[0], end[1], at, attempt),
    *(IDS, st.none() | MOMENTS, ENDS, MOMENTS, IDS),
) | st.builds(
    lambda device_id, last, at, attempt, pending: Device(
        device_id, last, PENDING, None, at, attempt, pending
    ),
    *(IDS, st.none() | MOMENTS, MOMENTS, IDS, PENDINGS),
)
LOGS = st.builds(ErrorLog, st.integers(1, 100), IDS, IDS, CODES, MESSAGES, MOMENTS)


class Heard(RecordingObserver):
    """An observer that keeps what it hears as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.unread: list[UnreadChanges] = []

    def heard(self, fleet: str, changes: UnreadChanges) -> None:
        super().heard(fleet, changes)
        self.unread.append(changes)


def tell(*notices: str) -> Heard:
    nowhere = Database(Address.parse("postgresql://localhost/none"))
    holder = notifications.ObserverHolder(KnownSettings(nowhere), OwnSyncs(1))
    holder.observer = heard = Heard()
    for notice in notices:
        notifications.tell(holder, notice)
    return heard


def written(what: Sequence[Device | ErrorLog], newest_error: int) -> list[str]:
    """Return notices as they come: the database has put a number before them."""
    notices = notifications.changed(FLEET_ID, "lab", what, None)
    return [f"[{newest_error},{notice}" for notice in notices]


@given(st.lists(DEVICES | LOGS, min_size=1), st.integers(0, 10**12))
def test_what_is_known_without_decoding_is_so(
    what: list[Device | ErrorLog], newest_error: int
) -> None:
    heard = tell(*written(what, newest_error))
    assert heard.changes("lab") == [
        each if isinstance(each, Device) else each._replace(error_id=newest_error + each.error_id)
        for each in what
    ]
    for unread in heard.unread:
        changes = unread.read()
        assert len(unread) == len(changes) > 0
        assert all(unread.may_hold(each.event_id) for each in changes)
        codes = [each.what.sync_status_code for each in changes if isinstance(each.what, Device)]
        began, succeeded = codes.count(PENDING), codes.count(SUCCESS)
        assert unread.steps == (began, succeeded, len(codes) - began - succeeded)


def test_a_notice_that_does_not_hold_an_event_is_mostly_known_not_to() -> None:
    failed = [Device(n, None, 500, "Storage Full", 0, 7) for n in range(1, 21)]
    logs = [ErrorLog(n, n, 7, 500, "Storage Full", 0) for n in range(1, 21)]
    (unread,) = tell(*written([*failed, *logs], 1000)).unread
    others = ["3-21-7-finished", "3-1-30-begun", "3-e1000", "3-e1021", "r0123abcd-1"]
    assert not any(map(unread.may_hold, others))


@pytest.mark.parametrize(
    "event_id", ["", "-", "3", "3-e", "3-e²", f"3-e{'9' * 5000}", "\x00-" * 99]
)
def test_an_id_may_be_anything(event_id: str) -> None:
    (unread,) = tell(*written([synced(7, 0)], 0)).unread
    assert event_id not in [each.event_id for each in unread.read()]
    unread.may_hold(event_id)


def test_what_one_notice_holds_may_be_encoded_together() -> None:
    heard = tell(*written([Device(1, 0, 200, None, 0, 1)] * 1000, 0))
    assert sum(map(len, heard.unread)) == 1000
    assert max(map(len, heard.unread)) <= MAX_BATCH


@pytest.mark.parametrize("entry", ["[]", "[1,2]", "[1,2,3,4,5,6,7]", "7"])
def test_an_entry_that_is_neither_a_device_nor_an_error_log_reaches_nobody(entry: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        tell(f'[0,"changed",null,"lab",3,{entry}]')
