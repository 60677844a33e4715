"""What a fleet should be: a twin of it, made of nothing but records and written for plainness."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pisync.model.device import Device, Pending
from pisync.model.outcome import Outcome
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Step
from pisync.model.sync import (
    SyncDecision,
    SyncResult,
)
from pisync.model.timestamp import LATEST


@dataclass
class ReferenceModel:
    """A fleet that is told what is done to the one in the store. Its clock stands still.

    It does not live when it is made.
    """

    profile: Profile
    now: int
    generation: int
    first: Sequence[Device]
    first_errors: Sequence[tuple[object, ...]]
    started_at: int
    devices: dict[int, Device] = field(init=False)
    scripts: dict[int, tuple[list[Step], bool]] = field(default_factory=dict)
    polls: dict[int, tuple[int, Outcome]] = field(default_factory=dict)
    """For how many more reads devices are pending, and what they come to then, by id."""
    errors: list[tuple[object, ...]] = field(init=False)
    """Error logs, without their ids."""
    finished: list[tuple[int, int]] = field(default_factory=list)
    """Device and attempt of each end."""
    failed: Counter[Outcome] = field(default_factory=Counter)
    moments: dict[int, int] = field(default_factory=dict)
    """When devices sync by themselves next, by id."""
    accepted: int = 0
    joined: int = 0
    refused: int = 0
    succeeded: int = 0

    def __post_init__(self) -> None:
        self.devices = {device.device_id: device for device in self.first}
        self.errors = list(self.first_errors)

    @property
    def pending(self) -> list[Device]:
        return [each for each in self.devices.values() if each.sync_status_code == 202]

    @property
    def held(self) -> list[Device]:
        return [each for each in self.pending if due_of(each) is None]

    def due_until(self, until: int) -> list[Device]:
        """Return the devices that are due until then, in due order."""
        waiting = [each for each in self.pending if due_of(each) is not None]
        return sorted((each for each in waiting if due_at(each) <= until), key=due_at)

    # What is done

    def begin(self, device_ids: Iterable[int]) -> list[SyncResult]:
        return [self._begin(each) for each in device_ids]

    def _begin(self, device_id: int) -> SyncResult:
        device = self.devices.get(device_id)
        if device is None:
            return SyncResult(SyncDecision.UNKNOWN, None)
        if device.sync_status_code == 202:
            return SyncResult(self.join(), device)
        if len(self.pending) >= self.profile.max_pending:
            self.refused += 1
            return SyncResult(SyncDecision.FULL, device)
        return SyncResult(SyncDecision.STARTED, self.start(device_id))

    def join(self) -> SyncDecision:
        if self.profile.refuse_pending:
            self.refused += 1
            return SyncDecision.PENDING
        self.joined += 1
        return SyncDecision.JOINED

    def start(self, device_id: int, moment: int | None = None) -> Device:
        """Begin an attempt at a moment; None is now."""
        at = self.now if moment is None else moment
        device = self.devices[device_id]
        attempt = device.attempt + 1
        outcome, delay = self._plan(device_id, attempt, at)
        due = None if delay is None else min(at + delay, LATEST)
        self.accepted += 1
        self.devices[device_id] = Device(
            device_id,
            device.last_sync_at,
            202,
            None,
            max(at, device.last_attempt_at),
            attempt,
            Pending(outcome, due),
        )
        return self.devices[device_id]

    def _plan(self, device_id: int, attempt: int, at: int) -> tuple[Outcome | None, int | None]:
        outcome, delay = draw(self.profile, device_id, attempt, at - self.started_at)
        if device_id not in self.scripts:
            return outcome, delay
        steps, sticky = self.scripts[device_id]
        step = steps[0]
        if len(steps) > 1:
            del steps[0]
        elif not sticky:
            del self.scripts[device_id]
        if step.outcome is None:
            return None, None
        if step.polls is not None:
            self.polls[device_id] = step.polls, step.outcome
            return None, None
        return step.outcome, delay if step.delay is None else step.delay

    def read(self, devices: Iterable[Device]) -> list[Device]:
        """Read devices, which finishes those that were read often enough; return what they were."""
        shown = list(devices)
        for device in shown:
            if device.device_id in self.polls:
                remaining, outcome = self.polls[device.device_id]
                self.polls[device.device_id] = remaining - 1, outcome
                if remaining == 1:
                    self.finish(device, outcome)
        return shown

    def finish(self, device: Device, outcome: Outcome | None = None) -> None:
        """Let an attempt come to what was planned, or to an outcome that it is released with."""
        assert device.pending is not None
        self._finish(
            device, outcome or device.pending.outcome, self.now if outcome else due_at(device)
        )

    def _finish(self, device: Device, outcome: Outcome | None, occurred_at: int) -> None:
        assert outcome is not None
        code, message = outcome
        self.polls.pop(device.device_id, None)
        at = device.last_attempt_at
        synced = at if code == 200 else device.last_sync_at
        self.devices[device.device_id] = device._replace(
            last_sync_at=synced, sync_status_code=code, error_message=message, pending=None
        )
        self.finished.append((device.device_id, device.attempt))
        self._set_moment(device, occurred_at)
        if code == 200:
            self.succeeded += 1
        else:
            self.failed[outcome] += 1
            self.errors.append(
                (device.device_id, device.attempt, code, message, max(occurred_at, at))
            )

    def settle(self) -> int:
        """Finish all that is not held, though time stands still; return how many."""
        due = self.due_until(LATEST)
        for device in due:
            assert device.pending is not None
            self._finish(device, device.pending.outcome, min(due_at(device), self.now))
        return len(due)

    def move(self, until: int) -> int:
        """Let time pass until then; return how many syncs finished."""
        before = len(self.finished)
        while (first := min(self._happenings(), default=None)) and first[0] <= until:
            at, device_id, is_own = first
            if is_own:
                self._begin_own(device_id, at)
            else:
                self.finish(self.devices[device_id])
        self.now = until
        return len(self.finished) - before

    def _happenings(self) -> Iterator[tuple[int, int, bool]]:
        """Yield when each device has its next end or own beginning, its id, and which it is."""
        for device in self.pending:
            if (due := due_of(device)) is not None:
                yield due, device.device_id, False
        for device_id, moment in self.moments.items():
            yield moment, device_id, True

    # What devices do by themselves

    def change_profile(self, profile: Profile) -> None:
        """Let the fleet have another profile; another seed or traffic begins its life anew."""
        before, self.profile = self.profile, profile
        if (before.seed, before.traffic) != (profile.seed, profile.traffic):
            self._live_anew()

    def _live_anew(self) -> None:
        """Let devices that sync by themselves begin now, as those of a new fleet do."""
        self.moments = {}
        traffic = self.profile.traffic
        if traffic is None:
            return
        for device_id in self.devices:
            first = traffic.first(self.profile.seed, device_id)
            if first is not None:
                self.moments[device_id] = self.now + first

    def _begin_own(self, device_id: int, moment: int) -> None:
        device = self.devices[device_id]
        del self.moments[device_id]
        if device.sync_status_code == 202:
            return
        if len(self.pending) < self.profile.max_pending:
            self.start(device_id, moment)
        else:
            self.refused += 1
            self._set_moment(device, moment)

    def _set_moment(self, device: Device, end: int) -> None:
        traffic, seed = self.profile.traffic, self.profile.seed
        if traffic is not None and traffic.takes_part(seed, device.device_id):
            pause = traffic.pause(seed, device.device_id, device.attempt)
            self.moments[device.device_id] = end + pause


def due_of(device: Device) -> int | None:
    """Return when a pending device is due, or None if it is held."""
    assert device.pending is not None
    return device.pending.due_at


def due_at(device: Device) -> int:
    due = due_of(device)
    assert due is not None
    return due
