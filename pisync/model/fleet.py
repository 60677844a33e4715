"""A fleet: its first data, and the views that clients get of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pisync.model.clock import REAL, ClockSetting, ClockView
from pisync.model.device import Device, ErrorLog
from pisync.model.outcome import SUCCESS
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script
from pisync.model.requests.fault import FaultRule
from pisync.model.timestamp import SECOND, Moment, RelativeMoment

DEFAULT_FLEET = "default"
FLEET_NAME = r"[a-z0-9][a-z0-9-]{0,62}"
"""The regular expression of a fleet's name."""
MAX_DEVICES = 5_000_000
MIN_TTL = 60
"""Seconds."""
MAX_TTL = 2_592_000
"""Seconds: 30 days."""


@dataclass(frozen=True, slots=True)
class Generated:
    """First data: `count` devices, ids from 1, synced when their fleet was made."""

    count: int

    @property
    def size(self) -> int:
        """How many devices there are."""
        return self.count


class FleetTimes(NamedTuple):
    """When a fleet began, in microseconds of its time.

    Attributes:
        made_at: When its first data was made.
        started_at: When it was made or last reset.
    """

    made_at: int
    started_at: int


class DeviceSpec(NamedTuple):
    """A device of a list; times (fleet time) that it leaves open are its fleet's.

    A success has the same time, or none, in both fields. A relative time is taken from the moment
    at which the fleet was made, and anew from each reset.
    """

    device_id: int
    last_sync_at: Moment | None = None
    sync_status_code: int = SUCCESS
    error_message: str | None = None
    last_attempt_at: Moment | None = None

    def made(self, times: FleetTimes) -> Device:
        """Return the device as it is in a fleet of these times, before its first attempt."""
        made_at, now = times
        synced, attempted = _moment(self.last_sync_at, now), _moment(self.last_attempt_at, now)
        succeeded = self.sync_status_code == SUCCESS
        if succeeded:
            synced = attempted = next(
                each for each in (attempted, synced, made_at) if each is not None
            )
        elif attempted is None:
            attempted = now if isinstance(self.last_sync_at, RelativeMoment) else made_at
        if synced is not None:
            # The wall clock may have stepped back since the list was checked.
            attempted = max(attempted, synced)
        return Device(self.device_id, synced, self.sync_status_code, self.error_message, attempted)


def _moment(moment: Moment | None, now: int) -> int | None:
    return moment.at(now) if isinstance(moment, RelativeMoment) else moment


class Listed(NamedTuple):
    """First data: devices by rising id, and the error logs that belong to them, oldest first."""

    devices: Sequence[DeviceSpec]
    error_logs: Sequence[ErrorLog] = ()

    @property
    def size(self) -> int:
        """How many devices there are."""
        return len(self.devices)


FirstData = Generated | Listed


class Lifetime(NamedTuple):
    """How long a fleet stays when nobody uses it: `ttl` seconds from `used_at` (real time)."""

    ttl: int
    used_at: int

    @property
    def expires_at(self) -> int:
        """The real time at which it may be deleted, in microseconds."""
        return self.used_at + self.ttl * SECOND


class NewTtl(NamedTuple):
    """A change of a fleet's ttl, in seconds; None: it stays for ever."""

    seconds: int | None


@dataclass(frozen=True, slots=True)
class FleetDefinition:
    """A fleet to make.

    Attributes:
        name: Its name.
        first: Its first data.
        profile: What its attempts come to.
        clock: How its time runs.
        scripts: The scripts of devices, by id.
        ttl: Seconds after which it may be forgotten; None: it stays.
        journal: How many requests its journal keeps; None: as many as the store's fleets do.
        faults: The rules for faults of HTTP.
    """

    name: str
    first: FirstData
    profile: Profile
    clock: ClockSetting = REAL
    scripts: Mapping[int, Script] = field(default_factory=dict)
    ttl: int | None = None
    journal: int | None = None
    faults: tuple[FaultRule, ...] = ()


class FleetView(NamedTuple):
    """A fleet at a moment. Its `generation` changes when it is reset, replaced or made anew.

    `started_at` is the fleet time at which that was. One with a `ttl` (seconds) is deleted
    after `expires_at` (wall clock, microseconds), unless it is used before.
    """

    name: str
    generation: int
    devices: int
    profile: Profile
    clock: ClockView
    started_at: int
    journal: int = 0
    """How many requests its journal keeps."""
    ttl: int | None = None
    expires_at: int | None = None

    def used(self, wall: int) -> "FleetView":
        """Return the fleet as it is when somebody uses it at a time of the wall clock."""
        return self if self.ttl is None else self._replace(expires_at=wall + self.ttl * SECOND)


class FleetPage(NamedTuple):
    """Fleets by name, how many there are on all pages, and whether a page follows."""

    fleets: Sequence[FleetView]
    total: int
    more: bool


class Stats(NamedTuple):
    """A fleet's counts. `attempts` counts accepted syncs; `error_logs` those that are kept."""

    devices: int
    by_status: Mapping[int, int]
    pending: int
    attempts: int
    succeeded: int
    failed: int
    error_logs: int


class Count(NamedTuple):
    """What the ledger counts: a word, or the status code of failures with their message."""

    what: str
    error_message: str = ""


MAX_MESSAGES = 1_000
"""How many messages are counted for each status code; later ones count together."""
OTHER_MESSAGES = "(other)"

ACCEPTED = Count("accepted")
JOINED = Count("joined")
REFUSED = Count("refused")
SUCCEEDED = Count("succeeded")
LOGGED = Count("logged")
"""Error logs written."""
FAULTS = {"before": "fault before", "after": "fault after"}
"""The words under which faults are counted, with their kind beside them."""


class Ledger(NamedTuple):
    """What became of every sync that a fleet was asked for since its first state.

    `failed` counts by status code, then message; `held` is a part of `pending`; `error_logs` counts
    those ever written, the first data's aside. Each is counted where it happens, so that `balanced`
    proves something.
    """

    accepted: int
    joined: int
    refused: int
    succeeded: int
    failed: Mapping[int, Mapping[str, int]]
    pending: int
    held: int
    error_logs: int
    faults: Mapping[str, Mapping[str, int]]
    """Faults of HTTP that requests met, before or after the call did what it does, by kind."""

    @classmethod
    def of(cls, counts: Mapping[Count, int], pending: int, held: int) -> "Ledger":
        """Return the ledger of a fleet with these counts and so many pending and held syncs."""
        failed: dict[int, dict[str, int]] = {}
        for (what, message), count in counts.items():
            if what.isdecimal():
                failed.setdefault(int(what), {})[message] = count
        return cls(
            accepted=counts.get(ACCEPTED, 0),
            joined=counts.get(JOINED, 0),
            refused=counts.get(REFUSED, 0),
            succeeded=counts.get(SUCCEEDED, 0),
            failed=failed,
            pending=pending,
            held=held,
            error_logs=counts.get(LOGGED, 0),
            faults={
                when: {kind: n for (word, kind), n in counts.items() if word == counted}
                for when, counted in FAULTS.items()
            },
        )

    @property
    def failures(self) -> int:
        """How many attempts failed."""
        return sum(sum(messages.values()) for messages in self.failed.values())

    @property
    def balanced(self) -> bool:
        """Whether every accepted sync is accounted for, and every failure has its error log."""
        finished = self.succeeded + self.failures
        return self.accepted == finished + self.pending and self.failures == self.error_logs
