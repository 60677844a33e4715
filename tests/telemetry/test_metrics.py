import asyncio
import time
from contextlib import suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pisync import __version__
from pisync.model.sync import SyncDecision
from pisync.telemetry.metrics import (
    Format,
    Login,
    Metrics,
    sample_lag,
)
from tests.support.waiting import eventually


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def test_requests_are_counted_and_timed_by_route_method_and_status() -> None:
    metrics = Metrics()
    metrics.request("/devices", "GET", 200, 0.0004)
    metrics.request("/devices", "GET", 200, 0.03)
    metrics.request("/devices", "GET", 304, 0.0004)
    ok = {"route": "/devices", "method": "GET", "status": "200"}
    assert value(metrics, "pisync_requests_total", **ok) == 2
    assert value(metrics, "pisync_requests_total", **ok | {"status": "304"}) == 1
    assert value(metrics, "pisync_request_duration_seconds_count", **ok) == 2
    assert value(metrics, "pisync_request_duration_seconds_sum", **ok) == pytest.approx(0.0304)
    assert value(metrics, "pisync_request_duration_seconds_bucket", le="0.0005", **ok) == 1


def test_invented_methods_share_one_label() -> None:
    metrics = Metrics()
    for method in ("PROPFIND", "BREW", "get", "UNKNOWN"):
        metrics.request("unmatched", method, 405, 0.001)
    labels = {"route": "unmatched", "method": "other", "status": "405"}
    assert value(metrics, "pisync_requests_total", **labels) == 4


def test_syncs_are_counted_by_what_came_of_them() -> None:
    metrics = Metrics()
    metrics.began(SyncDecision.STARTED, 5)
    metrics.began(SyncDecision.JOINED)
    metrics.began(SyncDecision.PENDING)
    metrics.began(SyncDecision.FULL, 2)
    metrics.began(SyncDecision.UNKNOWN)
    counted = {
        labels: count
        for (name, labels), count in samples(metrics).items()
        if name == "pisync_syncs_total"
    }
    assert counted == {
        frozenset({("result", "started")}): 5,
        frozenset({("result", "joined")}): 1,
        frozenset({("result", "refused")}): 3,
    }


def test_finished_syncs_are_counted_by_status_code() -> None:
    metrics = Metrics()
    metrics.finished(200, 3)
    metrics.finished(404)
    assert value(metrics, "pisync_syncs_finished_total", status="200") == 3
    assert value(metrics, "pisync_syncs_finished_total", status="404") == 1
    assert value(metrics, "pisync_syncs_finished_total", status="500") == 0


def test_lateness_has_buckets_from_a_millisecond_to_a_minute() -> None:
    metrics = Metrics()
    metrics.late((0.0009, 0.02))
    metrics.late((59.0, 61.0))
    name = "pisync_sync_lateness_seconds_bucket"
    assert value(metrics, name, le="0.001") == 1
    assert value(metrics, name, le="0.025") == 2
    assert value(metrics, name, le="60.0") == 3
    assert value(metrics, name, le="+Inf") == 4


def test_gauges_show_the_last_value() -> None:
    metrics = Metrics()
    metrics.pending(7)
    metrics.pending(3)
    metrics.hashing(2)
    assert value(metrics, "pisync_syncs_pending") == 3
    assert value(metrics, "pisync_bcrypt_queue") == 2


def test_hashing_is_timed_and_logins_are_counted() -> None:
    metrics = Metrics()
    metrics.hashed(0.28)
    metrics.login(Login.OK)
    metrics.login(Login.THROTTLED)
    metrics.login(Login.THROTTLED)
    assert value(metrics, "pisync_bcrypt_duration_seconds_bucket", le="0.2") == 0
    assert value(metrics, "pisync_bcrypt_duration_seconds_bucket", le="0.3") == 1
    assert value(metrics, "pisync_logins_total", outcome="ok") == 1
    assert value(metrics, "pisync_logins_total", outcome="wrong") == 0
    assert value(metrics, "pisync_logins_total", outcome="throttled") == 2


def test_the_version_and_the_process_are_told() -> None:
    metrics = Metrics()
    assert value(metrics, "pisync_info", version=__version__) == 1
    assert value(metrics, "process_resident_memory_bytes") > 1_000_000


def test_two_applications_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.finished(200)
    assert value(one, "pisync_syncs_finished_total", status="200") == 1
    assert value(other, "pisync_syncs_finished_total", status="200") == 0


def test_the_content_type_is_prometheus_text() -> None:
    assert Format.TEXT.value.startswith("text/plain; version=")


async def test_a_blocked_event_loop_shows_as_lag() -> None:
    metrics = Metrics()
    sampler = asyncio.create_task(sample_lag(metrics, interval=0.01))
    await asyncio.sleep(0)  # it sleeps now
    time.sleep(0.12)  # noqa: ASYNC251 - blocking is what is tested
    await eventually(lambda: value(metrics, "pisync_event_loop_lag_seconds_count") > 0)
    sampler.cancel()
    with suppress(asyncio.CancelledError):
        await sampler
    assert value(metrics, "pisync_event_loop_lag_seconds_sum") >= 0.1
    assert value(metrics, "pisync_event_loop_lag_seconds_bucket", le="0.1") == 0
