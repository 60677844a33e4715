"""One request over HTTP, and what it is answered."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from typing import BinaryIO
from urllib.parse import urlsplit

from pisync.client.values import CallFailed


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
