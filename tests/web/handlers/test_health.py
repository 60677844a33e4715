import asyncio
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pisync import keys
from pisync.concurrency.shared import PER_WINDOW, WINDOW_SECONDS
from pisync.model import bounds
from pisync.model.bounds import Bound
from pisync.stores.errors import StoreUnavailable
from pisync.telemetry.metrics import Metrics
from tests.conftest import Api
from tests.support.waiting import eventually


def values(text: bytes) -> dict[str, float]:
    """All samples by name and labels, as written."""
    return {
        sample.name
        + "".join(sorted(f"{{{k}={v}}}" for k, v in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def metrics_of(api: Api) -> Metrics:
    assert api.client.app is not None
    metrics: Metrics = api.client.app[keys.METRICS]
    return metrics


@pytest.fixture
def store_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the store out of reach."""

    async def unreachable(*_: Any) -> None:
        raise StoreUnavailable

    assert api.client.app is not None
    store = api.client.app[keys.STORE]
    with monkeypatch.context() as patch:
        patch.setattr(store, "ping", unreachable)
        patch.setattr(store.queries, "pending", unreachable)
        yield


async def test_a_running_process_is_live(api: Api) -> None:
    answer = await api.get("/livez")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_a_server_that_can_serve_is_ready(api: Api) -> None:
    answer = await api.get("/readyz")
    assert (answer.status, answer.json) == (200, {"status": "ready"})


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_head_is_answered_like_get(path: str, api: Api) -> None:
    answer = await api.call("HEAD", path)
    assert answer.status == 200
    assert answer.body == b""
    assert answer.headers["Content-Type"] == (await api.get(path)).headers["Content-Type"]


async def test_a_server_about_to_stop_is_live_but_not_ready(api: Api) -> None:
    assert api.client.app is not None
    api.client.app[keys.DRAINING].set()
    answer = (await api.get("/readyz")).assert_problem(503)
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await api.get("/livez")).status == 200


@pytest.mark.usefixtures("store_away")
async def test_without_its_store_a_server_is_live_but_not_ready(api: Api) -> None:
    answer = (await api.get("/readyz")).assert_problem(503)
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await api.get("/livez")).status == 200


@pytest.mark.usefixtures("store_away")
async def test_metrics_are_there_without_the_store(api: Api) -> None:
    answer = await api.get("/metrics")
    assert answer.status == 200
    assert "pisync_syncs_pending" in values(answer.body)


async def test_metrics_are_prometheus_text(api: Api) -> None:
    answer = await api.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert answer.headers["Content-Type"].endswith("charset=utf-8")


OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.mark.parametrize(
    ("accepted", "content_type"),
    [
        ("*/*", "text/plain"),
        ("text/html", "text/plain"),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", OPENMETRICS),
        # Prometheus 3's own.
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.2",
            OPENMETRICS,
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["gzip", "identity", "gzip;q=0"])
async def test_metrics_come_in_the_form_that_is_asked_for(
    accepted: str, content_type: str, encoding: str, api: Api
) -> None:
    headers = {"Accept": accepted, "Accept-Encoding": encoding}
    answer = await api.get("/metrics", headers=headers)
    assert answer.headers["Content-Type"].startswith(content_type)
    assert answer.headers["Vary"].startswith("Accept, Accept-Encoding")
    assert answer.headers.get("Content-Encoding") == ("gzip" if encoding == "gzip" else None)
    if content_type == OPENMETRICS:
        text = answer.body.decode()
        families = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        assert "pisync_syncs" in {family.name for family in families}
    else:
        assert "pisync_syncs_pending" in values(answer.body)


async def test_metrics_tell_what_happened(user: Api) -> None:
    assert (await user.post("/devices/1/sync")).status == 202
    assert (await user.post("/devices/1/sync")).status == 202
    assert values((await user.get("/metrics")).body)["pisync_syncs_pending"] == 1
    metrics = metrics_of(user)
    await eventually(lambda: values(metrics.render())["pisync_sync_lateness_seconds_count"] > 0)
    found = values((await user.get("/metrics")).body)
    assert found["pisync_syncs_total{result=started}"] == 1
    assert found["pisync_syncs_total{result=joined}"] == 1
    assert found["pisync_syncs_pending"] == 0
    finished = [found[f"pisync_syncs_finished_total{{status={s}}}"] for s in (200, 400, 404, 500)]
    assert sorted(finished) == [0, 0, 0, 1]
    assert found["pisync_sync_lateness_seconds_count"] == 1
    synced = "{method=POST}{route=/devices/{device_id}/sync}{status=202}"
    assert found["pisync_requests_total" + synced] == 2


async def test_metrics_tell_of_logins_and_their_hashing(api: Api) -> None:
    account = {"username": "alice", "password": "correct horse"}
    await api.post("/register", account)
    await api.post("/login", account)
    await api.post("/login", account | {"password": "wrong horse"})
    # The admin's password is hashed beside all this, at the start.
    metrics = metrics_of(api)
    await eventually(lambda: values(metrics.render())["pisync_bcrypt_queue"] == 0)
    found = values((await api.get("/metrics")).body)
    assert found["pisync_logins_total{outcome=ok}"] == 1
    assert found["pisync_logins_total{outcome=wrong}"] == 1
    assert found["pisync_bcrypt_duration_seconds_count"] >= 3
    assert found["pisync_bcrypt_queue"] == 0


async def test_the_event_loop_lag_is_sampled(api: Api) -> None:
    metrics = metrics_of(api)
    await eventually(lambda: values(metrics.render())["pisync_event_loop_lag_seconds_count"] > 0)


@pytest.mark.parametrize(("path", "question"), [("/metrics", "pending"), ("/readyz", "ping")])
async def test_many_who_ask_at_once_cost_little_more_than_one(
    path: str, question: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.client.app is not None
    app = api.client.app
    store = app[keys.STORE] if question == "ping" else app[keys.SIMULATOR].queries
    ask, asked = getattr(store, question), 0

    async def counting() -> object:
        nonlocal asked
        asked += 1
        return await ask()

    monkeypatch.setattr(store, question, counting)
    began = monotonic()
    answers = await asyncio.gather(*(api.get(path) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert asked <= PER_WINDOW * (1 + (monotonic() - began) // WINDOW_SECONDS)


async def test_metrics_have_every_bound_and_how_much_is_used(admin: Api) -> None:
    await admin.put("/admin/fleets/lab", {"devices": 5})
    found = values((await admin.get("/metrics")).body)
    named = {bound.name: bound.size for bound in vars(bounds).values() if isinstance(bound, Bound)}
    # As many connections as there may be open files, and no heads where there is no fast path.
    assert found["pisync_bound{bound=connections}"] <= named.pop("connections")
    del named["head_bytes"]
    for name, size in named.items():
        assert found[f"pisync_bound{{bound={name}}}"] == size
        assert 0 <= found[f"pisync_bound_used{{bound={name}}}"] <= size
    assert found["pisync_bound_used{bound=connections}"] >= 1
    assert found["pisync_bound_used{bound=devices}"] == 15
    assert found["pisync_bound_used{bound=fleets}"] == 2
