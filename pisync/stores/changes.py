"""What changes in a fleet: computed first, from what is known of it, and applied as a whole."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from pisync.model import device as transitions
from pisync.model.clock import Clock
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import ACCEPTED, JOINED, LOGGED, REFUSED, SUCCEEDED, Count
from pisync.model.outcome import SUCCESS, Outcome
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, plan
from pisync.model.requests.fault import FaultRule
from pisync.model.sync import FinishedSync, SyncDecision, SyncResult
from pisync.model.timestamp import SECOND
from pisync.stores.base import NothingHeld


class Devices(Protocol):
    """Devices, each at a position."""

    def position(self, device_id: int) -> int | None:
        """Return the position of a device, or None if there is no such device."""

    def load(self, position: int) -> Device:
        """Return the device at a position."""


class KnownFleet(Protocol):
    """What must be known of a fleet to compute changes."""

    @property
    def profile(self) -> Profile:
        """What its attempts come to."""

    @property
    def clock(self) -> Clock:
        """How its time runs."""

    @property
    def started_at(self) -> int:
        """The fleet time at which it was made or reset."""

    @property
    def devices(self) -> Devices:
        """Its devices, or those that the changes are about."""

    @property
    def scripts(self) -> Mapping[int, Script]:
        """The scripts of these devices."""

    @property
    def pending(self) -> int:
        """How many syncs are pending, held ones included."""

    @property
    def next_error_id(self) -> int:
        """The id that the next error log must have."""

    def counted_as(self, failure: Count, changes: Mapping[Count, int]) -> Count:
        """Return what a failure counts as, after `changes`: there may be too many messages."""


_Fleet = TypeVar("_Fleet", bound=KnownFleet)


class Due(NamedTuple):
    """A pending sync: when it is due, in fleet time, and its device's position."""

    moment: int
    position: int


class FleetChanges(Generic[_Fleet]):
    """Changes to a fleet that become true together, once they are applied.

    Each method sees the changes so far, so that they may touch a device twice.
    """

    __slots__ = (
        *("fleet", "profile", "clock", "devices", "scripts", "error_logs", "counts"),
        *("fault_rules", "request_counts", "journal_size", "_newly_pending"),
    )

    def __init__(self, fleet: _Fleet) -> None:
        self.fleet = fleet
        self.profile = fleet.profile
        self.clock = fleet.clock
        self.devices: dict[int, Device] = {}
        self.scripts: dict[int, Script | None] = {}
        self.error_logs: list[ErrorLog] = []
        self.counts: defaultdict[Count, int] = defaultdict(int)
        self.fault_rules: tuple[FaultRule, ...] | None = None
        """New rules for faults; what was counted for the old ones is forgotten."""
        self.request_counts: dict[int, int] = {}
        self.journal_size: int | None = None
        self._newly_pending = 0

    def begin(self, device_ids: Iterable[int], now: int) -> list[SyncResult]:
        """Begin an attempt of each device at fleet time `now`, or join, as the profile says."""
        return [self._begin(device_id, now) for device_id in device_ids]

    def _begin(self, device_id: int, now: int) -> SyncResult:
        fleet = self.fleet
        position = fleet.devices.position(device_id)
        if position is None:
            return SyncResult(SyncDecision.UNKNOWN, None)
        device = self._device(position)
        if device.pending is not None:
            if self.profile.refuse_pending:
                self.counts[REFUSED] += 1
                return SyncResult(SyncDecision.PENDING, device)
            self.counts[JOINED] += 1
            return SyncResult(SyncDecision.JOINED, device)
        if fleet.pending + self._newly_pending >= self.profile.max_pending:
            self.counts[REFUSED] += 1
            return SyncResult(SyncDecision.FULL, device)
        script = self.scripts.get(device_id, fleet.scripts.get(device_id))
        elapsed = now - fleet.started_at
        planned = plan(self.profile, script, device_id, device.attempt + 1, elapsed)
        if script is not None:
            self.scripts[device_id] = script.after()
        self._newly_pending += 1
        self.counts[ACCEPTED] += 1
        self.devices[position] = device = transitions.begin(device, now, planned)
        return SyncResult(SyncDecision.STARTED, device)

    def finish_due(self, due: Iterable[Due], now: int, *, by_itself: bool) -> list[FinishedSync]:
        """Let attempts come to their planned outcomes, in this order, at fleet time `now`.

        Only what finishes `by_itself` can be late. What is no longer pending is passed over.
        """
        finished = []
        for moment, position in due:
            device = self._device(position)
            if device.pending is not None and device.pending.due_at == moment:
                late = self.clock.lateness(moment, now) / SECOND if by_itself else None
                finished.append(self._finish(position, device, now, late))
        return finished

    def _finish(
        self, position: int, pending: Device, now: int, lateness: float | None
    ) -> FinishedSync:
        device, failure = transitions.finish(pending, now)
        self.devices[position] = device
        self._newly_pending -= 1
        log = None
        if failure is not None:
            log = failure.logged_as(self.fleet.next_error_id + len(self.error_logs))
            self.error_logs.append(log)
            self.counts[LOGGED] += 1
        # By the device, not by the failure: were the two to differ, the ledger must not balance.
        if device.sync_status_code == SUCCESS:
            self.counts[SUCCEEDED] += 1
        else:
            count = Count(str(device.sync_status_code), device.error_message or "")
            self.counts[self.fleet.counted_as(count, self.counts)] += 1
        return FinishedSync(device, log, lateness)

    def release(self, position: int, outcome: Outcome, now: int) -> FinishedSync:
        """Finish a held attempt with this outcome at fleet time `now`.

        Raises:
            NothingHeld: The device holds no attempt.
        """
        try:
            released = transitions.release(self._device(position), outcome, now)
        except transitions.InvalidTransition:
            raise NothingHeld from None
        return self._finish(position, released, now, lateness=None)

    def _device(self, position: int) -> Device:
        return self.devices.get(position) or self.fleet.devices.load(position)
