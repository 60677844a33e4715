"""One fleet in memory."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

from pisync.model.clock import Clock
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import (
    LOGGED,
    MAX_MESSAGES,
    OTHER_MESSAGES,
    Count,
    FirstData,
    FleetTimes,
    FleetView,
    Ledger,
    Lifetime,
    Listed,
    Stats,
)
from pisync.model.outcome import STATUS_CODES
from pisync.model.plans.polls import Polls
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script
from pisync.stores.changes import Due, FleetChanges
from pisync.stores.embedded.bounds.budgets import FleetBudgets, FleetShares
from pisync.stores.embedded.bounds.texts import Texts, steps_of_profile
from pisync.stores.embedded.device_table import DeviceTable
from pisync.stores.embedded.error_history import ErrorHistory
from pisync.stores.embedded.moments import Moments, packed, unpacked
from pisync.stores.embedded.requests.state import RequestState
from pisync.stores.errors import NoSuchDevice

# A named tuple's own constructor takes twice as long.
_new = tuple.__new__

Container = list[Any] | dict[Any, Any] | deque[Any]


class FleetState:
    """A fleet's state. A reset makes a new one, and what was pending goes with the old."""

    def __init__(
        self,
        name: str,
        generation: int,
        first: FirstData,
        times: FleetTimes,
        profile: Profile,
        clock: Clock,
        budgets: FleetBudgets,
    ) -> None:
        self.shares = FleetShares(budgets)
        self.texts = Texts(self.shares.text_bytes)
        first = self.texts.of_first_data(first)
        self._profile_steps = 0
        self.take_profile(profile)
        self.name = name
        self.generation = generation
        self.first = first
        self.made_at, self.started_at = times
        self.clock = clock
        self.lifetime: Lifetime | None = None
        """Of a fleet with a ttl."""
        self.moving = asyncio.Lock()
        """Held while the clock is moved or its speed is changed."""
        self.scripts: dict[int, Script] = {}
        self.polls: dict[int, Polls] = {}
        """Of the devices whose attempt is pending for so many reads."""
        self.devices = DeviceTable(first, times)
        logs = first.error_logs if isinstance(first, Listed) else ()
        self.errors = ErrorHistory(logs, budgets.max_error_logs, self.shares)
        # One integer a pending sync: due time and position. Held syncs have none, since a release
        # finishes them at once.
        self._queue: list[int] = []
        self.counts: Counter[Count] = Counter()
        self.requests = RequestState(self.shares, budgets.max_keys)
        self.moments: Moments | None = None
        """Of a fleet that lives."""
        self.start_living(self.started_at)

    @property
    def live_since(self) -> int | None:
        """The fleet time since which devices sync by themselves, if they do."""
        return None if self.moments is None else self.moments.since

    def start_living(self, since: int) -> None:
        """Let devices sync by themselves from a fleet time on, as the profile says, if it does."""
        traffic = self.profile.traffic
        self.moments = (
            None
            if traffic is None
            else Moments(traffic, self.profile.seed, since, self.devices.ids)
        )

    def restore(
        self,
        devices: Iterable[Device],
        moments: Mapping[int, int],
        scripts: Mapping[int, Script],
        polls: Mapping[int, Polls],
        error_logs: Sequence[ErrorLog],
        counts: Mapping[Count, int],
    ) -> None:
        """Restore what was kept of the fleet: all that differs from its first data."""
        texts = self.texts
        for device in devices:
            self._save(self.position(device.device_id), texts.of_device(device))
        if self.moments is not None:
            for device_id, moment in moments.items():
                self.moments.set(self.position(device_id), moment)
        for device_id, script in scripts.items():
            self._set_script(device_id, texts.of_script(script))
        self._set_polls({device_id: texts.of_polls(each) for device_id, each in polls.items()})
        self.counts.update(counts)
        self.errors.restore(texts.of_error_logs(error_logs), self.counts[LOGGED])

    def containers(self) -> list[Container]:
        """Return what may hold many objects, for whoever frees them."""
        first = [*self.first] if isinstance(self.first, Listed) else []
        requests = self.requests
        return [
            *(each for each in first if isinstance(each, list)),
            *(self.devices.messages, self.scripts, self.polls, self._queue, self.counts),
            *(*self.errors.containers(), *self.texts.containers()),
            *(requests.counts, requests.answers.container),
            *requests.journal.containers(),
        ]

    # Reading

    def view(self, real_time: int, wall: int) -> FleetView:
        """Return a view of the fleet at a real time, and at that time of the wall clock."""
        lifetime = self.lifetime
        return FleetView(
            self.name,
            self.generation,
            len(self.devices),
            self.profile,
            self.clock.view(real_time),
            self.started_at,
            self.requests.journal.size,
            lifetime and lifetime.ttl,
            lifetime and wall + lifetime.expires_at - real_time,
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
        return self.devices.pending

    @property
    def has_something_due(self) -> bool:
        """Whether something is pending that finishes by itself."""
        return self.devices.pending > self.devices.held

    @property
    def next_error_id(self) -> int:
        """The id that the next error log must have."""
        return self.errors.next_id

    def counted_as(self, failure: Count, changes: Mapping[Count, int]) -> Count:
        """Return what a failure counts as, after `changes`: there may be too many messages."""
        if failure in self.counts or failure in changes:
            return failure
        # Not counted exactly before it may matter: that takes a walk.
        if len(self.counts) + len(changes) >= MAX_MESSAGES:
            known = {count for count in (*self.counts, *changes) if count.what == failure.what}
            if len(known - {failure._replace(error_message=OTHER_MESSAGES)}) >= MAX_MESSAGES:
                return failure._replace(error_message=OTHER_MESSAGES)
        return failure

    def position(self, device_id: int) -> int:
        """Return a device's position.

        Raises:
            NoSuchDevice: There is none with this id.
        """
        position = self.devices.position(device_id)
        if position is None:
            raise NoSuchDevice
        return position

    # What is due

    def next_due(self) -> int | None:
        """Return the earliest fleet time at which there is something to do."""
        if self.moments is None:
            return unpacked(self._queue[0])[0] if self._queue else None
        if not self.moments.is_ready:
            return self.moments.since
        own = self.moments.earliest
        entries = [entry for entry in (*self._queue[:1], own) if entry is not None]
        return unpacked(min(entries))[0] if entries else None

    def begins_with_one_of(self, devices: Iterable[Device]) -> bool:
        """Say whether one of these pending devices is the next to fall due."""
        if not self._queue:
            return False
        earliest, _ = unpacked(self._queue[0])
        return earliest in [device.pending.due_at for device in devices if device.pending]

    def last_due(self) -> int | None:
        """Return the latest fleet time at which a pending sync falls due."""
        return unpacked(max(self._queue))[0] if self._queue else None

    def take_due(self, until: int, limit: int, *, own: bool = True) -> list[Due]:
        """Take at most `limit` syncs that are due at `until` or before, in due order.

        With them, unless `own` is false, the devices' own attempts that are to begin until then.
        """
        queue, beyond = self._queue, packed(until + 1, 0)
        moments = self.moments if own else None
        taken: list[Due] = []
        while len(taken) < limit:
            first = queue[0] if queue else beyond
            if moments is not None and (entry := moments.earliest) is not None and entry < first:
                if entry >= beyond:
                    break
                if (due := moments.take()) is not None:
                    taken.append(due)
            elif first < beyond:
                taken.append(_new(Due, (*unpacked(heappop(queue)), False)))
            else:
                break
        return taken

    def give_back(self, due: Iterable[Due]) -> None:
        """Put back what was taken and could not be finished."""
        own = []
        for each in due:
            if each.is_own:
                own.append(each)
            else:
                heappush(self._queue, packed(each.moment, each.position))
        if self.moments is not None:
            self.moments.give_back(own)

    # Writing

    def apply(self, changes: FleetChanges["FleetState"]) -> None:
        """Make changes true."""
        if changes.profile is not self.profile:
            self.take_profile(changes.profile)
        self.clock = changes.clock
        # As `_save` does: a call more would cost each change a tenth.
        save, queue = self.devices.save, self._queue
        for position, device in changes.devices.items():
            save(position, device)
            pending = device.pending
            if pending is not None and pending.due_at is not None:
                heappush(queue, packed(pending.due_at, position))
        if changes.traffic_since is not None:
            self.start_living(changes.traffic_since)
        if self.moments is not None:
            self.moments.update(changes.moments)
        for device_id, script in changes.scripts.items():
            self._set_script(device_id, script)
        if changes.polls:
            self._set_polls(changes.polls)
        for log in changes.error_logs:
            self.errors.append(log)
        self.requests.apply(changes)
        # Not `update`, which takes five times as long for so few.
        for what, count in changes.counts.items():
            self.counts[what] += count

    def take_profile(self, profile: Profile) -> None:
        """Let attempts that begin from now on follow a profile."""
        self.profile = profile
        self.texts.hold_profile(profile)
        steps = steps_of_profile(profile)
        self.shares.script_steps.change(steps - self._profile_steps)
        self._profile_steps = steps

    def _set_script(self, device_id: int, script: Script | None) -> None:
        old = self.scripts.pop(device_id, None)
        if script is not None:
            self.scripts[device_id] = script
        self.shares.script_steps.change(_steps(script) - _steps(old))

    def _set_polls(self, polls: Mapping[int, Polls | None]) -> None:
        before = len(self.polls)
        for device_id, of_device in polls.items():
            if of_device is None:
                self.polls.pop(device_id, None)
            else:
                self.polls[device_id] = of_device
        # Each is a step of a script that outlives the script.
        self.shares.script_steps.change(len(self.polls) - before)

    def _save(self, position: int, device: Device) -> None:
        self.devices.save(position, device)
        if device.pending is not None and device.pending.due_at is not None:
            heappush(self._queue, packed(device.pending.due_at, position))


def _steps(script: Script | None) -> int:
    return 0 if script is None else len(script.steps)
