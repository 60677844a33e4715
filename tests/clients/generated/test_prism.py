"""prism's proxy, which compares requests and answers with the OpenAPI document."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from pisync.client import FleetClient
from pisync.in_process import SETTINGS, running_server
from tests.support.documented import DOCUMENT
from tests.support.node import environment, interop_tool
from tools.ports import free_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]  # it may have to install packages

VIOLATION = "https://stoplight.io/prism/errors"
JSON = "application/json"


@dataclass(frozen=True)
class Proxy:
    url: str
    admin: str


@pytest.fixture
def proxy(document: Path) -> Iterator[Proxy]:
    """A proxy that answers 500 where the document is broken."""
    port = str(free_port())
    command = [interop_tool("prism"), "proxy", "--errors", "--port", port, str(document)]
    with (
        running_server(SETTINGS) as server,
        subprocess.Popen(
            [*command, server.url], stdout=subprocess.PIPE, text=True, env=environment()
        ) as process,
    ):
        assert process.stdout
        try:
            assert any("is listening on" in line for line in process.stdout)
            yield Proxy(f"http://127.0.0.1:{port}", server.token("devices", "admin", name="admin"))
        finally:
            process.terminate()


def test_pythons_client_meets_no_violation(proxy: Proxy) -> None:
    fleet = FleetClient(proxy.url, token=proxy.admin, admin_token=proxy.admin, fleet="mine")
    fleet.replace(devices=20, profile={"seed": 7})
    fleet.manual_clock()
    fleet.script(3, [{"sync_status_code": 500, "error_message": "No", "delay": 1}, {"hold": True}])
    assert fleet.sync(3).attempt == 1
    assert fleet.sync_listed([4, 999]).not_found == [999]
    assert fleet.sync_all().joined == 2
    fleet.advance(3600)
    assert fleet.errors(status=500)
    assert fleet.devices(status=[200, 500])
    assert len(fleet.forecast(3, attempts=5)) == 5
    assert fleet.stats().pending == 0
    assert fleet.ledger().balanced


def resolved(parameter: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in parameter:
        return parameter
    found: dict[str, Any] = DOCUMENT["components"]["parameters"]
    return dict(found[parameter["$ref"].rpartition("/")[2]])


def example(described: dict[str, Any]) -> Any:
    """The first example that a parameter or a body has; a required number without one is small."""
    if "examples" in described:
        return next(iter(described["examples"].values()))["value"]
    return described["example"] if "example" in described else described["schema"]["minimum"]


def calls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and body of every call that ends by itself, those that take away at the end.

    The body is as `requests` takes it.
    """
    for methods in (("get", "put", "post"), ("patch", "delete")):
        for path, operations in DOCUMENT["paths"].items():
            for method in (method for method in methods if method in operations):
                call = operations[method]
                if "text/event-stream" in str(call["responses"]):
                    continue
                needed = [
                    part for part in map(resolved, call["parameters"]) if part.get("required")
                ]
                values = {part["name"]: example(part) for part in needed}
                query = {
                    part["name"]: values[part["name"]] for part in needed if part["in"] == "query"
                }
                content = call.get("requestBody", {}).get("content", {})
                body: dict[str, Any] = {}
                if JSON in content:
                    body = {"json": example(content[JSON])}
                elif content:
                    body = {"data": "{}", "headers": {"Content-Type": next(iter(content))}}
                yield method, f"{path.format(**values)}?{urlencode(query)}", body


def test_the_documents_own_examples_meet_no_violation(proxy: Proxy) -> None:
    statuses = set()
    for method, path, body in calls():
        body["headers"] = body.get("headers", {}) | {"Authorization": f"Bearer {proxy.admin}"}
        answer = requests.request(method, proxy.url + path, timeout=60, **body)
        assert VIOLATION not in answer.text, f"{method} {path}: {answer.text}"
        statuses.add(answer.status_code)
    assert {200, 201, 202, 204} <= statuses
