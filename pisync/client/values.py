"""What a server answers, as values: frozen dataclasses, with datetimes (UTC) for timestamps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class CallFailed(Exception):
    """A call was answered with an error: its status, its message, and what is wrong by field."""

    def __init__(self, status: int, message: str, errors: Mapping[str, Sequence[str]]) -> None:
        super().__init__(f"{status}: {message}{f' {dict(errors)}' if errors else ''}")
        self.status = status
        self.message = message
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Device:
    """A device. While a sync is pending its `sync_status_code` is 202."""

    device_id: int
    last_sync_at: datetime | None
    sync_status_code: int
    error_message: str | None
    last_attempt_at: datetime

    @property
    def is_pending(self) -> bool:
        """Whether a sync is pending."""
        return self.sync_status_code == 202


@dataclass(frozen=True, slots=True)
class Accepted:
    """A sync that was accepted: the number of its attempt, and the device, pending."""

    attempt: int
    device: Device


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What came of syncing many devices: three counts, and the ids that the fleet does not have."""

    started: int
    joined: int
    refused: int
    not_found: Sequence[int]


@dataclass(frozen=True, slots=True)
class ErrorLog:
    """What a failed attempt left behind."""

    error_id: int
    device_id: int
    attempt: int
    sync_status_code: int
    error_message: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """How many syncs began, succeeded and failed in each of the last seconds, oldest first.

    `start` is when the first of these seconds began, by the wall clock.
    """

    start: datetime
    started: Sequence[int]
    succeeded: Sequence[int]
    failed: Sequence[int]


@dataclass(frozen=True, slots=True)
class Stats:
    """A fleet's counts; `by_status` counts devices by status code.

    `history` is there if it was asked for.
    """

    devices: int
    pending: int
    by_status: Mapping[int, int]
    attempts: int
    succeeded: int
    failed: int
    error_logs: int
    history: History | None = None


@dataclass(frozen=True, slots=True)
class ClockView:
    """A fleet's clock: `mode` is `real`, `manual` or `auto`, `now` fleet time."""

    mode: str
    speed: float
    now: datetime


@dataclass(frozen=True, slots=True)
class FleetView:
    """A fleet: how many devices it has, its effective seed, its whole profile, its clock."""

    name: str
    devices: int
    seed: int
    profile: Mapping[str, Any]
    clock: ClockView
    ttl: int | None
    """Seconds without a request or an open stream after which the fleet is deleted."""
    expires_at: datetime | None
    """When that is, if nobody uses the fleet before."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A fleet's time after it was moved, and how many syncs that finished."""

    now: datetime
    finished: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an attempt comes to by seed and profile, after `delay` seconds."""

    attempt: int
    sync_status_code: int
    error_message: str | None
    delay: float


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late syncs finished that did so by themselves, in real seconds."""

    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of a fleet's syncs; `failed` counts by status code, then by message."""

    accepted: int
    joined: int
    refused: int
    succeeded: int
    failed: Mapping[int, Mapping[str, int]]
    pending: int
    held: int
    error_logs: int
    lateness: Lateness
    balanced: bool
    faults: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Faults of HTTP that requests met, `before` or `after` the call did anything, by kind."""


def make(kind: type[_Value], body: Mapping[str, Any], **converted: object) -> _Value:
    """Make a value of the fields that it has: a newer server may send more."""
    # Every kind is a dataclass, which type[] can't say.
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: body[name] for name in known & body.keys()} | converted)


def device_of(body: Mapping[str, Any]) -> Device:
    """Return the device that a JSON object describes."""
    synced = body["last_sync_at"]
    return make(
        Device,
        body,
        last_sync_at=None if synced is None else datetime_of(synced),
        last_attempt_at=datetime_of(body["last_attempt_at"]),
    )


def fleet_of(body: Mapping[str, Any]) -> FleetView:
    """Return the fleet that a JSON object describes."""
    expires_at = body["expires_at"]
    return make(
        FleetView,
        body,
        clock=clock_of(body["clock"]),
        expires_at=None if expires_at is None else datetime_of(expires_at),
    )


def clock_of(body: Mapping[str, Any]) -> ClockView:
    """Return the clock that a JSON object describes."""
    return make(ClockView, body, now=datetime_of(body["now"]))


def moved_of(body: Mapping[str, Any]) -> Moved:
    """Return the move of a fleet's time that a JSON object describes."""
    return make(Moved, body, now=datetime_of(body["now"]))


def stats_of(body: Mapping[str, Any]) -> Stats:
    """Return the counts that a JSON object describes."""
    history = body.get("history")
    return make(
        Stats,
        body,
        by_status=by_code(body["by_status"]),
        history=history and make(History, history, start=datetime_of(history["from"])),
    )


def by_code(body: Mapping[str, _Value]) -> dict[int, _Value]:
    """Return a mapping whose keys are status codes."""
    return {int(code): value for code, value in body.items()}


def datetime_of(timestamp: str) -> datetime:
    """Return the moment that a timestamp names."""
    return datetime.fromisoformat(timestamp)


def timestamp_of(moment: object) -> str:
    """Write a datetime as the API has it; anything else can't be sent."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise TypeError(f"neither JSON nor a datetime with a time zone: {moment!r}")
    plain = moment.astimezone(UTC).replace(tzinfo=None)
    return plain.isoformat(timespec="microseconds") + "Z"
