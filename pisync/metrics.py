"""What Prometheus can ask about a running server."""

import asyncio
from collections.abc import Mapping
from enum import Enum
from time import perf_counter
from typing import Final, NamedTuple, NoReturn

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from pisync import __version__
from pisync.model.outcome import OUTCOME_CODES
from pisync.stores.base import Verdict

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
"""What `Metrics.render` returns: give it to a response as a header, parameters included."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD: Final = "other"

_RESULTS: Final[Mapping[Verdict, str]] = {
    Verdict.STARTED: "started",
    Verdict.JOINED: "joined",
    Verdict.PENDING: "refused",
    Verdict.FULL: "refused",
}

# Bounds in seconds. Most requests take well below a millisecond; a login takes some hundred.
_REQUEST_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LATENESS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60)
_HASH_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2.5, 5, 10)
_LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Login(Enum):
    """How a login ended."""

    OK = "ok"
    WRONG = "wrong"
    THROTTLED = "throttled"


class _Answers(NamedTuple):
    """What is counted of the answers with one route, method and status."""

    total: Counter
    duration: Histogram


class Metrics:
    """Counts and times what happens in one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("pisync", "The version that runs.", registry=registry).info({"version": __version__})

        labels = ("route", "method", "status")
        self._requests = Counter("pisync_requests", "Requests answered.", labels, registry=registry)
        self._request_duration = Histogram(
            "pisync_request_duration_seconds",
            "Time that answering took; a stream's lasts as long as it does.",
            labels,
            buckets=_REQUEST_BOUNDS,
            registry=registry,
        )
        # labels() costs more than the counting does, so what it returns is kept.
        self._answers: dict[tuple[str, str, int], _Answers] = {}

        syncs = Counter("pisync_syncs", "Syncs asked for.", ("result",), registry=registry)
        self._begun = {verdict: syncs.labels(result) for verdict, result in _RESULTS.items()}
        finished = Counter(
            "pisync_syncs_finished", "Syncs finished.", ("status",), registry=registry
        )
        self._finished = {code: finished.labels(str(code)) for code in OUTCOME_CODES}
        self._pending = Gauge("pisync_syncs_pending", "Syncs under way.", registry=registry)
        self._lateness = Histogram(
            "pisync_sync_lateness_seconds",
            "Time from when a sync was due to when it finished.",
            buckets=_LATENESS_BOUNDS,
            registry=registry,
        )

        logins = Counter("pisync_logins", "Attempts to log in.", ("outcome",), registry=registry)
        self._logins = {login: logins.labels(login.value) for login in Login}
        self._hash_queue = Gauge(
            "pisync_bcrypt_queue", "Passwords that are hashed or wait for it.", registry=registry
        )
        self._hash_duration = Histogram(
            "pisync_bcrypt_duration_seconds",
            "Time that hashing a password took, waiting aside.",
            buckets=_HASH_BOUNDS,
            registry=registry,
        )
        self._lag = Histogram(
            "pisync_event_loop_lag_seconds",
            "How much later than asked for the event loop came back to a sleeping task.",
            buckets=_LAG_BOUNDS,
            registry=registry,
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request. `route` is the template of the path, never the path."""
        if method not in _METHODS:
            # Whoever calls chooses the method: nobody shall grow this table by inventing some.
            method = _OTHER_METHOD
        key = (route, method, status)
        answers = self._answers.get(key) or self._first_answers(key)
        answers.total.inc()
        answers.duration.observe(seconds)

    def _first_answers(self, key: tuple[str, str, int]) -> _Answers:
        labels = [str(label) for label in key]
        answers = _Answers(self._requests.labels(*labels), self._request_duration.labels(*labels))
        self._answers[key] = answers
        return answers

    def began(self, verdict: Verdict, count: int = 1) -> None:
        """Count wishes to sync a device; one that there is not counts for nothing."""
        if verdict is not Verdict.UNKNOWN:
            self._begun[verdict].inc(count)

    def finished(self, status: int, count: int = 1) -> None:
        """Count finished syncs by the status code that they came to."""
        self._finished[status].inc(count)

    def late(self, seconds: float) -> None:
        """Note how late a sync finished."""
        self._lateness.observe(seconds)

    def pending(self, count: int) -> None:
        """Set how many syncs are under way, in all fleets."""
        self._pending.set(count)

    def login(self, outcome: Login) -> None:
        """Count an attempt to log in."""
        self._logins[outcome].inc()

    def hashing(self, queued: int) -> None:
        """Set how many passwords are hashed at this moment or wait for it."""
        self._hash_queue.set(queued)

    def hashed(self, seconds: float) -> None:
        """Note how long hashing a password took."""
        self._hash_duration.observe(seconds)

    def lag(self, seconds: float) -> None:
        """Note how much later than asked for the event loop came back."""
        self._lag.observe(seconds)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


async def sample_lag(metrics: Metrics, *, interval: float = 0.25) -> NoReturn:
    """Sleep `interval` seconds again and again, and note each time by how much it was longer."""
    while True:
        asleep = perf_counter()
        await asyncio.sleep(interval)
        metrics.lag(max(0.0, perf_counter() - asleep - interval))
