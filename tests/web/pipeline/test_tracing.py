"""Traces, as a collector gets them."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from pisync.app import CannotStart, create_app
from tests.conftest import SETTINGS, MakeApi

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Collector:
    """A server that takes traces by OTLP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        for of_resource in ExportTraceServiceRequest.FromString(
            await request.read()
        ).resource_spans:
            self.services |= {
                each.value.string_value
                for each in of_resource.resource.attributes
                if each.key == "service.name"
            }
            for scope in of_resource.scope_spans:
                self.spans += scope.spans
        return web.Response()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    made = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    async with TestServer(app) as server:
        yield made, str(server.make_url("/"))


def values(span: Span) -> dict[str, object]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def test_each_request_is_a_span_of_its_callers_trace(
    make_api: MakeApi, collector: tuple[Collector, str]
) -> None:
    received, endpoint = collector
    api = (await make_api(otlp_endpoint=endpoint)).as_("devices")
    caller = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    answer = await api.post("/devices/7/sync", headers=caller)
    assert answer.status == 202
    await api.get("/devices/999")
    await api.get("/no/such/place")
    await api.client.close()  # what is left is sent then

    assert received.services == {"pisync"}
    sync, missing, nowhere = received.spans
    assert sync.name == "POST /devices/{device_id}/sync"
    assert sync.kind == Span.SPAN_KIND_SERVER
    assert (sync.trace_id.hex(), sync.parent_span_id.hex()) == (TRACE, CALLER)
    assert values(sync) == {
        "http.request.method": "POST",
        "http.route": "/devices/{device_id}/sync",
        "http.response.status_code": 202,
        "url.path": "/devices/7/sync",
        "url.scheme": "http",
        "pisync.request_id": answer.headers["X-Request-ID"],
    }
    assert missing.parent_span_id == b""
    assert values(missing)["http.response.status_code"] == 404
    assert missing.status.code == Status.STATUS_CODE_UNSET
    assert nowhere.name == "GET unmatched"


async def test_the_service_s_name_is_the_one_of_the_environment(
    make_api: MakeApi, collector: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pisync-staging")
    received, endpoint = collector
    api = await make_api(otlp_endpoint=endpoint)
    await api.get("/livez")
    await api.client.close()
    assert received.services == {"pisync-staging"}


async def test_a_collector_that_is_away_costs_neither_requests_nor_the_end(
    make_api: MakeApi,
) -> None:
    api = await make_api(otlp_endpoint="http://127.0.0.1:9")
    assert (await api.get("/livez")).status == 200
    async with asyncio.timeout(6):
        await api.client.close()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pisync.web.pipeline.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(CannotStart, match=r"pisync-server\[otel\]"):
        create_app(replace(SETTINGS, otlp_endpoint="http://127.0.0.1:9"))


def test_when_they_are_off_nothing_is_imported_and_no_request_passes_more() -> None:
    script = """if True:
        import sys
        from pisync.app import create_app
        from pisync.config.settings import Settings
        app = create_app(Settings())
        print(len(app.middlewares), any("opentelemetry" in name for name in sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", "False"]
