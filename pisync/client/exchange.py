"""Requests over HTTP: what one is answered, and how long one waits."""

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from time import monotonic
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from pisync.client.values import CallFailed

_MAX_WAIT: Final = 20.0
"""Seconds that one request waits: some proxies give up on an answer after thirty."""


def exchange(
    url: str,
    timeout: float,
    method: str,
    path: str,
    content: bytes | BinaryIO | None,
    headers: Mapping[str, str],
) -> tuple[bytes, HTTPMessage]:
    """Send a request; return the body and the headers of the answer.

    Args:
        url: Where the server is; it may have a path.
        timeout: Seconds, for the connection and for each wait on it.
        method: The method.
        path: The path of the call, with its query.
        content: The body.
        headers: The headers.

    Raises:
        CallFailed: It was answered with an error.
        OSError: There was no answer; or an HTTPException.
    """
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    # A connection for each call: nothing to share between threads, nothing to leave open.
    connection = kind(parts.netloc, timeout=timeout)
    try:
        connection.request(
            method, parts.path.rstrip("/") + path, content, {**headers, "Connection": "close"}
        )
        response = connection.getresponse()
        received = response.read()
    finally:
        connection.close()
    if response.status >= 400:
        raise _failure(response.status, response.reason, received)
    return received, response.headers


def _failure(status: int, reason: str, received: bytes) -> CallFailed:
    try:
        body = json.loads(received)
        return CallFailed(status, body["message"], body.get("errors", {}))
    except (ValueError, TypeError, KeyError):  # somebody on the way answered
        return CallFailed(status, reason, {})


def waits(timeout: float) -> Iterator[float]:
    """Yield the seconds that each of some requests may wait, until `timeout` have passed."""
    end = monotonic() + timeout
    left = timeout
    while True:
        yield round(max(0.0, min(left, _MAX_WAIT)), 3)
        left = end - monotonic()
        if left <= 0:
            return
