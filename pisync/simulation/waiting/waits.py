"""Reads that wait, for so many seconds at most, until what they show is what was waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from pisync.model.device import Device
from pisync.model.fleet import Stats
from pisync.simulation.calls import CallsUnderWay
from pisync.simulation.waiting.waiters import Subject, Waiters
from pisync.stores.base import Store
from pisync.stores.errors import FleetReplaced

_Value = TypeVar("_Value")
_Look = Callable[[], Awaitable[tuple[_Value, bool]]]
"""Reads something; returns it, and whether to wait no longer."""


class Waits:
    """Reads devices and counts when they are as they were waited for.

    A read answers sooner where the fleet starts over, with what is there then, and where the server
    is about to stop. A clock that moves itself is moved to when what is waited for is due; what is
    waited for on any other clock, others bring about.
    """

    def __init__(self, store: Store, waiters: Waiters, calls: CallsUnderWay) -> None:
        self._queries = store.queries
        self._acting_reads = store.acting_reads
        self._finisher = store.finisher
        self._waiters = waiters
        self._calls = calls

    async def device(
        self, fleet: str, device_id: int, seconds: float, is_awaited: Callable[[Device], bool]
    ) -> Device:
        """Return a device when `is_awaited` is true of it, or as it is after so many seconds.

        An attempt that is pending for so many reads is not waited for: this is one of them.

        Raises:
            NoPlaceLeft: Too many calls wait, or too many streams are open.
            NoSuchFleet: There is no such fleet, or no longer.
            NoSuchDevice: It has no such device, or no longer.
        """

        async def look() -> tuple[Device, bool]:
            if not self._acting_reads.acts(fleet):
                device = await self._queries.device(fleet, device_id)
                return device, is_awaited(device)
            # Before it is read, which may finish the attempt.
            is_polled = await self._queries.is_polled(fleet, device_id)
            device = await self._acting_reads.device(fleet, device_id)
            return device, is_polled or is_awaited(device)

        return await self._wait(fleet, device_id, seconds, look)

    async def stats(self, fleet: str, seconds: float) -> Stats:
        """Return a fleet's counts when it is at rest, or as they are after so many seconds.

        At rest, nothing is pending that would finish by itself: held attempts aside.

        Raises:
            NoPlaceLeft: Too many calls wait, or too many streams are open.
            NoSuchFleet: There is no such fleet, or no longer.
        """

        async def look() -> tuple[Stats, bool]:
            while True:
                stats = await self._queries.stats(fleet)
                if not stats.pending:
                    return stats, True
                ledger = await self._queries.ledger(fleet)
                if ledger.held < ledger.pending:
                    return stats, False
                if ledger.pending == stats.pending:
                    return stats, True
                # Something has happened between the two reads.

        return await self._wait(fleet, None, seconds, look)

    async def _wait(
        self, fleet: str, subject: Subject, seconds: float, look: _Look[_Value]
    ) -> _Value:
        until = asyncio.get_running_loop().time() + seconds
        value, is_over = await look()
        if is_over:
            return value
        # Before the next look: whatever happens from here on wakes this call.
        with self._waiters.enter(fleet, subject) as waiter:
            generation = await self._generation(fleet)
            while True:
                if waiter.has_started_over:
                    waiter.has_started_over = False
                    # On a shared store, this may have been heard late, or be about another fleet.
                    if await self._generation(fleet) != generation:
                        break
                has_moved = await self._move_time(fleet, subject)
                value, is_over = await look()
                if is_over:
                    waiter.has_seen_it = True
                    return value
                # What was pending then is not any more. Where devices sync by themselves, the next
                # may always be.
                if has_moved or not await waiter.woken(until):
                    break
            value, _ = await look()
            return value

    async def _move_time(self, fleet: str, subject: Subject) -> bool:
        """Move a clock that moves itself to when what is waited for is due, if it is.

        Returns whether it was.
        """
        if self._acting_reads.acts(fleet):
            with suppress(FleetReplaced):
                return await self._calls.finish(self._finisher.run_to_due(fleet, subject))
        return False

    async def _generation(self, fleet: str) -> int:
        return (await self._queries.fleet(fleet)).generation
