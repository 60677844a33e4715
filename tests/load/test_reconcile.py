"""The comparison of clients' counts with a server's ledger: it must see what is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pisync.client import (
    ErrorLog,
    FleetClient,
)
from pisync.in_process import (
    RunningServer,
    running_server,
)
from pisync.load.reconcile import reconcile, take_snapshot
from pisync.load.tally import Tally

FAILING = {
    "outcomes": [{"sync_status_code": 500, "error_message": "Broken", "weight": 1}],
    "delay": {"distribution": "constant", "seconds": 0},
}
SLOW = {"delay": {"distribution": "constant", "seconds": 3600}}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.fixture
def fleet(server: RunningServer) -> Iterator[FleetClient]:
    with server.new_fleet(12, FAILING) as client:
        yield client


def synced(fleet: FleetClient, *devices: int) -> Tally:
    """Sync these devices; return what their client counts."""
    tally = Tally()
    for device in devices:
        tally.add("sync", 202, 0.001)
        tally.attempts.add((device, fleet.sync(device).attempt))
    return tally


def test_what_adds_up_is_no_problem(fleet: FleetClient) -> None:
    fleet.sync(9)
    fleet.settle()
    snapshot = take_snapshot(fleet)
    settled = reconcile(fleet, snapshot, synced(fleet, 1, 2, 3), wait=10)
    assert settled == (3, 0, 0, {(500, "Broken"): 3}, [])


def test_joining_what_was_pending_before_is_no_problem(fleet: FleetClient) -> None:
    fleet.change_profile(SLOW)
    fleet.sync(1)
    snapshot = take_snapshot(fleet)
    tally = synced(fleet, 1)
    fleet.settle()
    settled = reconcile(fleet, snapshot, tally, wait=10)
    assert (settled.accepted, settled.joined, settled.problems) == (0, 1, [])


def test_a_promise_that_the_server_does_not_know_is_named(fleet: FleetClient) -> None:
    snapshot = take_snapshot(fleet)
    tally = synced(fleet, 1, 2)
    tally.add("sync", 202, 0.001)
    tally.attempts.add((2, 2))
    settled = reconcile(fleet, snapshot, tally, wait=10)
    assert settled.problems == [
        "1 of 3 syncs answered with 202 are not counted",
        "lost attempts: 2 of device 2",
    ]


def test_a_fleet_that_was_reset_has_lost_everything(fleet: FleetClient) -> None:
    snapshot = take_snapshot(fleet)
    tally = synced(fleet, *range(1, 13))
    fleet.reset()
    counted, lost = reconcile(fleet, snapshot, tally, wait=10).problems
    assert counted == "12 of 12 syncs answered with 202 are not counted"
    assert lost.startswith("lost attempts: 1 of device 1, 1 of device 2, ")
    assert lost.endswith("1 of device 10 and 2 more")


def test_a_sync_that_does_not_finish_is_named(fleet: FleetClient) -> None:
    fleet.change_profile(SLOW)
    snapshot = take_snapshot(fleet)
    settled = reconcile(fleet, snapshot, synced(fleet, 4, 6), wait=0)
    assert settled.problems == ["2 syncs still pending: devices 4, 6"]


def test_a_held_sync_is_not_waited_for(fleet: FleetClient) -> None:
    fleet.script(4, [{"hold": True}])
    snapshot = take_snapshot(fleet)
    assert reconcile(fleet, snapshot, synced(fleet, 4), wait=10).problems == []


def test_more_than_was_asked_for_shows(fleet: FleetClient) -> None:
    snapshot = take_snapshot(fleet)
    tally = synced(fleet, 1)
    fleet.sync(2)
    fleet.sync(3)
    (problem,) = reconcile(fleet, snapshot, tally, wait=10).problems
    assert problem.startswith("2 syncs counted that these clients did not ask for")


def test_a_request_without_an_answer_may_have_been_taken_or_not(fleet: FleetClient) -> None:
    snapshot = take_snapshot(fleet)
    tally = synced(fleet, 1)
    fleet.sync(2)
    for _ in range(2):
        tally.add("sync", None, 0.001)
    assert reconcile(fleet, snapshot, tally, wait=10).problems == []


@dataclass(frozen=True)
class SeesTwice(FleetClient):
    """A client of a server that logs each failure twice."""

    def errors(self, **query: object) -> list[ErrorLog]:
        return 2 * super().errors(**query)  # type: ignore[arg-type] # handed on as it came


def test_an_attempt_that_failed_twice_is_named(fleet: FleetClient) -> None:
    snapshot = take_snapshot(fleet)
    tally = synced(fleet, 7)
    seen = SeesTwice(fleet.url, fleet.fleet, token=fleet.token, admin_token=fleet.admin_token)
    settled = reconcile(seen, snapshot, tally, wait=10)
    assert settled.problems == ["attempts with more than one error log: 1 of device 7"]


def test_progress_is_told_until_nothing_is_pending(fleet: FleetClient) -> None:
    fleet.change_profile({"delay": {"distribution": "constant", "seconds": 0.4}})
    snapshot = take_snapshot(fleet)
    told: list[int] = []
    reconcile(fleet, snapshot, synced(fleet, 1, 2, 3), wait=10, progress=told.append)
    assert (told[0], told[-1]) == (3, 0)
    assert told == sorted(told, reverse=True)
