"""Bulk syncs: calls that begin attempts of many devices, in batches between which others go on."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from pisync.concurrency.fair_turns import FairTurns
from pisync.concurrency.keyed_queue import KeyedQueue
from pisync.model.bounds import WAITING_BULK_SYNCS
from pisync.model.sync import SyncDecision
from pisync.simulation.calls import CallsUnderWay
from pisync.stores.base import BATCH, Store

CONCURRENCY = 4
"""How many bulk syncs of several batches run at the same time in a fleet; the others wait.

More at once would not be done sooner, only all of them later.
"""


class BulkResult(NamedTuple):
    """What came of syncing many devices: three counts, and the ids that the fleet does not have."""

    started: int
    joined: int
    refused: int
    not_found: list[int]


class BulkSyncs:
    """Begins attempts of many devices.

    Those of one fleet wait for each other, and fleets take turns batch by batch.
    """

    def __init__(self, store: Store, calls: CallsUnderWay) -> None:
        self.queue = KeyedQueue(CONCURRENCY, WAITING_BULK_SYNCS.size)
        """Who waits for others of the same fleet to end."""
        self._queries = store.queries
        self._starter = store.starter
        self._calls = calls
        self._turns = FairTurns()

    async def start_listed(self, fleet: str, device_ids: Sequence[int]) -> BulkResult:
        """Begin an attempt of each of these devices; a repeated id counts once.

        Raises:
            Busy: There are many devices, and too many such calls wait; nothing has begun.
            FleetReplaced: The fleet was reset or replaced while batches began.
            NoSuchFleet: There is no such fleet.
        """
        unique = list(dict.fromkeys(device_ids))
        start = self._start if len(unique) <= BATCH else self._start_in_turn
        return await start(fleet, _batches(unique))

    async def start_all(self, fleet: str, statuses: frozenset[int] | None) -> BulkResult:
        """Begin an attempt of every device that has one of these statuses; of all if None.

        Raises:
            Busy: Too many such calls wait; nothing has begun.
            FleetReplaced: The fleet was reset or replaced while batches began.
            NoSuchFleet: There is no such fleet.
        """
        return await self._start_in_turn(fleet, self._having(fleet, statuses))

    async def _start_in_turn(self, fleet: str, batches: AsyncIterator[Sequence[int]]) -> BulkResult:
        generation = await self._generation(fleet)
        # A call cancelled in the queue has started nothing, so shutdown need not drain the queue.
        async with self.queue.turn(fleet.encode()):
            return await self._calls.finish(self._start_each(fleet, generation, batches))

    async def _start(self, fleet: str, batches: AsyncIterator[Sequence[int]]) -> BulkResult:
        generation = await self._generation(fleet)
        return await self._calls.finish(self._start_each(fleet, generation, batches))

    async def _generation(self, fleet: str) -> int:
        # Of a call that came before a reset nothing must start after it, in the new state.
        return (await self._queries.fleet(fleet)).generation

    async def _start_each(
        self, fleet: str, generation: int, batches: AsyncIterator[Sequence[int]]
    ) -> BulkResult:
        decisions: Counter[SyncDecision] = Counter()
        not_found: list[int] = []
        await self._turns.wait(fleet)
        async for device_ids in batches:
            results = await self._starter.begin(fleet, device_ids, generation=generation)
            decisions.update(result.decision for result in results)
            not_found += [
                device_id
                for device_id, result in zip(device_ids, results, strict=True)
                if result.device is None
            ]
            await self._turns.wait(fleet)
        refused = decisions[SyncDecision.PENDING] + decisions[SyncDecision.FULL]
        return BulkResult(
            decisions[SyncDecision.STARTED], decisions[SyncDecision.JOINED], refused, not_found
        )

    async def _having(
        self, fleet: str, statuses: frozenset[int] | None
    ) -> AsyncIterator[Sequence[int]]:
        """Yield the devices that have one of these statuses, in batches by id."""
        after, more = 0, True
        while more:
            page = await self._queries.devices(fleet, after=after, limit=BATCH, statuses=statuses)
            more = page.more
            if page.devices:
                after = page.devices[-1].device_id
                yield [device.device_id for device in page.devices]


async def _batches(device_ids: Sequence[int]) -> AsyncIterator[Sequence[int]]:
    for first in range(0, len(device_ids), BATCH):
        yield device_ids[first : first + BATCH]
