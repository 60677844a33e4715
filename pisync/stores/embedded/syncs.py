"""Attempts begin, and finish: when they are due, when time is moved, or when one is released."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

from pisync.model.clock import ClockSetting, ClockView
from pisync.model.device import Device
from pisync.model.outcome import Outcome
from pisync.model.requests.idempotency import KeyedRequest, KeyedStep, RememberedAnswer
from pisync.model.sync import ClockAdvance, FinishedSync, SyncResult
from pisync.model.timestamp import LATEST
from pisync.stores.base import BATCH
from pisync.stores.changes import BEYOND, STEP, Due, FleetChanges, Progress
from pisync.stores.embedded.fleet_registry import FleetRegistry
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Writer
from pisync.stores.errors import (
    ClockNotManual,
    FleetReplaced,
    NoSuchFleet,
    PastTheLastYear,
    StoreUnavailable,
)

_PREPARED_AT_ONCE = 1024
"""How many devices' first moments are computed in a turn of the event loop: some milliseconds."""
_MIN_SHARE = 16
"""How much is done in a turn for each fleet at least, where there are many."""


class EmbeddedStarter:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, registry: FleetRegistry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer

    def begin(
        self,
        fleet: str,
        device_ids: Iterable[int],
        *,
        generation: int | None = None,
        step: KeyedStep | None = None,
    ) -> Coroutine[Any, Any, Sequence[SyncResult]]:
        def mutation(transaction: Transaction) -> list[SyncResult]:
            chosen = transaction.fleet(fleet)
            if generation is not None and generation != chosen.generation:
                raise FleetReplaced
            changes = transaction.changes_of(chosen)
            now = changes.clock.now(self._registry.clocks.monotonic())
            if step is None:
                begun = changes.begin(device_ids, now)
            else:
                wall = self._registry.clocks.wall()
                known = chosen.requests.answers.find(step.request.key, wall)
                begun = changes.begin_step(device_ids, now, step, known, wall)
            transaction.on_commit(lambda: self._registry.tell_begun(chosen, begun))
            return begun

        # The writer's own coroutine: one of ours around it would cost each sync more.
        return self._writer.write(mutation)

    async def remembered(self, fleet: str, request: KeyedRequest) -> RememberedAnswer | None:
        answers = self._registry.fleet(fleet).requests.answers
        return answers.find(request.key, self._registry.clocks.wall())


class EmbeddedFinisher:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, registry: FleetRegistry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer
        self._now = registry.clocks.monotonic

    # By themselves

    async def finish_due(self, limit: int) -> int:
        return await self._writer.write(partial(self._finish_due, limit))

    def _finish_due(self, limit: int, transaction: Transaction) -> int:
        done = 0
        # None may keep the others waiting, however much it has to do.
        share = max(limit // max(len(self._registry.waiting), 1), _MIN_SHARE)
        for fleet in sorted(self._registry.waiting, key=_falls_due):
            # The transaction's clock: an earlier mutation may have stopped it.
            clock = transaction.clock_of(fleet)
            if not clock.stands_still and not transaction.has_ended(fleet):
                steps = self._run_until(
                    transaction, fleet, clock.now(self._now()), min(share, limit - done)
                )
                if steps:
                    done += steps
                else:
                    self._stop_waiting(fleet)
        return done

    def _run_until(self, transaction: Transaction, fleet: FleetState, now: int, limit: int) -> int:
        """Do what is due in a fleet by itself; return how much there was."""
        _prepare(fleet)
        due = self._take(transaction, fleet, now, limit)
        if not due:
            return 0
        changes = transaction.changes_of(fleet)
        self._run(transaction, changes, due, now, limit, by_itself=True)
        return len(due)

    def _stop_waiting(self, fleet: FleetState) -> None:
        if fleet.next_due() is None:
            self._registry.waiting.discard(fleet)

    async def next_due(self) -> float | None:
        waits = (self._registry.next_due(fleet) for fleet in self._registry.waiting)
        return min((wait for wait in waits if wait is not None), default=None)

    # When time is moved

    async def set_clock(self, name: str, speed: float, is_auto: bool = False) -> ClockView:
        setting = ClockSetting(speed, is_auto)
        while True:
            fleet = self._registry.fleet(name)
            async with fleet.moving:
                # The one that has taken its place is next.
                with suppress(FleetReplaced):
                    return await self._writer.write(partial(self._set_clock, fleet, setting))

    def _set_clock(
        self, fleet: FleetState, setting: ClockSetting, transaction: Transaction
    ) -> ClockView:
        changes = transaction.changes_of(same(transaction, fleet))
        now = self._now()
        was_auto = changes.clock.is_auto
        changes.clock = changes.clock.set_to(setting, now)
        transaction.on_commit(lambda: self._registry.tell_next_due(fleet))
        if setting.is_auto != was_auto:
            transaction.on_commit(lambda: self._registry.observer.reads_changed(fleet.name))
        return changes.clock.view(now)

    async def advance(self, name: str, microseconds: int) -> ClockAdvance:
        fleet = self._registry.fleet(name)
        async with fleet.moving:
            if not fleet.clock.stands_still:
                raise ClockNotManual
            target = fleet.clock.fleet_time + microseconds
            if target > LATEST:
                raise PastTheLastYear
            return await self._finish_until(fleet, target)

    async def settle(self, name: str) -> ClockAdvance:
        fleet = self._registry.fleet(name)
        async with fleet.moving:
            # Asked by a mutation, which waits for what is being written: that is in no queue.
            last_due = await self._writer.write(partial(_last_due, fleet))
            return await self._finish_until(fleet, last_due)

    async def run_to_due(self, name: str, device_id: int | None = None) -> bool:
        fleet = self._registry.fleet(name)
        async with fleet.moving:
            if not fleet.clock.is_auto:
                return False
            target = await self._writer.write(partial(_due_of, fleet, device_id))
            await self._finish_until(fleet, target)
            return target is not None

    def step(self, transaction: Transaction, fleet: FleetState) -> bool:
        """Move time that stands still to when something is due, and do all that is due then.

        Part of a mutation. Returns whether nothing is left to do there; else `finish_step` does it.
        """
        changes = transaction.changes_of(fleet)
        while (first := _first_due(changes)) is not None:
            until = max(first, changes.clock.fleet_time)
            taken = self._take(transaction, fleet, until, STEP)
            due = _with_new_dues(changes, taken, until)
            limit = len(due) if len(taken) == STEP else max(STEP, len(due) + 1)
            progress = self._run(transaction, changes, due, until, limit, by_itself=False)
            changes.clock = changes.clock.moved_to(progress.reached, self._now())
            # Else it was due no longer.
            if progress.changed:
                return progress.is_over
        return True

    async def finish_step(self, fleet: FleetState) -> None:
        """Do what `step` has left to do at the present time of a fleet.

        Raises:
            FleetReplaced: The fleet has ended.
        """
        await self._finish_until(fleet, fleet.clock.fleet_time)

    async def prepare(self, fleet: FleetState) -> None:
        """Compute when devices begin their own attempts, where a fleet lives."""
        while not _prepare(fleet):  # noqa: ASYNC110 - it is this that does it
            await asyncio.sleep(0)

    async def _finish_until(self, fleet: FleetState, target: int | None) -> ClockAdvance:
        """Finish what is due up to `target`, some at a time; a manual clock moves along.

        If a step can't be written, the answer is what the steps before it did.
        """
        finished, more = 0, target is not None
        while target is not None and more:
            try:
                step, more = await self._writer.write(partial(self._finish_some, fleet, target))
            except StoreUnavailable:
                if not finished:
                    raise
                break
            finally:
                # What was to finish here was out of its queue: whoever looked meanwhile missed it.
                self._registry.tell_next_due(fleet)
            finished += step
            await asyncio.sleep(0)
        return ClockAdvance(fleet.clock.now(self._now()), finished)

    def _finish_some(
        self, fleet: FleetState, target: int, transaction: Transaction
    ) -> tuple[int, bool]:
        """Finish the next that are due up to `target`; if there are none, the clock moves there.

        Returns how many finished, and whether there is more to do.
        """
        changes = transaction.changes_of(same(transaction, fleet))
        if not _prepare(fleet):
            return 0, True
        real_time = self._now()
        if not changes.clock.stands_still:
            # Its time has not come yet: only what is pending finishes now.
            due = self._take(transaction, fleet, target, BATCH, own=False)
            self._finish(transaction, changes, due, changes.clock.now(real_time))
            return len(due), bool(due)
        due = self._take(transaction, fleet, target, STEP)
        progress = self._run(transaction, changes, due, target, STEP, by_itself=False)
        changes.clock = changes.clock.moved_to(progress.reached, real_time)
        return len(progress.finished), not progress.is_over

    def _take(
        self,
        transaction: Transaction,
        fleet: FleetState,
        until: int,
        limit: int,
        *,
        own: bool = True,
    ) -> list[Due]:
        """Take what is due from a fleet's queues; it goes back there if the transaction fails."""
        due = fleet.take_due(until, limit, own=own)
        if due:
            transaction.on_rollback(lambda: self._registry.give_back(fleet, due))
        return due

    def _run(
        self,
        transaction: Transaction,
        changes: FleetChanges[FleetState],
        due: Sequence[Due],
        until: int,
        limit: int,
        *,
        by_itself: bool,
    ) -> Progress:
        """Do what is due; what is left of it goes back to the fleet's queues."""
        fleet = changes.fleet
        progress = changes.run(due, until, until, limit, by_itself=by_itself)
        if progress.left:
            transaction.on_commit(lambda: self._registry.give_back(fleet, progress.left))
        if progress.changed:
            transaction.on_commit(lambda: self._registry.tell_progress(fleet, progress))
        return progress

    def _finish(
        self,
        transaction: Transaction,
        changes: FleetChanges[FleetState],
        due: Sequence[Due],
        now: int,
    ) -> None:
        """Finish what was taken from a fleet's queue before its time has come."""
        finished = changes.finish_due(due, now, by_itself=False)
        self._on_commit_tell(transaction, changes.fleet, finished)

    # When one is released

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        def mutation(transaction: Transaction) -> Device:
            chosen = transaction.fleet(fleet)
            changes = transaction.changes_of(chosen)
            now = changes.clock.now(self._now())
            position = chosen.position(device_id)
            chosen.texts.check_room(self._registry.budgets.text_bytes, [outcome.error_message])
            known = chosen.texts.known(outcome)
            finished = changes.release(position, known, now)
            chosen.texts.shared(known.error_message)
            self._on_commit_tell(transaction, chosen, [finished])
            if chosen.moments is not None:
                transaction.on_commit(lambda: self._registry.look_soon(chosen))
            return finished.device

        return await self._writer.write(mutation)

    def _on_commit_tell(
        self, transaction: Transaction, fleet: FleetState, finished: Sequence[FinishedSync]
    ) -> None:
        if finished:
            transaction.on_commit(lambda: self._registry.tell_finished(fleet, finished))


def same(transaction: Transaction, fleet: FleetState) -> FleetState:
    """Return a fleet that was looked up before.

    Raises:
        FleetReplaced: It has ended since.
    """
    try:
        if transaction.fleet(fleet.name) is fleet:
            return fleet
    except NoSuchFleet:
        pass
    raise FleetReplaced


def _prepare(fleet: FleetState) -> bool:
    """Compute some moments of a fleet that begins to live; say whether all are known."""
    moments = fleet.moments
    if moments is None or moments.is_ready:
        return True
    moments.prepare(_PREPARED_AT_ONCE)
    return moments.is_ready


def _last_due(fleet: FleetState, transaction: Transaction) -> int | None:
    return same(transaction, fleet).last_due()


def _due_of(fleet: FleetState, device_id: int | None, transaction: Transaction) -> int | None:
    """Return when a device's attempt falls due (None: the last that is pending), if it does."""
    fleet = same(transaction, fleet)
    if device_id is None:
        return fleet.last_due()
    pending = fleet.devices.load(fleet.position(device_id)).pending
    return None if pending is None else pending.due_at


def _first_due(changes: FleetChanges[FleetState]) -> int | None:
    """Return the earliest fleet time at which something is due, of what is new, too."""
    fleet = changes.fleet
    first = fleet.take_due(LATEST, 1)
    fleet.give_back(first)
    return min((due.moment for due in (*first, *_new_dues(changes))), default=None)


def _new_dues(changes: FleetChanges[FleetState]) -> list[Due]:
    """Return what has become due, or is to begin, by changes that are not applied yet."""
    pending = (
        Due(device.pending.due_at, position)
        for position, device in changes.devices.items()
        if device.pending is not None and device.pending.due_at is not None
    )
    own = (
        Due(moment, position, is_own=True)
        for position, moment in changes.moments.items()
        if moment is not None
    )
    return [*pending, *own]


def _with_new_dues(
    changes: FleetChanges[FleetState], taken: Sequence[Due], until: int
) -> Sequence[Due]:
    """Return what was taken with what is new, in order: up to `until`, or to the last of a STEP."""
    last = taken[-1] if len(taken) == STEP else Due(until, BEYOND)
    new = [due for due in _new_dues(changes) if due <= last]
    return sorted((*taken, *new)) if new else taken


def _falls_due(fleet: FleetState) -> float:
    """Return the real time at which a fleet's next sync falls, or fell, due; infinity for never."""
    due = fleet.next_due()
    return inf if due is None else fleet.clock.real_time_of(due)
