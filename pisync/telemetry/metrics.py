"""What Prometheus can ask about a running server."""

import asyncio
import math
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from time import perf_counter
from typing import Final, NoReturn

import prometheus_client
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from pisync import __version__
from pisync.model.bounds import Bound
from pisync.model.outcome import OUTCOME_CODES
from pisync.model.sync import SyncDecision
from pisync.telemetry.histogram import Histogram


class Format(Enum):
    """A form that metrics may have; its value is the content type, parameters included."""

    TEXT = CONTENT_TYPE_LATEST
    OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST


def preferred_format(accepted: str) -> Format:
    """Return the form that an `Accept` asks for, as Prometheus' own library reads it."""
    _, content_type = choose_encoder(accepted)
    is_openmetrics = content_type.startswith("application/openmetrics-text")
    return Format.OPENMETRICS if is_openmetrics else Format.TEXT


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD: Final = "other"

_RESULTS: Final[Mapping[SyncDecision, str]] = {
    SyncDecision.STARTED: "started",
    SyncDecision.JOINED: "joined",
    SyncDecision.PENDING: "refused",
    SyncDecision.FULL: "refused",
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


def _add(histogram: Histogram, family: HistogramMetricFamily, labels: Sequence[str] = ()) -> None:
    """Enter a histogram in a family of metrics."""
    buckets = [
        ("+Inf" if bound == math.inf else str(float(bound)), count)
        for bound, count in histogram.cumulative()
    ]
    family.add_metric(labels, buckets, histogram.total)


class _HotCounts(Collector):
    """What is counted with every request and every sync.

    As plain numbers: with the library's counters, which take a lock each time, a request would cost
    3 µs more, and a sync 5. Only the event loop's thread counts here.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, int], Histogram] = {}
        self.begun: Counts[str] = Counts(dict.fromkeys(_RESULTS.values(), 0))
        self.finished: Counts[int] = Counts(dict.fromkeys(OUTCOME_CODES, 0))
        self.lateness = Histogram(_LATENESS_BOUNDS)
        self.turned_away = 0

    def collect(self) -> Iterator[Metric]:
        labels = ("route", "method", "status")
        total = CounterMetricFamily("pisync_requests", "Requests answered.", labels=labels)
        duration = HistogramMetricFamily(
            "pisync_request_duration_seconds",
            "Time taken to answer; for an event stream, how long it was open.",
            labels=labels,
        )
        for key, times in self.answers.items():
            values = [str(value) for value in key]
            total.add_metric(values, times.count)
            _add(times, duration, values)
        yield total
        yield duration
        yield CounterMetricFamily(
            "pisync_requests_turned_away",
            "Requests and connections refused unread because there were too many.",
            self.turned_away,
        )
        begun = CounterMetricFamily("pisync_syncs", "Syncs requested.", labels=("result",))
        for result, count in self.begun.items():
            begun.add_metric((result,), count)
        yield begun
        finished = CounterMetricFamily(
            "pisync_syncs_finished", "Syncs finished.", labels=("status",)
        )
        for status, count in self.finished.items():
            finished.add_metric((str(status),), count)
        yield finished
        lateness = HistogramMetricFamily(
            "pisync_sync_lateness_seconds",
            "Time between a sync's due time and its finish.",
        )
        _add(self.lateness, lateness)
        yield lateness


class _Bounds(Collector):
    """What a process may grow to, and how much of it is used at this moment."""

    def __init__(self) -> None:
        self.used: dict[Bound, Callable[[], float]] = {}

    def collect(self) -> Iterator[Metric]:
        size = GaugeMetricFamily(
            "pisync_bound", "How much of it there may be in this process.", labels=("bound",)
        )
        used = GaugeMetricFamily("pisync_bound_used", "How much of it there is.", labels=("bound",))
        for bound, ask in self.used.items():
            size.add_metric((bound.name,), bound.size)
            used.add_metric((bound.name,), ask())
        yield size
        yield used


class Metrics:
    """Counts and times what happens in one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        PlatformCollector(registry=registry)
        Info("pisync", "The running version.", registry=registry).info({"version": __version__})

        self._hot = _HotCounts()
        registry.register(self._hot)
        self._bounds = _Bounds()
        registry.register(self._bounds)
        self._pending = Gauge(
            "pisync_syncs_pending", "Pending syncs, in all fleets.", registry=registry
        )
        self._streams = Gauge("pisync_event_streams", "Open event streams.", registry=registry)
        self._waits = Gauge(
            "pisync_waiting_calls", "Calls that wait because they asked to.", registry=registry
        )

        self._forgotten = Counter(
            "pisync_fleets_forgotten", "Fleets deleted after their ttl.", registry=registry
        )
        logins = Counter("pisync_logins", "Logins.", ("outcome",), registry=registry)
        self._logins = {login: logins.labels(login.value) for login in Login}
        self._hash_queue = Gauge(
            "pisync_bcrypt_queue", "Passwords being hashed or waiting.", registry=registry
        )
        self._hash_duration = prometheus_client.Histogram(
            "pisync_bcrypt_duration_seconds",
            "Time taken to hash a password, without waiting.",
            buckets=_HASH_BOUNDS,
            registry=registry,
        )
        self._lag = prometheus_client.Histogram(
            "pisync_event_loop_lag_seconds",
            "How much later than due the event loop resumed a sleeping task.",
            buckets=_LAG_BOUNDS,
            registry=registry,
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request. `route` is the template of the path, never the path."""
        self._times(route, method, status).add(seconds)

    def requests(self, route: str, method: str, status: int, seconds: Iterable[float]) -> None:
        """Count requests that were answered alike, each in so many seconds."""
        self._times(route, method, status).add_all(seconds)

    def _times(self, route: str, method: str, status: int) -> Histogram:
        if method not in _METHODS:
            # Whoever calls chooses the method: nobody must grow this table by inventing some.
            method = _OTHER_METHOD
        key = (route, method, status)
        times = self._hot.answers.get(key)
        if times is None:
            times = self._hot.answers[key] = Histogram(_REQUEST_BOUNDS)
        return times

    def turned_away(self) -> None:
        """Count a request or a connection that was refused unread."""
        self._hot.turned_away += 1

    def began(self, verdict: SyncDecision, count: int = 1) -> None:
        """Count requests to sync a device; one for an unknown device does not count."""
        result = _RESULTS.get(verdict)
        if result is not None:
            self._hot.begun[result] += count

    def finished(self, status: int, count: int = 1) -> None:
        """Count finished syncs by the status code that they came to."""
        self._hot.finished[status] += count

    def late(self, seconds: Iterable[float]) -> None:
        """Note how late syncs finished."""
        self._hot.lateness.add_all(seconds)

    def pending(self, count: int) -> None:
        """Set how many syncs are under way, in all fleets."""
        self._pending.set(count)

    def streams(self, count: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Ask how many event streams are open and how many calls wait, when somebody asks us."""
        self._streams.set_function(count)
        self._waits.set_function(waiting)

    def bound(self, bound: Bound, used: Callable[[], float]) -> None:
        """Ask `used` how much there is of what is bounded, whenever somebody wants to know."""
        self._bounds.used[bound] = used

    def forgot(self, fleets: int) -> None:
        """Count fleets that were deleted after their ttl."""
        self._forgotten.inc(fleets)

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

    def render(self, form: Format = Format.TEXT) -> bytes:
        """Return everything, in Prometheus' text format or as OpenMetrics."""
        if form is Format.OPENMETRICS:
            return openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call, no-any-return]  # it has no types
        return generate_latest(self._registry)


async def sample_lag(metrics: Metrics, *, interval: float = 0.25) -> NoReturn:
    """Sleep `interval` seconds over and over, and note how much longer each sleep took."""
    while True:
        asleep = perf_counter()
        await asyncio.sleep(interval)
        metrics.lag(max(0.0, perf_counter() - asleep - interval))
