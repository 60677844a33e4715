"""Faults, the journal and verify, through the client."""

from http.client import HTTPException

import pytest

from pisync.client import (
    NO_ANSWER,
    CallFailed,
    FleetClient,
    NotVerified,
    device,
    request,
    sync,
)


def test_faults_are_set_met_and_ended(pisync: FleetClient) -> None:
    pisync.set_faults(
        [{"calls": ["sync"], "first": 1, "fault": {"kind": "reset"}, "when": "after"}]
    )
    with pytest.raises((OSError, HTTPException)):
        pisync.sync(7)
    assert pisync.sync(7).attempt == 1
    assert [rule["hits"] for rule in pisync.faults()] == [1]
    assert pisync.ledger().faults == {"before": {}, "after": {"reset": 1}}
    pisync.end_faults()
    assert pisync.faults() == []
    lost, joined = reversed(pisync.requests())
    assert (lost.status, lost.fault, lost.attempt) == (None, "reset", 1)
    assert str(joined) == f"#2 POST /devices/7/sync by {joined.user}: 202, attempt 1"
    assert pisync.requests(fault="reset") == [lost]
    pisync.verify(sync(7, status=NO_ANSWER), sync(7, status=202, attempt=1), in_order=True)
    with pytest.raises(NotVerified, match="status=None"):
        pisync.verify(sync(7, status=NO_ANSWER), at_most=0)
    pisync.clear_requests()
    assert pisync.requests() == []


def test_what_was_asked_is_verified(pisync: FleetClient) -> None:
    pisync.sync(7)
    pisync.device(7)
    user = pisync.requests()[0].user
    pisync.verify(sync(7), at_least=1, at_most=1)
    pisync.verify(sync(7, status=202), device(), in_order=True)
    pisync.verify(request("bulk"), at_most=0)
    with pytest.raises(NotVerified) as caught:
        pisync.verify(sync(8), at_least=1)
    assert str(caught.value) == (
        "Expected call='sync', device_id=8: Found 0 of these requests, expected at least 1.\n"
        "Closest to it:\n"
        f"  #1 POST /devices/7/sync by {user}: 202, attempt 1\n"
        f"  #2 GET /devices/7 by {user}: 200"
    )
    with pytest.raises(CallFailed):
        pisync.verify(sync(7), at_least=2, at_most=1)


def test_an_empty_journal_says_so(pisync: FleetClient) -> None:
    with pytest.raises(NotVerified, match="The journal is empty"):
        pisync.verify(sync(7))
