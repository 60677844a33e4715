"""Overload: what is more than can be answered soon is turned away, before it costs much.

Requests that arrive in one turn of the event loop wait for each other. A burst is answered whatever
its size, and so is any number of clients who wait for their answers, as long as that is not long;
when it is, turn after turn, the rest are refused without being parsed, since to refuse a request
that has been understood costs nearly as much as to do what it asks for.
"""

import asyncio
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from pisync.web.contract.problems import JSON_TYPE
from pisync.web.pipeline.cors import Cors
from pisync.web.pipeline.middleware import (
    is_request_id,
    new_request_id,
)

HOLD_SECONDS = 0.05
"""How long a refusal is held back: those who ask again at once shall not take others' time."""

_LONG_TURN_SECONDS = 0.5
"""Processor time of a turn of the event loop from which it is too much,"""
_TURN_SECONDS = 0.05
"""and that a turn may take at overload."""
_REFUSAL_SECONDS = 20e-6
"""Processor time that it takes to turn a request away, about."""
_MIN_COST = 1e-6
_SECONDS_TO_OVERLOAD = 1.0
"""Seconds for which turns must be too long before it is overload, and no burst."""
_PAUSE = 0.25
"""Seconds without an answer, before the next request, that end a row of such turns."""
_WATCHED = 1 / 16
"""The share of the limit from which a turn is watched: to ask for the processor time of each turn,
however short, took 5 % of the rate."""
_WEIGHT = 0.2
"""What the last turn counts for in the mean."""
_SPARE_FILES = 100
"""Files that a process needs besides its connections."""

_MESSAGE = b'{"message":"Too many requests at once. Try again."}'
_ANSWER = b"\r\n".join(
    (
        b"HTTP/1.1 503 Service Unavailable",
        b"Content-Type: " + JSON_TYPE.encode(),
        b"Content-Length: %d" % len(_MESSAGE),
        b"Retry-After: 1",
        b"X-Content-Type-Options: nosniff",
        b"X-Request-ID: %b",
        b"%b\r\n",
    )
)
_CLOSE = b"Connection: close\r\n"
PROBES_A_TURN = 4
"""How many requests for these come in at overload, in a turn of the event loop."""
_PROBES = (b"GET /livez ", b"GET /readyz ", b"GET /metrics ")

_LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]{1,6})\r\n")
_ORIGIN = re.compile(rb"\r\norigin: ?([!-~]+)\r\n", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"\r\nx-request-id: ?([!-~]{1,128})\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is let in: open connections and, at overload, requests in a turn of the loop."""

    connections: int = 20_000
    requests: int = 500


NORMAL = Limits()


class Refusal(NamedTuple):
    """An answer, and whether the connection can be kept: if it is plain where the next begins."""

    answer: bytes
    keep: bool


class AdmissionControl:
    """Lets in what comes, a burst too; at overload, as much a turn as can be answered soon.

    `limit` bounds the requests that a turn takes in at overload, however little they cost. `used`
    gives the processor time that the event loop's thread has had, in seconds, waiting aside.
    """

    def __init__(self, limit: int, used: Callable[[], float] = time.thread_time) -> None:
        self._limit = self._allowed = limit
        self._too_many = sys.maxsize
        self._used = used
        self._used_before: float | None = None
        self._cost = 0.0
        self._count = self._refused = self._probes = self._let_in_before = 0
        self._full_since: float | None = None
        self._last_answer = 0.0
        self._is_overload = False

    def lets_in(self) -> bool:
        """Count a request; say whether it may come in."""
        if not self._count:
            if perf_counter() - self._last_answer > _PAUSE:
                self._full_since = None
            # It runs before the requests that come in now, and those before the next that arrive.
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._count += 1
        if not self._is_overload or self._count <= self._allowed:
            return True
        self._refused += 1
        return False

    def lets_in_probe(self, data: bytes) -> bool:
        """Return whether a request that was refused comes in after all, to ask how the service is.

        A few a turn do: orchestrators must not take a busy process for a dead one.
        """
        if self._probes >= PROBES_A_TURN or not data.startswith(_PROBES):
            return False
        self._probes += 1
        self._refused -= 1
        return True

    @property
    def is_quiet(self) -> bool:
        """Whether the last request is the first of its turn, and none came with the one before."""
        return self._count == 1 and self._let_in_before <= 1

    def answered(self) -> None:
        """Note that a request has been answered."""
        self._last_answer = perf_counter()

    def _next_turn(self) -> None:
        now = perf_counter()
        is_full = self._count > (self._allowed if self._is_overload else self._too_many)
        if not is_full:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        self._is_overload = (
            self._full_since is not None and now - self._full_since >= _SECONDS_TO_OVERLOAD
        )
        self._learn_cost()
        self._count = self._refused = self._probes = 0

    def _learn_cost(self) -> None:
        """Learn what a request costs from the turn before, and how many a turn has time for."""
        is_watched = self._is_overload or self._count >= self._limit * _WATCHED
        before, used = self._used_before, self._used() if is_watched else None
        if before is not None and used is not None:
            spent = used - before - self._refused * _REFUSAL_SECONDS
            self._cost += _WEIGHT * (max(spent, 0.0) / max(1, self._let_in_before) - self._cost)
            cost = max(self._cost, _MIN_COST)
            self._allowed = max(1, min(self._limit, int(_TURN_SECONDS / cost)))
            self._too_many = max(self._limit, int(_LONG_TURN_SECONDS / cost))
        self._used_before = used
        self._let_in_before = self._count - self._refused


def refusal(data: bytes, *, whole: bool = True, cors: Cors | None = None) -> Refusal:
    """Return the answer to what has arrived, a request or several.

    `whole` says that it begins with the beginning of a request, `cors` which pages may read it.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    keep = whole and end != b"" and len(body) == _length_of_body(head)
    request_id = _request_id(head) or new_request_id().encode()
    with_body = not data.startswith(b"HEAD ")
    answer = _answer(request_id, cors, _origin(head), with_body=with_body, keep=keep)
    return Refusal(answer, keep)


def last_refusal(
    method: str, request_id: str, origin: str | None = None, cors: Cors | None = None
) -> bytes:
    """Return the answer, a connection's last, to a request of which only this is known."""
    return _answer(request_id.encode(), cors, origin, with_body=method != "HEAD", keep=False)


def _answer(
    request_id: bytes, cors: Cors | None, origin: str | None, *, with_body: bool, keep: bool
) -> bytes:
    more = b"" if keep else _CLOSE
    if cors is not None:
        more += cors.lines(origin)
    head = _ANSWER % (request_id, more)
    return head + _MESSAGE if with_body else head


def _length_of_body(head: bytes) -> int | None:
    """Return the length of the body that follows a head; None where that takes a parser to say."""
    lower = head.lower()
    first = lower[: lower.find(b"\r\n")]
    if (
        not first.endswith(b" http/1.1")
        or not head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")
        or b"\r\ntransfer-encoding" in lower
        or b"\r\nconnection" in lower
        or b"\r\nupgrade" in lower
        or b"\r\nexpect" in lower
    ):
        return None
    if b"content-length" not in lower:
        return 0
    found = _LENGTH.search(lower + b"\r\n")
    return int(found[1]) if found and lower.count(b"content-length") == 1 else None


def _request_id(head: bytes) -> bytes | None:
    found = _REQUEST_ID.search(head + b"\r\n")
    return found[1] if found and is_request_id(found[1].decode()) else None


def _origin(head: bytes) -> str:
    # Of a request that has not arrived nobody knows; where any page may read it, it may.
    found = _ORIGIN.search(head + b"\r\n")
    return found[1].decode() if found else ""


def connections_possible(wanted: int) -> int:
    """Return how many connections of those wanted the system allows, after asking it for more."""
    if sys.platform == "win32":
        return wanted
    # Not to be had on Windows.
    import resource  # noqa: PLC0415

    allowed, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _SPARE_FILES
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        allowed = needed if maximum == resource.RLIM_INFINITY else min(needed, maximum)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, maximum))
        return min(wanted, max(1, allowed - _SPARE_FILES))
    return wanted
