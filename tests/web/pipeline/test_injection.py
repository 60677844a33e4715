"""What four kinds of clients see of each fault, on real sockets."""

import asyncio
import http.client
import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from pisync.client import FleetClient
from tests.support.waiting import eventually

Seen = str
"""What became of a request: its status, or a word for what broke."""


def by_python(fleet: FleetClient, path: str) -> Seen:
    connection = http.client.HTTPConnection(urlsplit(fleet.url).netloc, timeout=5)
    try:
        connection.request("POST", path, headers=dict(fleet.headers))
        response = connection.getresponse()
        response.read()
    except ConnectionResetError as exc:
        closed = isinstance(exc, http.client.RemoteDisconnected)
        return "closed" if closed else "reset"
    except http.client.BadStatusLine:
        return "garbage"
    except http.client.IncompleteRead:
        return "cut off"
    finally:
        connection.close()
    return str(response.status)


def by_aiohttp(fleet: FleetClient, path: str) -> Seen:
    async def get() -> Seen:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.post(fleet.url + path, headers=fleet.headers) as response:
                    await response.read()
                    return str(response.status)
            except aiohttp.ClientPayloadError:
                return "cut off"
            except aiohttp.ServerDisconnectedError:
                return "closed"
            except aiohttp.ClientResponseError:
                return "garbage"
            except aiohttp.ClientOSError:
                return "reset"

    return asyncio.run(get())


_CURL = {0: "", 1: "garbage", 18: "cut off", 52: "closed", 56: "reset"}


def by_curl(fleet: FleetClient, path: str) -> Seen:
    headers = [f"-H{name}: {value}" for name, value in fleet.headers.items()]
    done = subprocess.run(
        ["curl", "-s", "-XPOST", "-o/dev/null", "-w%{http_code}", *headers, fleet.url + path],
        check=False,
        capture_output=True,
        text=True,
    )
    return _CURL.get(done.returncode, f"curl {done.returncode}") or done.stdout


_FETCH = """
const [url, headers] = JSON.parse(process.argv[1]);
try {
  const response = await fetch(url, { method: "POST", headers });
  await response.arrayBuffer();
  console.log(response.status);
} catch (error) {
  console.log(error.cause?.code ?? error.message);
}
"""
_NODE = {
    "ECONNRESET": "reset",
    "UND_ERR_SOCKET": "closed",
    "HPE_INVALID_CONSTANT": "garbage",
    "HPE_INVALID_METHOD": "garbage",
}


def by_node(fleet: FleetClient, path: str) -> Seen:
    argument = json.dumps([fleet.url + path, fleet.headers])
    done = subprocess.run(
        ["node", "--input-type=module", "-e", _FETCH, argument],
        check=True,
        capture_output=True,
        text=True,
    )
    return _NODE.get(done.stdout.strip(), done.stdout.strip())


CLIENTS: dict[str, Callable[[FleetClient, str], Seen]] = {
    "python": by_python,
    "aiohttp": by_aiohttp,
    "curl": by_curl,
    "node": by_node,
}
FAULTS: list[tuple[dict[str, Any], Seen]] = [
    ({"kind": "delay", "delay": {"distribution": "constant", "seconds": 0.05}}, "202"),
    ({"kind": "status", "status": 503}, "503"),
    ({"kind": "reset"}, "reset"),
    ({"kind": "close"}, "closed"),
    ({"kind": "truncate"}, "cut off"),
    ({"kind": "garbage"}, "garbage"),
    ({"kind": "drip", "bytes": 1000, "every": 0.02}, "202"),
]


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_sees_each_fault_as_what_it_is(pisync: FleetClient, name: str) -> None:
    if name in {"curl", "node"} and shutil.which(name) is None:
        pytest.skip(f"{name} is not here")
    seen = {}
    for fault, _ in FAULTS:
        pisync.set_faults([{"calls": ["sync"], "first": 1, "fault": fault}])
        seen[fault["kind"]] = CLIENTS[name](pisync, "/devices/7/sync")
        # Once, and then never again.
        assert CLIENTS[name](pisync, "/devices/7/sync") == "202"
    expected = {fault["kind"]: word for fault, word in FAULTS}
    if name == "node":
        # To fetch, a body that is cut off is a socket that the other side has closed.
        expected["truncate"] = seen["truncate"]
        assert seen["truncate"] in {"closed", "terminated"}
    assert seen == expected


def slow(seconds: float) -> dict[str, Any]:
    return {"kind": "delay", "delay": {"distribution": "constant", "seconds": seconds}}


def sync_over_socket(fleet: FleetClient, timeout: float = 5, *, ends: bool = False) -> bytes:
    """Sync device 7 over a socket of one's own; return all that comes.

    `ends` says that nothing more is sent.
    """
    parts = urlsplit(fleet.url)
    assert parts.hostname
    lines = [f"{name}: {value}" for name, value in {"Host": "localhost", **fleet.headers}.items()]
    received = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as connection:
        head = "\r\n".join(["POST /devices/7/sync HTTP/1.1", *lines, "Connection: close", "", ""])
        connection.sendall(head.encode())
        if ends:
            connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            received += data
    return received


@pytest.mark.parametrize(
    "fault", [{"kind": "reset"}, {"kind": "close"}, {"kind": "status", "status": 500}]
)
def test_before_nothing_begins_and_after_the_retry_joins(
    pisync: FleetClient, fault: dict[str, Any]
) -> None:
    pisync.script(7, [{"hold": True}])
    for when, accepted in (("before", 0), ("after", 1)):
        pisync.set_faults([{"calls": ["sync"], "first": 1, "fault": fault, "when": when}])
        try:
            answer = sync_over_socket(pisync)
        except ConnectionResetError:
            answer = b"RST"
        expected = {"reset": b"RST", "close": b"", "status": b"HTTP/1.1 500 "}[fault["kind"]]
        assert answer.startswith(expected)
        assert not answer or expected
        assert pisync.ledger().accepted == accepted
    retried = pisync.sync(7)
    assert retried.attempt == 1
    ledger = pisync.ledger()
    assert (ledger.accepted, ledger.joined, ledger.balanced) == (1, 1, True)
    assert ledger.faults == {"before": {fault["kind"]: 1}, "after": {fault["kind"]: 1}}


def test_a_hang_sends_nothing_until_the_client_gives_up(pisync: FleetClient) -> None:
    pisync.set_faults([{"calls": ["sync"], "first": 1, "fault": {"kind": "hang"}, "when": "after"}])
    with pytest.raises(TimeoutError):
        sync_over_socket(pisync, timeout=0.3)
    (hung,) = pisync.requests()
    assert (hung.status, hung.fault, hung.attempt) == (None, "hang", 1)


@pytest.mark.parametrize("fault", [{"kind": "hang"}, slow(60)], ids=["hang", "delay"])
def test_who_hangs_up_before_the_answer_is_in_the_journal_at_once(
    pisync: FleetClient, fault: object
) -> None:
    pisync.set_faults([{"calls": ["sync"], "fault": fault, "when": "after"}])
    for _ in range(2):
        with pytest.raises(TimeoutError):
            sync_over_socket(pisync, timeout=0.3)
    asyncio.run(eventually(lambda: len(pisync.requests()) == 2))
    assert [request.status for request in pisync.requests()] == [None, None]
    assert pisync.ledger().balanced


def test_who_sends_no_more_after_the_request_gets_a_late_answer(pisync: FleetClient) -> None:
    pisync.set_faults([{"calls": ["sync"], "fault": slow(0.5)}])
    assert sync_over_socket(pisync, ends=True).startswith(b"HTTP/1.1 202 ")


def test_a_fault_hides_no_refusal(pisync: FleetClient) -> None:
    rules = [{"calls": ["sync", "device", "stats", "bulk"], "fault": {"kind": "reset"}}]
    pisync.set_faults(rules)
    for method, path, status in (
        ("POST", "/devices/99/sync", HTTPStatus.NOT_FOUND),
        ("GET", "/devices/99", HTTPStatus.NOT_FOUND),
        ("GET", "/stats?wrong=1", HTTPStatus.UNPROCESSABLE_ENTITY),
        ("POST", "/devices/sync", HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    ):
        connection = http.client.HTTPConnection(urlsplit(pisync.url).netloc, timeout=5)
        connection.request(method, path, headers=dict(pisync.headers))
        assert connection.getresponse().status == status
        connection.close()
    assert pisync.ledger().faults == {"before": {}, "after": {}}
