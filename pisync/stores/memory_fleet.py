"""One fleet in memory, and a unit of work on it: computed first, applied as a whole."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from pisync.model import device as transitions
from pisync.model.clock import Clock
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import (
    ACCEPTED,
    JOINED,
    LOGGED,
    REFUSED,
    SUCCEEDED,
    Count,
    FirstData,
    FleetView,
    Ledger,
    Listed,
    Stats,
)
from pisync.model.outcome import PENDING, STATUS_CODES, SUCCESS, Outcome
from pisync.model.profile import Profile
from pisync.model.script import Script, plan
from pisync.model.timestamp import SECOND
from pisync.stores.base import Begun, Finished, NoSuchDevice, NothingHeld, Verdict
from pisync.stores.device_table import DeviceTable
from pisync.stores.error_history import ErrorHistory

_POSITION_BITS = 23
"""Enough for the positions of the largest fleet."""
_POSITION = (1 << _POSITION_BITS) - 1
_PENDING_STATUS = frozenset((PENDING,))


class Due(NamedTuple):
    """A pending sync in the queue: when it is due, in fleet time, and its device's position."""

    moment: int
    position: int


def _packed(due: Due) -> int:
    return due.moment << _POSITION_BITS | due.position


def _unpacked(entry: int) -> Due:
    return Due(entry >> _POSITION_BITS, entry & _POSITION)


class MemoryFleet:
    """A fleet's state. A reset makes a new one, and what was pending goes with the old."""

    def __init__(
        self,
        name: str,
        generation: int,
        first: FirstData,
        made_at: int,
        profile: Profile,
        clock: Clock,
        most_error_logs: int,
    ) -> None:
        self.name = name
        self.generation = generation
        self.first = first
        self.made_at = made_at
        self.profile = profile
        self.clock = clock
        self.moving = asyncio.Lock()
        """Held while the clock is moved or its speed is changed."""
        self.scripts: dict[int, Script] = {}
        self.devices = DeviceTable(first, made_at)
        logs = first.error_logs if isinstance(first, Listed) else ()
        self.errors = ErrorHistory(logs, most_error_logs)
        # One integer a pending sync, due time and position: 52 bytes where a tuple takes 150. Held
        # syncs have none: a release finishes them at once.
        self._queue: list[int] = []
        self.counts: Counter[Count] = Counter()

    def restore(
        self,
        devices: Iterable[Device],
        scripts: Mapping[int, Script],
        error_logs: Iterable[ErrorLog],
        counts: Mapping[Count, int],
    ) -> None:
        """Take up what was kept of the fleet: all that differs from its first data."""
        for device in devices:
            self._save(self.position(device.device_id), device)
        self.scripts.update(scripts)
        self.counts.update(counts)
        for log in error_logs:
            self.errors.append(log)
        self.errors.skip(self.counts[LOGGED])

    # Reading

    def view(self, real_time: int) -> FleetView:
        """Return what is told of the fleet at a real time."""
        return FleetView(
            self.name,
            self.generation,
            len(self.devices),
            self.profile,
            self.clock.view(real_time),
        )

    def stats(self) -> Stats:
        """Return the fleet's counts."""
        ledger = self.ledger()
        return Stats(
            devices=len(self.devices),
            by_status={code: self.devices.count(frozenset((code,))) for code in STATUS_CODES},
            pending=ledger.pending,
            attempts=ledger.accepted,
            succeeded=ledger.succeeded,
            failed=ledger.failures,
            error_logs=len(self.errors),
        )

    def ledger(self) -> Ledger:
        """Return what became of the fleet's syncs."""
        return Ledger.of(self.counts, self.pending, self.devices.held)

    @property
    def pending(self) -> int:
        """How many syncs are pending, held ones included."""
        return self.devices.count(_PENDING_STATUS)

    def position(self, device_id: int) -> int:
        """Return a device's position; raises NoSuchDevice."""
        position = self.devices.position(device_id)
        if position is None:
            raise NoSuchDevice
        return position

    # What is due

    def next_due(self) -> int | None:
        """Return the earliest fleet time at which a sync falls due."""
        return _unpacked(self._queue[0]).moment if self._queue else None

    def last_due(self) -> int | None:
        """Return the latest fleet time at which a pending sync falls due."""
        return _unpacked(max(self._queue)).moment if self._queue else None

    def take_due(self, until: int, limit: int) -> list[Due]:
        """Take at most `limit` syncs that are due at `until` or before, in due order."""
        taken: list[Due] = []
        while self._queue and len(taken) < limit:
            due = _unpacked(self._queue[0])
            if due.moment > until:
                break
            heappop(self._queue)
            taken.append(due)
        return taken

    def give_back(self, due: Iterable[Due]) -> None:
        """Put back what was taken and could not be finished."""
        for each in due:
            heappush(self._queue, _packed(each))

    # Writing

    def apply(self, work: "Work") -> None:
        """Make a unit of work true."""
        self.profile = work.profile
        self.clock = work.clock
        for position, device in work.devices.items():
            self._save(position, device)
        for device_id, script in work.scripts.items():
            if script is None:
                self.scripts.pop(device_id, None)
            else:
                self.scripts[device_id] = script
        for log in work.error_logs:
            self.errors.append(log)
        self.counts.update(work.counts)

    def _save(self, position: int, device: Device) -> None:
        self.devices.save(position, device)
        if device.pending is not None and device.pending.due_at is not None:
            heappush(self._queue, _packed(Due(device.pending.due_at, position)))


class Work:
    """Changes to a fleet that become true together, once they are applied.

    Each sees what the work has done so far, so that one unit may touch a device twice.
    """

    def __init__(self, fleet: MemoryFleet) -> None:
        self.fleet = fleet
        self.profile = fleet.profile
        self.clock = fleet.clock
        self.devices: dict[int, Device] = {}
        self.scripts: dict[int, Script | None] = {}
        self.error_logs: list[ErrorLog] = []
        self.counts: Counter[Count] = Counter()

        self._newly_pending = 0

    def begin(self, device_ids: Iterable[int], now: int) -> list[Begun]:
        """Begin an attempt of each device at fleet time `now`, or join, as the profile says."""
        return [self._begin(device_id, now) for device_id in device_ids]

    def _begin(self, device_id: int, now: int) -> Begun:
        fleet = self.fleet
        position = fleet.devices.position(device_id)
        if position is None:
            return Begun(Verdict.UNKNOWN, None)
        device = self._device(position)
        if device.pending is not None:
            if self.profile.refuse_pending:
                self.counts[REFUSED] += 1
                return Begun(Verdict.PENDING, device)
            self.counts[JOINED] += 1
            return Begun(Verdict.JOINED, device)
        if fleet.pending + self._newly_pending >= self.profile.max_pending:
            self.counts[REFUSED] += 1
            return Begun(Verdict.FULL, device)
        script = self.scripts.get(device_id, fleet.scripts.get(device_id))
        planned = plan(self.profile, script, device_id, device.attempt + 1)
        if script is not None:
            self.scripts[device_id] = script.after()
        self._newly_pending += 1
        self.counts[ACCEPTED] += 1
        self.devices[position] = device = transitions.begin(device, now, planned)
        return Begun(Verdict.STARTED, device)

    def finish_due(self, due: Iterable[Due], now: int | None) -> list[Finished]:
        """Let attempts come to their planned outcomes, in this order.

        `now` is the fleet's time if that ran by itself. What the work has released meanwhile is
        passed over.
        """
        finished = []
        for moment, position in due:
            pending = self._device(position).pending
            if pending is not None and pending.due_at == moment:
                late = None if now is None else self.clock.lateness(moment, now) / SECOND
                finished.append(self._finish(position, late))
        return finished

    def _finish(self, position: int, lateness: float | None) -> Finished:
        device, failure = transitions.finish(self._device(position))
        self.devices[position] = device
        self._newly_pending -= 1
        log = None
        if failure is not None:
            log = failure.logged_as(self.fleet.errors.next_id + len(self.error_logs))
            self.error_logs.append(log)
            self.counts[LOGGED] += 1
        # By the device, not by the failure: were the two to differ, the ledger must not balance.
        if device.sync_status_code == SUCCESS:
            self.counts[SUCCEEDED] += 1
        else:
            self.counts[Count(str(device.sync_status_code), device.error_message or "")] += 1
        return Finished(device, log, lateness)

    def release(self, position: int, outcome: Outcome, now: int) -> Finished:
        """Finish a held attempt with this outcome; raises NothingHeld."""
        try:
            self.devices[position] = transitions.release(self._device(position), outcome, now)
        except transitions.InvalidTransition:
            raise NothingHeld from None
        return self._finish(position, lateness=None)

    def _device(self, position: int) -> Device:
        return self.devices.get(position) or self.fleet.devices.load(position)
