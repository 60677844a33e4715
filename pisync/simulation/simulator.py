"""The simulator: begins attempts, and one loop that finishes them, however many are pending."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.model.clock import ClockSetting, ClockView
from pisync.model.device import Device
from pisync.model.outcome import Outcome
from pisync.model.plans.draw import Draw, draw
from pisync.model.requests.idempotency import (
    KeyedRequest,
    KeyedStep,
    RememberedAnswer,
    accepted_device,
)
from pisync.model.sync import ClockAdvance, SyncResult
from pisync.simulation.alarm import Alarm
from pisync.simulation.bulk import BulkResult, BulkSyncs
from pisync.simulation.calls import CallsUnderWay
from pisync.simulation.events import Broker
from pisync.simulation.lateness import LatenessView
from pisync.simulation.observer import SimulationObserver
from pisync.simulation.rates import RateHistory
from pisync.simulation.waiting.waiters import Waiters
from pisync.simulation.waiting.waits import Waits
from pisync.stores.base import BATCH, Store
from pisync.stores.errors import StoreUnavailable
from pisync.telemetry.logs import get_logger
from pisync.telemetry.metrics import Metrics

RETRY = 1.0
"""Seconds until the loop tries again after the store failed."""

_log = get_logger()


class Simulator:
    """Begins and finishes attempts in a store.

    Whoever answers calls about fleets needs nothing else: `queries`, `acting_reads`, `fleets`,
    `snapshots` and `requests` are the store's, and `waits` are reads that wait. The store reports
    to `observer`.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        broker: Broker,
        clocks: MachineClocks = SYSTEM_CLOCKS,
    ) -> None:
        self.queries = store.queries
        self.acting_reads = store.acting_reads
        self.fleets = store.fleets
        self.snapshots = store.snapshots
        self.requests = store.requests
        self._starter = store.starter
        self._finisher = store.finisher
        self._alarm = Alarm(clocks)
        self._calls = CallsUnderWay()
        self.waiters = Waiters(broker.places)
        self.waits = Waits(store, self.waiters, self._calls)
        self.observer = SimulationObserver(metrics, broker, self.waiters, self._alarm, clocks.wall)
        self.bulk = BulkSyncs(store, self._calls)

    async def run(self) -> None:
        """Finish attempts as they fall due, until cancelled."""
        while True:
            try:
                if await self._finisher.finish_due(BATCH) >= BATCH:
                    await asyncio.sleep(0)
                    continue
                wait = await self._finisher.next_due()
            except StoreUnavailable:
                wait = RETRY
            except Exception:  # noqa: BLE001 - whatever it was, the next syncs must finish
                _log.exception("resolver failed")
                wait = RETRY
            if wait is not None:
                self._alarm.set(wait)
            await self._alarm.wait()

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - cuts off, raises nothing
        """Wait for the calls under way; see `CallsUnderWay.drain`."""
        await self._calls.drain(timeout)

    async def start(self, fleet: str, device_id: int) -> SyncResult:
        """Begin an attempt of a device, or join the one under way.

        Raises:
            NoSuchFleet: There is no such fleet.
        """
        (begun,) = await self._starter.begin(fleet, (device_id,))
        return begun

    def start_each(
        self, fleet: str, device_ids: Sequence[int]
    ) -> Coroutine[Any, Any, Sequence[SyncResult]]:
        """Do so for each of these devices in one step, as if they had been asked for in turn.

        Raises:
            NoSuchFleet: There is no such fleet.
        """
        return self._starter.begin(fleet, device_ids)

    async def start_once(self, fleet: str, device_id: int, request: KeyedRequest) -> SyncResult:
        """Begin an attempt of a device, or join the one under way, once for a request's key.

        Raises:
            NoSuchFleet: There is no such fleet.
            RequestRemembered: The key is known; nothing has begun.
        """
        step = KeyedStep(request, 1, accepted_device)
        (begun,) = await self._starter.begin(fleet, (device_id,), step=step)
        return begun

    async def remembered(self, fleet: str, request: KeyedRequest) -> RememberedAnswer | None:
        """Return what is remembered under a request's key; see `SyncStarter.remembered`."""
        return await self._starter.remembered(fleet, request)

    async def start_listed(
        self, fleet: str, device_ids: Sequence[int], request: KeyedRequest | None = None
    ) -> BulkResult:
        """Begin an attempt of each of these devices; see `BulkSyncs.start_listed`."""
        return await self.bulk.start_listed(fleet, device_ids, request)

    async def start_all(
        self, fleet: str, statuses: frozenset[int] | None, request: KeyedRequest | None = None
    ) -> BulkResult:
        """Begin an attempt of every device with these statuses; see `BulkSyncs.start_all`."""
        return await self.bulk.start_all(fleet, statuses, request)

    async def set_clock(self, fleet: str, setting: ClockSetting) -> ClockView:
        """Let a fleet's time go on in another way; see `SyncFinisher.set_clock`."""
        return await self._calls.finish(self._finisher.set_clock(fleet, *setting))

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        """Finish a held attempt; see `SyncFinisher.release`."""
        return await self._calls.finish(self._finisher.release(fleet, device_id, outcome))

    async def advance(self, fleet: str, microseconds: int) -> ClockAdvance:
        """Move a clock that stands still; see `SyncFinisher.advance`."""
        return await self._calls.finish(self._finisher.advance(fleet, microseconds))

    async def settle(self, fleet: str) -> ClockAdvance:
        """Finish every pending sync that is not held; see `SyncFinisher.settle`."""
        return await self._calls.finish(self._finisher.settle(fleet))

    async def forecast(
        self, fleet: str, device_id: int, attempts: int, first: int | None, at: int | None = None
    ) -> list[tuple[int, Draw]]:
        """Return what a device's attempts do by seed and profile.

        From `first` (None: its next), in the phase of fleet time `at` (None: the present).
        """
        view = await self.queries.fleet(fleet)
        device = await self.queries.device(fleet, device_id)
        start = device.attempt + 1 if first is None else first
        elapsed = (view.clock.now if at is None else at) - view.started_at
        return [
            (attempt, draw(view.profile, device_id, attempt, elapsed))
            for attempt in range(start, start + attempts)
        ]

    def rates(self, fleet: str, seconds: int) -> RateHistory:
        """Return how many attempts of a fleet began and finished in each of the last seconds."""
        return self.observer.rates.history(fleet, seconds)

    def lateness(self, fleet: str, generation: int) -> LatenessView:
        """Return how late those syncs of a fleet were that finished by themselves."""
        return self.observer.lateness(fleet, generation)
