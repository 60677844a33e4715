"""What changes in a fleet: computed first, from what is known of it, and applied as a whole."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from typing import Generic, NamedTuple, Protocol, TypeVar

from pisync.model import device as transitions
from pisync.model.clock import Clock
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import ACCEPTED, JOINED, LOGGED, REFUSED, SUCCEEDED, Count
from pisync.model.outcome import SUCCESS, Outcome
from pisync.model.plans.polls import Polls
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, plan
from pisync.model.requests.fault import FaultRule
from pisync.model.requests.idempotency import KeyedStep, RememberedAnswer
from pisync.model.sync import FinishedSync, SyncDecision, SyncResult
from pisync.model.timestamp import LATEST, SECOND
from pisync.stores.errors import NothingHeld, RequestRemembered


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
    def polls(self) -> Mapping[int, Polls]:
        """The polls of those of these devices whose attempt has some."""

    @property
    def pending(self) -> int:
        """How many syncs are pending, held ones included."""

    @property
    def next_error_id(self) -> int:
        """The id that the next error log must have."""

    def counted_as(self, failure: Count, changes: Mapping[Count, int]) -> Count:
        """Return what a failure counts as, after `changes`: there may be too many messages."""


_Fleet = TypeVar("_Fleet", bound=KnownFleet)

# By themselves: to look one up in the enumeration takes a tenth of a microsecond.
_STARTED, _JOINED = SyncDecision.STARTED, SyncDecision.JOINED
_REFUSED, _FULL, _UNKNOWN = SyncDecision.PENDING, SyncDecision.FULL, SyncDecision.UNKNOWN
_COUNTS = ((_STARTED, ACCEPTED), (_JOINED, JOINED), (_REFUSED, REFUSED), (_FULL, REFUSED))
# A named tuple's own constructor takes twice as long.
_new = tuple.__new__

STEP = 1024
"""How much of what is due is done in one step of `advance`, which takes some milliseconds."""
BEYOND = 2**62
"""A position after every other."""


class Due(NamedTuple):
    """A pending sync: when it is due, in fleet time, and its device's position.

    Or a device's own attempt, and when it is to begin.
    """

    moment: int
    position: int
    is_own: bool = False


class Progress(NamedTuple):
    """What came of what was due: what began, what finished, and all of that in its order."""

    begun: list[SyncResult]
    finished: list[FinishedSync]
    changed: list[Device | ErrorLog]
    reached: int
    """The fleet time until which all is done."""
    left: Sequence[Due]
    """What was due by then, or after, and is still to be done."""
    is_over: bool
    """Whether nothing is left to do, and nothing came of it that is."""


def all_of(finished: Sequence[FinishedSync]) -> Progress:
    """Return that these syncs have finished."""
    changed: list[Device | ErrorLog] = []
    for device, error_log, _ in finished:
        changed.append(device)
        if error_log is not None:
            changed.append(error_log)
    return Progress([], list(finished), changed, 0, (), is_over=True)


@lru_cache(maxsize=1024)
def _failure(sync_status_code: int, error_message: str | None) -> Count:
    """Return what a failure counts as, whatever came before it."""
    return Count(str(sync_status_code), error_message or "")


class FleetChanges(Generic[_Fleet]):
    """Changes to a fleet that become true together, once they are applied.

    Each method sees the changes so far, so that they may touch a device twice.
    """

    __slots__ = (
        *("fleet", "profile", "clock", "devices", "moments", "traffic_since", "scripts"),
        *("polls", "error_logs", "counts", "fault_rules", "request_counts", "journal_size"),
        *("remembered", "remembered_at", "_pending"),
    )

    def __init__(self, fleet: _Fleet) -> None:
        self.fleet = fleet
        self.profile = fleet.profile
        self.clock = fleet.clock
        self.devices: dict[int, Device] = {}
        self.moments: dict[int, int | None] = {}
        """When devices begin their next own attempt, if ever, once nothing is pending."""
        self.traffic_since: int | None = None
        """When devices begin anew to sync by themselves, after a change of the profile."""
        self.scripts: dict[int, Script | None] = {}
        self.polls: dict[int, Polls | None] = {}
        self.error_logs: list[ErrorLog] = []
        self.counts: defaultdict[Count, int] = defaultdict(int)
        self.fault_rules: tuple[FaultRule, ...] | None = None
        """New rules for faults; what was counted for the old ones is forgotten."""
        self.request_counts: dict[int, int] = {}
        self.journal_size: int | None = None
        self.remembered: dict[bytes, RememberedAnswer] | None = None
        """New answers to remember, by key; None where there are none, as mostly."""
        self.remembered_at = 0
        """When that was, by the wall clock."""
        self._pending = fleet.pending
        """How many syncs are pending."""

    def change_profile(self, profile: Profile, now: int) -> None:
        """Let this profile decide what comes from fleet time `now` on."""
        before, self.profile = self.profile, profile
        if (profile.traffic, profile.seed) != (before.traffic, before.seed):
            self.traffic_since = now
            self.moments = dict.fromkeys(self.moments)

    def begin(self, device_ids: Iterable[int], now: int) -> list[SyncResult]:
        """Begin an attempt of each device at fleet time `now`, or join, as the profile says."""
        begun = [self._begin(device_id, now) for device_id in device_ids]
        self._count([decision for decision, _ in begun])
        return begun

    def _count(self, decisions: list[SyncDecision]) -> None:
        # Together: to look a count up takes longer than to compare some decisions.
        for decision, count in _COUNTS:
            number = decisions.count(decision)
            if number:
                self.counts[count] += number

    def begin_step(
        self,
        device_ids: Iterable[int],
        now: int,
        step: KeyedStep,
        known: RememberedAnswer | None,
        wall: int,
    ) -> list[SyncResult]:
        """Begin attempts, as `begin` does, and remember the answer with them.

        Args:
            device_ids: The devices.
            now: The fleet's time.
            step: What is done, and remembered.
            known: What was remembered under its key before these changes.
            wall: The time by the wall clock.

        Raises:
            RequestRemembered: The step does not follow what is remembered; nothing has changed.
        """
        key = step.request.key
        if self.remembered is not None:
            known = self.remembered.get(key, known)
        if known is not None and not step.follows(known):
            raise RequestRemembered(known)
        begun = self.begin(device_ids, now)
        answer = step.remembered(begun)
        if answer is not None:
            self.remembered = self.remembered or {}
            self.remembered[key] = answer
            self.remembered_at = wall
        return begun

    def _begin(self, device_id: int, now: int) -> SyncResult:
        fleet = self.fleet
        position = fleet.devices.position(device_id)
        if position is None:
            return SyncResult(_UNKNOWN, None)
        device = self.device(position)
        if device.pending is not None:
            return _new(SyncResult, (_REFUSED if self.profile.refuse_pending else _JOINED, device))
        return self._start(position, device, now)

    def _start(self, position: int, device: Device, now: int) -> SyncResult:
        """Begin an attempt of a device that is not pending, if there is room."""
        fleet, device_id = self.fleet, device.device_id
        if self._pending >= self.profile.max_pending:
            return _new(SyncResult, (_FULL, device))
        script = self.scripts.get(device_id, fleet.scripts.get(device_id))
        elapsed = now - fleet.started_at
        planned = plan(self.profile, script, device_id, device.attempt + 1, elapsed)
        if script is not None:
            self.scripts[device_id] = script.after()
            if (polls := script.step.polls_of(device.attempt + 1)) is not None:
                self.polls[device_id] = polls
        self._pending += 1
        self.devices[position] = device = transitions.begin(device, now, planned)
        return _new(SyncResult, (_STARTED, device))

    def run(
        self, due: Sequence[Due], until: int, now: int, limit: int, *, by_itself: bool
    ) -> Progress:
        """Let attempts begin and finish in the order in which they are due.

        So do those that fall due because of them: however late it is at fleet time `now`, and
        however much is done at a time, it is as if each had its turn just when it was due.

        Args:
            due: What is due up to `until`, in order: all of it, or the first `limit`.
            until: The fleet time, at most `now`, up to which to go on.
            now: The fleet's time.
            limit: Half of what to do at most.
            by_itself: As for `finish_due`.
        """
        is_all = len(due) < limit
        end = Due(until, BEYOND) if is_all else due[-1]
        progress = Progress([], [], [], until, (), is_all)
        more: list[Due] = []
        place = 0
        # Twice: what begins here may finish here.
        for _ in range(2 * limit):
            if more and (place == len(due) or more[0] < due[place]):
                entry = heappop(more)
            elif place < len(due):
                entry = due[place]
                place += 1
            else:
                reached = until if is_all else end.moment
                return progress._replace(reached=reached)
            following = self._run_one(entry, now, progress, by_itself=by_itself)
            if following is not None and following <= end:
                heappush(more, following)
        return progress._replace(
            reached=entry.moment,
            left=due[place:],
            is_over=is_all and not more and place == len(due),
        )

    def _run_one(self, due: Due, now: int, progress: Progress, *, by_itself: bool) -> Due | None:
        """Do what is due, if it still is; return what the device has due next, if anything."""
        moment, position, is_own = due
        device = self.device(position)
        pending = device.pending
        if is_own:
            # The moment passes where something is pending, or has been since it was set.
            if pending is not None or self.moments.get(position, moment) != moment:
                return None
            return self._begin_own(position, device, moment, progress)
        if pending is None or pending.due_at != moment:
            return None
        late = self.clock.lateness(moment, now) / SECOND if by_itself else None
        sync = self._finish(position, device, now, late)
        progress.finished.append(sync)
        progress.changed.append(sync.device)
        if sync.error_log is not None:
            progress.changed.append(sync.error_log)
        own = self.moments.get(position)
        return None if own is None else Due(own, position, is_own=True)

    def _begin_own(
        self, position: int, device: Device, moment: int, progress: Progress
    ) -> Due | None:
        """Begin a device's own attempt, if the fleet still lives and has room for it."""
        self.devices[position] = device
        self.moments[position] = None
        if self.profile.traffic is None:
            return None
        decision, begun = result = self._start(position, device, moment)
        self._count([decision])
        if decision is not _STARTED or begun is None or begun.pending is None:
            # The moment passes.
            following = self.moments[position] = self._moment_after(device, moment)
            return None if following is None else Due(following, position, is_own=True)
        progress.begun.append(result)
        progress.changed.append(begun)
        due_at = begun.pending.due_at
        return None if due_at is None else Due(due_at, position)

    def _moment_after(self, device: Device, end: int) -> int | None:
        """Return when a device whose attempt ended at `end` begins its next own one, if ever."""
        traffic, seed = self.profile.traffic, self.profile.seed
        if traffic is None or not traffic.takes_part(seed, device.device_id):
            return None
        moment = end + traffic.pause(seed, device.device_id, device.attempt)
        return moment if moment <= LATEST else None

    def finish_due(self, due: Iterable[Due], now: int, *, by_itself: bool) -> list[FinishedSync]:
        """Let attempts come to their planned outcomes, in this order, at fleet time `now`.

        Only what finishes `by_itself` can be late. What is no longer pending is passed over.
        """
        finished = []
        for moment, position, _ in due:
            device = self.device(position)
            if device.pending is not None and device.pending.due_at == moment:
                late = self.clock.lateness(moment, now) / SECOND if by_itself else None
                finished.append(self._finish(position, device, now, late))
        return finished

    def _finish(
        self, position: int, pending: Device, now: int, lateness: float | None
    ) -> FinishedSync:
        device, failure = transitions.finish(pending, now)
        self.devices[position] = device
        if self.profile.traffic is not None and pending.pending is not None:
            end = now if pending.pending.due_at is None else min(pending.pending.due_at, now)
            self.moments[position] = self._moment_after(device, end)
        self._pending -= 1
        log = None
        if failure is not None:
            log = failure.logged_as(self.fleet.next_error_id + len(self.error_logs))
            self.error_logs.append(log)
            self.counts[LOGGED] += 1
        # By the device, not by the failure: were the two to differ, the ledger must not balance.
        if device.sync_status_code == SUCCESS:
            self.counts[SUCCEEDED] += 1
        else:
            count = _failure(device.sync_status_code, device.error_message)
            self.counts[self.fleet.counted_as(count, self.counts)] += 1
        return _new(FinishedSync, (device, log, lateness))

    def release(self, position: int, outcome: Outcome, now: int) -> FinishedSync:
        """Finish a held attempt with this outcome at fleet time `now`.

        Raises:
            NothingHeld: The device holds no attempt.
        """
        try:
            released = transitions.release(self.device(position), outcome, now)
        except transitions.InvalidTransition:
            raise NothingHeld from None
        if self.polls_of(released) is not None:
            self.polls[released.device_id] = None
        return self._finish(position, released, now, lateness=None)

    def polls_of(self, device: Device) -> Polls | None:
        """Return the polls of a device's present attempt, if it has any."""
        device_id = device.device_id
        polls = self.polls.get(device_id, self.fleet.polls.get(device_id))
        return polls if polls is not None and polls.are_of(device) else None

    def count_reads(self, positions: Iterable[int], now: int) -> list[FinishedSync]:
        """Count a read of each of these devices, whose attempts have polls, at fleet time `now`.

        Attempts that were read often enough finish.
        """
        finished = []
        for position in positions:
            device = self.device(position)
            polls = self.polls_of(device)
            if polls is None:
                continue
            left = self.polls[device.device_id] = polls.after_read()
            if left is None:
                finished.append(self.release(position, polls.outcome, now))
        return finished

    def device(self, position: int) -> Device:
        """Return the device at a position, as the changes so far leave it."""
        return self.devices.get(position) or self.fleet.devices.load(position)
