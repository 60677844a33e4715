"""A snapshot: all that a fleet is at one moment, from which another fleet goes on."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pisync.model.clock import ClockView
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import Count, FirstData
from pisync.model.plans.polls import Polls
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script
from pisync.model.requests.fault import FaultRule


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """What a fleet is, its devices aside.

    Attributes:
        fleet: Its name.
        first: Its first data.
        profile: What its attempts come to.
        clock: Its clock at that moment.
        made_at: The fleet time at which its first data was made.
        started_at: The fleet time at which it was made or reset.
        counts: Its ledger's counts.
        error_logs: How many error logs follow: the newest of those beyond the first data's.
        journal: How many requests its journal keeps; what is in it is not part of the snapshot.
        ttl: Seconds without use after which it is forgotten; None: it stays.
        faults: Its rules for faults of HTTP.
        live_since: The fleet time since which its devices sync by themselves, if they do.
    """

    fleet: str
    first: FirstData
    profile: Profile
    clock: ClockView
    made_at: int
    started_at: int
    counts: Mapping[Count, int]
    error_logs: int
    journal: int
    ttl: int | None
    faults: Sequence[FaultRule]
    live_since: int | None = None


class DeviceScript(NamedTuple):
    """The script of a device."""

    device_id: int
    script: Script


class RequestCount(NamedTuple):
    """How many requests were counted under a counter: see `CallOfUser.counter`."""

    counter: int
    n: int


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Some of what follows the head, in the order of these fields.

    Attributes:
        devices: Devices that have made an attempt, by rising id; all others are as in the first
            data.
        scripts: What is left of scripts.
        error_logs: Error logs beyond the first data's, oldest first, without gaps.
        request_counts: What was counted for the rules for faults.
        moments: When those of the devices that are not pending begin their own attempt, by id.
        polls: The polls of those of the devices whose attempt has some, by id.
    """

    devices: Sequence[Device] = ()
    scripts: Sequence[DeviceScript] = ()
    error_logs: Sequence[ErrorLog] = ()
    request_counts: Sequence[RequestCount] = ()
    moments: Mapping[int, int] = field(default_factory=dict)
    polls: Mapping[int, Polls] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A fleet at one moment: the head, and all that follows it, to be iterated over once."""

    head: SnapshotHead
    parts: AsyncIterator[SnapshotPart]
