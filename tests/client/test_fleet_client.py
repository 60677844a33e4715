"""The client for a fleet, on a live server."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import pytest

from pisync.client import (
    Accepted,
    BulkResult,
    CallFailed,
    Device,
    ErrorLog,
    FleetClient,
    Forecast,
    Ledger,
    Stats,
)
from pisync.in_process import RunningServer

TIMEOUT = {"sync_status_code": 500, "error_message": "Connection Timeout", "delay": 2.5}
STORAGE_FULL = {"sync_status_code": 400, "error_message": "Storage Full"}
SUCCESS = {"sync_status_code": 200}
NOON = datetime(2025, 6, 2, 12, 0, 0, 250_000, tzinfo=UTC)


def test_reads_devices_with_their_times(pisync: FleetClient) -> None:
    failed = {
        "device_id": 7,
        "sync_status_code": 404,
        "error_message": "Server Not Reachable",
        "last_sync_at": NOON - timedelta(hours=1),
        "last_attempt_at": NOON,
    }
    pisync.replace([failed, {"device_id": 9, "last_sync_at": None, **STORAGE_FULL}])
    assert pisync.device(7) == Device(
        7, NOON - timedelta(hours=1), 404, "Server Not Reachable", NOON
    )
    assert [each.device_id for each in pisync.devices()] == [7, 9]
    assert pisync.devices(status=[404, 500]) == [pisync.device(7)]
    assert pisync.device(9).last_sync_at is None


def test_waits_in_the_server_longer_than_it_waits_for_others(pisync: FleetClient) -> None:
    pisync.change_profile({"delay": {"distribution": "constant", "seconds": 0.5}})
    hurried = dataclasses.replace(pisync, timeout=0.3)
    hurried.sync(7)
    assert hurried.device(7, wait=0).is_pending
    assert not hurried.device(7, wait=5).is_pending
    hurried.sync_all()
    stats = hurried.stats(wait=5, history=10)
    assert (stats.attempts, stats.pending) == (11, 0)
    assert stats.history is not None


def test_its_base_url_is_that_of_its_fleet(
    pisync: FleetClient, pisync_server: RunningServer
) -> None:
    assert pisync.base_url == f"{pisync_server.url}/fleets/{pisync.fleet}"
    request = Request(  # noqa: S310 - of our own server
        f"{pisync.base_url}/devices/7/sync",
        headers={"Authorization": f"Bearer {pisync.token}"},
        method="POST",
    )
    with urlopen(request) as answer:  # noqa: S310 - of our own server
        assert urljoin(request.full_url, answer.headers["Location"]) == (
            f"{pisync.base_url}/devices/7"
        )
    assert pisync.stats().attempts == 1


def test_a_token_that_is_bound_to_its_fleet_does_all_that_it_needs(
    pisync_server: RunningServer,
) -> None:
    name = "bound-client"
    token = pisync_server.token("devices", "admin", fleet=name)
    mine = FleetClient(pisync_server.url, name, token=token)
    mine.replace(3)
    mine.sync_all()
    assert mine.settle().finished == 3
    assert mine.ledger().balanced
    other = FleetClient(pisync_server.url, "default", token=token)
    for call in (other.stats, other.ledger, other.delete):
        with pytest.raises(CallFailed, match="for the fleet bound-client alone") as refused:
            call()
        assert refused.value.status == 403
    mine.delete()


def test_sends_datetimes_of_any_zone_and_none_without(pisync: FleetClient) -> None:
    here = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    pisync.replace([{"device_id": 1, "last_sync_at": here}])
    assert pisync.device(1).last_sync_at == NOON
    with pytest.raises(TypeError, match="time zone"):
        pisync.replace([{"device_id": 1, "last_sync_at": NOON.replace(tzinfo=None)}])
    with pytest.raises(TypeError, match="neither JSON"):
        pisync.change_profile({"seed": Path()})


def test_syncs_begin_once_for_a_key(pisync: FleetClient) -> None:
    first = pisync.sync(7, idempotency_key="one")
    many = pisync.sync_listed([1, 2], idempotency_key="listed")
    pisync.settle()
    assert pisync.sync(7, idempotency_key="one") == first
    assert pisync.sync_listed([1, 2], idempotency_key="listed") == many
    every = pisync.sync_all(idempotency_key="all")
    assert pisync.sync_all(idempotency_key="all") == every == BulkResult(10, 0, 0, [])
    assert pisync.ledger().accepted == 13
    with pytest.raises(CallFailed, match="422"):
        pisync.sync(8, idempotency_key="one")


def test_syncs_one_listed_all_and_those_of_a_status(pisync: FleetClient) -> None:
    pisync.manual_clock()
    first = pisync.sync(3)
    assert first == Accepted(1, pisync.device(3))
    assert first.device.is_pending
    assert first.device.sync_status_code == 202
    assert pisync.sync(3) == first
    assert pisync.sync_listed([3, 4, 99]) == BulkResult(1, 1, 0, [99])
    assert pisync.sync_all(status=[200]) == BulkResult(8, 0, 0, [])
    assert pisync.sync_all() == BulkResult(0, 10, 0, [])
    assert pisync.settle().finished == 10
    assert pisync.sync(3).attempt == 2
    assert not pisync.device(4).is_pending


def test_waits_until_a_sync_is_over(pisync: FleetClient) -> None:
    pisync.script(7, [{"sync_status_code": 500, "error_message": "Gone", "delay": 0.3}])
    pisync.sync(7)
    began = time.monotonic()
    # Over several requests, each of which may take little of that time.
    assert replace(pisync, timeout=0.2).wait_for(7).error_message == "Gone"
    assert 0.29 < time.monotonic() - began < 10
    assert pisync.wait_for(7, timeout=0).error_message == "Gone"
    pisync.script(7, [{"hold": True}])
    pisync.sync(7)
    with pytest.raises(TimeoutError, match=r"device 7 .* after 0.2 seconds"):
        pisync.wait_for(7, timeout=0.2)


def test_waits_until_all_syncs_are_over_but_for_what_is_held(pisync: FleetClient) -> None:
    step = {"sync_status_code": 200, "delay": 0.3}
    pisync.script(1, [step])
    pisync.script(2, [{"hold": True}])
    pisync.script(3, [{**step, "delay": 3600}])
    pisync.sync_listed([1, 2])
    stats = pisync.wait_for_all()
    assert (stats.pending, stats.succeeded) == (1, 1)
    pisync.sync(3)
    with pytest.raises(TimeoutError, match=r"2 syncs are still pending after 0.2 seconds"):
        pisync.wait_for_all(timeout=0.2)
    pisync.auto_clock()
    assert pisync.wait_for_all().pending == 1


@pytest.mark.pisync(devices=2_050)
def test_reads_all_pages(pisync: FleetClient) -> None:
    assert [each.device_id for each in pisync.devices()] == list(range(1, 2_051))
    pisync.change_profile({"outcomes": [{**STORAGE_FULL, "weight": 1}]})
    pisync.sync_all()
    pisync.settle()
    assert len(pisync.devices(status=[400])) == 2_050
    assert [each.error_id for each in pisync.errors()] == list(range(2_050, 0, -1))


def test_reads_errors_by_device_code_and_time(pisync: FleetClient) -> None:
    start = pisync.manual_clock().now
    pisync.script(1, [TIMEOUT, {**STORAGE_FULL, "delay": 0}])
    pisync.script(2, [TIMEOUT])
    pisync.sync_listed([1, 2])
    pisync.advance(2.5)
    pisync.sync(1)
    later = pisync.advance(1).now
    assert later == start + timedelta(seconds=3.5)
    newest, *others = pisync.errors()
    assert newest == ErrorLog(3, 1, 2, 400, "Storage Full", start + timedelta(seconds=2.5))
    assert {(each.device_id, each.attempt) for each in others} == {(1, 1), (2, 1)}
    assert pisync.errors(status=400) == [newest]
    assert len(pisync.errors(device_id=1)) == 2
    assert pisync.errors(device_id=2, status=400) == []
    assert pisync.errors(since=later) == []
    assert len(pisync.errors(since=start)) == 3


def test_the_last_seconds_in_stats(pisync: FleetClient) -> None:
    pisync.manual_clock()
    pisync.script(1, [TIMEOUT])
    pisync.script(2, [SUCCESS])
    before = datetime.now(UTC)
    pisync.sync_listed([1, 2])
    pisync.settle()
    # The present second is not there before it has ended.
    while not (history := pisync.stats(history=60).history) or not any(history.failed):
        assert datetime.now(UTC) - before < timedelta(seconds=30)
        time.sleep(0.1)
    counts = (history.started, history.succeeded, history.failed)
    assert [sum(each) for each in counts] == [2, 1, 1]
    assert {len(each) for each in counts} == {60}
    assert datetime.now(UTC) - history.start >= timedelta(seconds=60)
    assert before - history.start <= timedelta(seconds=61)
    assert pisync.stats().history is None
    with pytest.raises(CallFailed) as refused:
        pisync.stats(history=0)
    assert refused.value.status == 422


def test_an_attempt_is_pending_in_as_many_reads_as_its_step_has_polls(pisync: FleetClient) -> None:
    outcome = {"sync_status_code": 500, "error_message": "Connection Timeout"}
    pisync.script(7, [{**outcome, "polls": 2}])
    pisync.sync(7)
    seen = [pisync.device(7).sync_status_code, pisync.devices()[6].sync_status_code]
    assert [*seen, pisync.device(7).sync_status_code] == [202, 202, 500]


def test_counts_in_stats_and_ledger(pisync: FleetClient) -> None:
    pisync.manual_clock()
    pisync.script(1, [TIMEOUT, {"hold": True}])
    pisync.script(2, [SUCCESS])
    pisync.sync_listed([1, 2])
    pisync.settle()
    pisync.sync(1)
    pisync.sync(1)
    assert pisync.stats() == Stats(
        devices=10,
        pending=1,
        by_status={200: 9, 202: 1, 400: 0, 404: 0, 500: 0},
        attempts=3,
        succeeded=1,
        failed=1,
        error_logs=1,
    )
    ledger = pisync.ledger()
    assert ledger == Ledger(
        accepted=3,
        joined=1,
        refused=0,
        succeeded=1,
        failed={500: {"Connection Timeout": 1}},
        pending=1,
        held=1,
        error_logs=1,
        lateness=ledger.lateness,
        balanced=True,
        faults={"before": {}, "after": {}},
    )
    assert ledger.lateness.max == 0


def test_tells_how_late_syncs_finished_by_themselves(pisync: FleetClient) -> None:
    pisync.script(1, [{**SUCCESS, "delay": 0}])
    began = time.monotonic()
    pisync.sync(1)
    wait_until(lambda: not pisync.device(1).is_pending)
    seen_after = time.monotonic() - began
    lateness = pisync.ledger().lateness
    assert 0 < lateness.p50 == lateness.p99 == lateness.max < seen_after


def test_makes_changes_resets_and_deletes_the_fleet(pisync: FleetClient) -> None:
    made = pisync.replace(3, {"seed": 99})
    assert (made.name, made.devices, made.seed) == (pisync.fleet, 3, 99)
    assert made.profile["when_pending"] == "join"
    changed = pisync.change_profile({"when_pending": "refuse"})
    assert changed.profile == {**made.profile, "when_pending": "refuse"}
    pisync.sync_all()
    assert pisync.stats().attempts == 3
    pisync.reset()
    assert pisync.stats().attempts == 0
    assert pisync.view().profile == changed.profile
    pisync.delete()
    with pytest.raises(CallFailed, match="404: There is no such fleet"):
        pisync.view()


def test_a_fleet_made_without_a_seed_draws_one_and_shows_it(pisync: FleetClient) -> None:
    seeds = {pisync.replace().seed for _ in range(3)}
    assert len(seeds) == 3


def test_runs_the_fleets_time(pisync: FleetClient) -> None:
    assert pisync.auto_clock().mode == "auto"
    manual = pisync.manual_clock()
    assert (manual.mode, manual.speed) == ("manual", 0)
    assert pisync.advance(0.5).now == manual.now + timedelta(seconds=0.5)
    assert pisync.view().clock.now == manual.now + timedelta(seconds=0.5)
    fast = pisync.real_clock(speed=1000)
    assert (fast.mode, fast.speed) == ("real", 1000)
    assert pisync.real_clock().speed == 1
    assert pisync.view().clock.now > fast.now


def test_scripts_holds_and_releases(pisync: FleetClient) -> None:
    pisync.script(5, [{"hold": True, "sticky": True}])
    pisync.sync(5)
    assert pisync.settle().finished == 0
    assert pisync.release(5).sync_status_code == 200
    pisync.sync(5)
    released = pisync.release(5, 500, "Connection Timeout")
    assert (released.sync_status_code, released.error_message) == (500, "Connection Timeout")
    pisync.end_script(5)
    pisync.sync(5)
    pisync.settle()
    assert not pisync.device(5).is_pending


def test_forecasts_what_then_happens(pisync: FleetClient) -> None:
    expected = pisync.forecast(6, attempts=3)
    assert [each.attempt for each in expected] == [1, 2, 3]
    assert pisync.forecast(6, attempts=1, first=2) == [expected[1]]
    start = pisync.manual_clock().now
    pisync.sync(6)
    moved = pisync.settle()
    device = pisync.device(6)
    assert expected[0] == Forecast(
        1,
        device.sync_status_code,
        device.error_message,
        (moved.now - start).total_seconds(),
    )


def test_an_error_answer_says_status_message_and_fields(pisync: FleetClient) -> None:
    with pytest.raises(CallFailed) as failure:
        pisync.change_profile({"delay": {"distribution": "constant", "seconds": -1}})
    assert failure.value.status == 422
    assert failure.value.message == "1 field is not valid."
    assert list(failure.value.errors) == ["profile.delay.seconds"]
    assert "profile.delay.seconds" in str(failure.value)
    with pytest.raises(CallFailed) as failure:
        pisync.advance(1)
    assert (failure.value.status, failure.value.errors) == (409, {})


def test_shows_no_token(pisync: FleetClient) -> None:
    assert pisync.admin_token
    assert pisync.token not in repr(pisync)
    assert pisync.admin_token not in repr(pisync)


def test_one_token_with_both_scopes_will_do(
    pisync: FleetClient, pisync_server: RunningServer
) -> None:
    token = pisync_server.token("devices", "admin")
    same = FleetClient(pisync.url, pisync.fleet, token=token)
    assert same.view().name == pisync.fleet
    assert same.device(1) == pisync.device(1)


def test_device_calls_need_no_more_than_the_scope_devices(
    pisync: FleetClient, pisync_server: RunningServer
) -> None:
    user = FleetClient(pisync.url, pisync.fleet, token=pisync_server.token("devices"))
    assert user.sync(1).attempt == 1
    with pytest.raises(CallFailed, match="403"):
        user.reset()


def test_may_be_shared_by_threads(pisync: FleetClient) -> None:
    pisync.manual_clock()
    with ThreadPoolExecutor(8) as pool:
        attempts = list(pool.map(lambda n: pisync.sync(n % 10 + 1).attempt, range(80)))
    assert attempts == [1] * 80
    ledger = pisync.ledger()
    assert (ledger.accepted, ledger.joined) == (10, 70)


@contextmanager
def elsewhere(status: int, body: bytes) -> Iterator[tuple[FleetClient, list[str]]]:
    """Something else that speaks HTTP, and the paths that it is asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/below/"
            yield FleetClient(url, token="a token"), paths
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"[]", b"{}", b""])
def test_a_proxys_error_is_an_error_too(body: bytes) -> None:
    with (
        elsewhere(502, body) as (client, _),
        pytest.raises(CallFailed, match="502: Bad Gateway") as failure,
    ):
        client.stats()
    assert failure.value.errors == {}


def test_calls_below_the_path_of_its_url_and_takes_fields_that_it_does_not_know() -> None:
    answer = {"device_id": 1, "last_sync_at": None, "sync_status_code": 200, "colour": "green"}
    answer |= {"error_message": None, "last_attempt_at": "2025-06-02T12:00:00.250000Z"}
    with elsewhere(200, json.dumps(answer).encode()) as (client, paths):
        assert client.device(1) == Device(1, None, 200, None, NOON)
    assert paths == ["/below/devices/1"]


def test_no_answer_is_an_oserror() -> None:
    with elsewhere(200, b"") as (gone, _):
        pass
    with pytest.raises(ConnectionRefusedError):
        gone.stats()


def test_speaks_tls_where_the_url_says_so(pisync: FleetClient) -> None:
    tls = FleetClient(pisync.url.replace("http:", "https:"), token=pisync.token)
    with pytest.raises(OSError, match=r"(?i)ssl"):
        tls.stats()


def wait_until(condition: Callable[[], bool]) -> None:
    ticks = threading.Event()
    for _ in range(2000):
        if condition():
            return
        ticks.wait(0.01)
    pytest.fail("it never came true")


def test_a_snapshot_or_a_copy_goes_on_from_there(pisync: FleetClient, tmp_path: Path) -> None:
    pisync.manual_clock()
    pisync.sync_all()
    document = pisync.snapshot()
    desk = FleetClient(pisync.url, "desk", token=pisync.token, admin_token=pisync.admin_token)
    try:
        assert desk.restore(document).name == "desk"
        assert desk.devices() == pisync.devices()
        assert desk.settle().finished == 10
        (tmp_path / "fleet.ndjson").write_bytes(document)
        with (tmp_path / "fleet.ndjson").open("rb") as file:
            desk.restore(file)
        assert desk.stats().pending == 10
        with pytest.raises(CallFailed) as refused:
            desk.restore(document[:-9])
        assert refused.value.status == 422
        assert list(refused.value.errors) == ["line 12"]
        pisync.settle()
        assert pisync.copy("desk").clock.mode == "manual"
        assert desk.devices() == pisync.devices()
    finally:
        desk.delete()
