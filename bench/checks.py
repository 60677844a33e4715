"""What a right answer looks like, and what a server must do to be measured at all."""

import json
import re
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from bench.servers import SECRET, Running, Server

DEVICE_FIELDS = {
    "device_id",
    "last_sync_at",
    "sync_status_code",
    "error_message",
    "last_attempt_at",
}
LOG_FIELDS = {
    "error_id",
    "device_id",
    "attempt",
    "sync_status_code",
    "error_message",
    "occurred_at",
}
LONGEST_SYNC = 12.0
"""Seconds after which every sync must have finished."""


class Wrong(Exception):
    """A server did not do what it is measured for."""


def check(server: Server, method: str, target: str, status: int, body: bytes) -> None:
    """Raise Wrong unless this is a right answer to a good request."""
    url = urlsplit(target)
    path = re.sub("^/fleets/[^/]+", "", url.path)
    expected = 202 if method == "POST" else 200
    try:
        if status != expected:
            raise Wrong(f"status {status}")
        value = json.loads(body)
        if method == "POST":
            _check_pending(value, None if server.is_canned else int(path.split("/")[2]))
        elif path == "/devices":
            _check_page(value, DEVICE_FIELDS, _check_device, _limit(url.query))
            _check_order([each["device_id"] for each in value])
        elif path == "/errors":
            _check_page(value, LOG_FIELDS, _check_log, _limit(url.query))
            _check_order([-each["error_id"] for each in value])
        elif path == "/stats":
            _check_stats(value)
        else:
            _check_device(value)
    except (Wrong, ValueError, KeyError, TypeError) as exc:
        raise Wrong(f"{server.name}: {method} {target}: {exc!r}: {body[:200]!r}") from exc


def _limit(query: str) -> int:
    # Without a limit only the fleet of ten is asked.
    return int(parse_qs(query).get("limit", ["10"])[0])


def _check_page(
    values: list[Any],
    fields: set[str],
    check_each: Callable[[Mapping[str, Any]], None],
    length: int,
) -> None:
    if len(values) != length:
        raise Wrong(f"{len(values)} entries, not {length}")
    for value in values:
        if set(value) != fields:
            raise Wrong(f"fields {sorted(value)}")
        check_each(value)


def _check_device(device: Mapping[str, Any]) -> None:
    code, message = device["sync_status_code"], device["error_message"]
    if (code in (200, 202)) != (message is None) or not _is_time(device["last_attempt_at"]):
        raise Wrong("no device")


def _check_log(log: Mapping[str, Any]) -> None:
    if log["sync_status_code"] not in (400, 404, 500) or not log["error_message"]:
        raise Wrong("no error log")


def _check_pending(device: Mapping[str, Any], device_id: int | None) -> None:
    _check_device(device)
    if device["sync_status_code"] != 202 or device_id not in (None, device["device_id"]):
        raise Wrong("not that device, pending")


def _check_stats(stats: Mapping[str, Any]) -> None:
    if sum(stats["by_status"].values()) != stats["devices"]:
        raise Wrong("the counts by status are not all devices")
    if stats["attempts"] != stats["pending"] + stats["succeeded"] + stats["failed"]:
        raise Wrong("an attempt is unaccounted for")


def _check_order(keys: list[int]) -> None:
    if any(left >= right for left, right in pairwise(keys)):
        raise Wrong("out of order")


def _is_time(text: str) -> bool:
    return len(text) == 27 and text[10] == "T" and text.endswith("Z")


def examine(server: Running, syncs: int) -> None:
    """Raise Wrong unless a live server checks tokens and input; begin so many syncs."""
    connection = server.connect()
    try:
        _examine_refusals(server, connection)
        for device_id in range(1, syncs + 1):
            _call(connection, "POST", f"/devices/{device_id}/sync", server.headers)
        attempts = _stats(server)["attempts"]
        if attempts < syncs:
            raise Wrong(f"{server.server.name}: {attempts} of {syncs} syncs began")
    finally:
        connection.close()


def wait_for_syncs(server: Running) -> None:
    """Return when every sync has finished; raise Wrong if one is lost, or late."""
    end = time.monotonic() + LONGEST_SYNC
    while _stats(server)["pending"]:
        if time.monotonic() > end:
            raise Wrong(f"{server.server.name}: syncs do not finish")
        time.sleep(0.1)


def _examine_refusals(server: Running, connection: HTTPConnection) -> None:
    forged = jwt.encode({"iss": "pisync", "sub": "x", "scopes": ["devices"]}, "x" * 32, "HS256")
    expired = jwt.encode(
        {"iss": "pisync", "sub": "x", "scopes": ["devices"], "exp": 1}, SECRET, "HS256"
    )
    good = server.headers
    for method, target, headers, expected in (
        ("GET", "/devices", {}, 401),
        ("GET", "/devices", {"Authorization": f"Bearer {forged}"}, 401),
        ("POST", "/devices/1/sync", {"Authorization": f"Bearer {expired}"}, 401),
        ("GET", "/devices?limit=0", good, 422),
        ("GET", "/devices?limit=1001", good, 422),
        ("GET", "/devices?lim=1", good, 422),
        ("GET", "/errors?limit=x", good, 422),
        ("POST", "/devices/9000000/sync", good, 404),
    ):
        status = _call(connection, method, target, headers)
        if status != expected:
            raise Wrong(f"{server.server.name}: {method} {target}: {status}, not {expected}")


def _call(connection: HTTPConnection, method: str, target: str, headers: Mapping[str, str]) -> int:
    connection.request(method, target, headers=dict(headers))
    response = connection.getresponse()
    response.read()
    return response.status


def _stats(server: Running) -> Any:
    status, body = server.call("GET", "/stats")
    check(server.server, "GET", "/stats", status, body)
    return json.loads(body)
