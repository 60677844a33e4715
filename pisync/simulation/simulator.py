"""The simulator: begins attempts, and one loop that finishes them, however many are pending."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.concurrency.queues import Queues
from pisync.model.clock import ClockView
from pisync.model.device import Device
from pisync.model.draw import Draw, draw
from pisync.model.outcome import Outcome
from pisync.model.sync import (
    Change,
    ClockAdvance,
    FinishedSync,
    SyncDecision,
    SyncResult,
)
from pisync.simulation.alarm import Alarm
from pisync.simulation.events import Broker
from pisync.simulation.lateness import (
    Lateness,
    LatenessView,
)
from pisync.stores.base import (
    BATCH,
    Store,
    StoreUnavailable,
)
from pisync.telemetry.logs import get_logger
from pisync.telemetry.metrics import Metrics

BULKS_AT_ONCE = 4
"""How many bulk calls of several batches run at the same time in a fleet; the others wait.

More at once would not be done sooner, only all of them later.
"""
RETRY = 1.0
"""Seconds until the loop tries again after the store failed."""

_log = get_logger()
_Result = TypeVar("_Result")


class BulkResult(NamedTuple):
    """What came of syncing many devices: three counts, and the ids that the fleet does not have."""

    started: int
    joined: int
    refused: int
    not_found: list[int]


class Simulator:
    """Begins and finishes attempts in a store; as its observer, counts them and tells of them.

    Whoever answers calls about fleets needs nothing else: `queries` and `fleets` are the store's.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        broker: Broker,
        clocks: MachineClocks = SYSTEM_CLOCKS,
    ) -> None:
        self.queries = store.queries
        self.fleets = store.fleets
        self._starter = store.starter
        self._finisher = store.finisher
        self._metrics = metrics
        self._broker = broker
        self._alarm = Alarm(clocks)
        self._lateness: defaultdict[tuple[str, int], Lateness] = defaultdict(Lateness)
        """By name and generation of the fleet."""
        self._under_way: set[asyncio.Task[Any]] = set()
        self._queues = Queues(BULKS_AT_ONCE)

    async def run(self) -> None:
        """Finish attempts as they fall due, until cancelled."""
        while True:
            try:
                if await self._finisher.finish_due(BATCH):
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

    async def drain(self, patience: float | None = None) -> None:
        """Wait for the calls under way that a client's hanging up does not end.

        Those that take longer than `patience` seconds are cut off, as a crash would: attempts that
        have begun go on, the others never begin. None: wait for as long as it takes.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._under_way:
                    await asyncio.wait(self._under_way)
        left = [*self._under_way]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def start(self, fleet: str, device_id: int) -> SyncResult:
        """Begin an attempt of a device, or join the one under way.

        Raises:
            NoSuchFleet: There is no such fleet.
        """
        (begun,) = await self._starter.begin(fleet, (device_id,))
        return begun

    async def start_listed(self, fleet: str, device_ids: Sequence[int]) -> BulkResult:
        """Begin an attempt of each of these devices; a repeated id counts once.

        Raises:
            Busy: There are many devices, and too many such calls wait; nothing has begun.
        """
        unique = list(dict.fromkeys(device_ids))
        start = self._start if len(unique) <= BATCH else self._start_in_turn
        return await start(fleet, _batches(unique))

    async def start_all(self, fleet: str, statuses: frozenset[int] | None) -> BulkResult:
        """Begin an attempt of every device that has one of these statuses; of all if None.

        Raises:
            Busy: Too many such calls wait; nothing has begun.
        """
        return await self._start_in_turn(fleet, self._having(fleet, statuses))

    async def _start_in_turn(self, fleet: str, batches: AsyncIterator[Sequence[int]]) -> BulkResult:
        generation = await self._generation(fleet)
        # A call cancelled in the queue has started nothing, so shutdown need not drain the queue.
        # Each fleet has its own, so that none keeps another waiting.
        async with self._queues.turn(fleet.encode()):
            return await self._to_the_end(self._start_each(fleet, generation, batches))

    async def _start(self, fleet: str, batches: AsyncIterator[Sequence[int]]) -> BulkResult:
        generation = await self._generation(fleet)
        return await self._to_the_end(self._start_each(fleet, generation, batches))

    async def _generation(self, fleet: str) -> int:
        # Of a call that came before a reset nothing must start after it, in the new state.
        return (await self.queries.fleet(fleet)).generation

    async def _start_each(
        self, fleet: str, generation: int, batches: AsyncIterator[Sequence[int]]
    ) -> BulkResult:
        came: Counter[SyncDecision] = Counter()
        not_found: list[int] = []
        async for device_ids in batches:
            begun = await self._starter.begin(fleet, device_ids, generation=generation)
            came.update(each.decision for each in begun)
            not_found += [
                device_id
                for device_id, each in zip(device_ids, begun, strict=True)
                if each.device is None
            ]
            await asyncio.sleep(0)
        refused = came[SyncDecision.PENDING] + came[SyncDecision.FULL]
        return BulkResult(came[SyncDecision.STARTED], came[SyncDecision.JOINED], refused, not_found)

    async def _having(
        self, fleet: str, statuses: frozenset[int] | None
    ) -> AsyncIterator[Sequence[int]]:
        after, more = 0, True
        while more:
            page = await self.queries.devices(fleet, after=after, limit=BATCH, statuses=statuses)
            more = page.more
            if page.devices:
                after = page.devices[-1].device_id
                yield [each.device_id for each in page.devices]

    async def set_clock(self, fleet: str, speed: float) -> ClockView:
        """Let a fleet's time go on at another speed; see `SyncFinisher.set_clock`."""
        return await self._to_the_end(self._finisher.set_clock(fleet, speed))

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        """Finish a held attempt; see `SyncFinisher.release`."""
        return await self._to_the_end(self._finisher.release(fleet, device_id, outcome))

    async def advance(self, fleet: str, microseconds: int) -> ClockAdvance:
        """Move a manual clock; see `SyncFinisher.advance`."""
        return await self._to_the_end(self._finisher.advance(fleet, microseconds))

    async def settle(self, fleet: str) -> ClockAdvance:
        """Finish every pending sync that is not held; see `SyncFinisher.settle`."""
        return await self._to_the_end(self._finisher.settle(fleet))

    async def forecast(
        self, fleet: str, device_id: int, attempts: int, first: int | None
    ) -> list[tuple[int, Draw]]:
        """Return what a device's attempts from `first` (None: its next) do by seed and profile."""
        profile = (await self.queries.fleet(fleet)).profile
        device = await self.queries.device(fleet, device_id)
        start = device.attempt + 1 if first is None else first
        return [
            (attempt, draw(profile, device_id, attempt))
            for attempt in range(start, start + attempts)
        ]

    def lateness(self, fleet: str, generation: int) -> LatenessView:
        """Return how late those syncs of a fleet were that finished by themselves."""
        return self._lateness.get((fleet, generation), Lateness()).view()

    # As the store's observer

    def began(self, _fleet: str, begun: Sequence[SyncResult]) -> None:
        """Count what became of requests to sync."""
        for each in begun:
            self._metrics.began(each.decision)

    def finished(self, fleet: str, generation: int, finished: Sequence[FinishedSync]) -> None:
        """Count finished attempts."""
        lateness = self._lateness[fleet, generation]
        for each in finished:
            self._metrics.finished(each.device.sync_status_code)
            if each.lateness is not None:
                lateness.add(each.lateness)
                self._metrics.late(each.lateness)

    def changed(self, fleet: str, changes: Sequence[Change]) -> None:
        """Publish what happened."""
        self._broker.publish(fleet, changes)

    def replaced(self, fleet: str) -> None:
        """Forget what was known of a fleet."""
        for known in [each for each in self._lateness if each[0] == fleet]:
            del self._lateness[known]
        self._broker.start_over(fleet)

    def missed(self) -> None:
        """Tell every subscriber that they may have missed something."""
        self._broker.start_all_over()

    def due_in(self, seconds: float) -> None:
        """Look at the store again by then."""
        self._alarm.set(seconds)

    async def _to_the_end(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        """Finish a call of many steps even if the client that made it hangs up."""
        task = asyncio.create_task(call)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Who has hung up can't be told of a failure, and the log needs no traceback of it.
            task.exception()


async def _batches(device_ids: Sequence[int]) -> AsyncIterator[Sequence[int]]:
    for first in range(0, len(device_ids), BATCH):
        yield device_ids[first : first + BATCH]
