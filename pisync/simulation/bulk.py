"""Bulk syncs: calls that begin attempts of many devices, in batches between which others go on."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import NamedTuple

import orjson

from pisync.concurrency.fair_turns import FairTurns
from pisync.concurrency.keyed_queue import KeyedQueue
from pisync.model.bounds import WAITING_BULK_SYNCS
from pisync.model.requests.idempotency import KeyedRequest, KeyedStep, RememberedAnswer
from pisync.model.sync import SyncDecision, SyncResult
from pisync.simulation.calls import CallsUnderWay
from pisync.stores.base import BATCH, Store
from pisync.stores.errors import RequestRemembered

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

    def plus(self, device_ids: Sequence[int], results: Sequence[SyncResult]) -> "BulkResult":
        """Return this and what came of more devices."""
        decisions = Counter(result.decision for result in results)
        unknown = [
            device_id
            for device_id, result in zip(device_ids, results, strict=True)
            if result.device is None
        ]
        return BulkResult(
            self.started + decisions[SyncDecision.STARTED],
            self.joined + decisions[SyncDecision.JOINED],
            self.refused + decisions[SyncDecision.PENDING] + decisions[SyncDecision.FULL],
            self.not_found + unknown,
        )


class _Batch(NamedTuple):
    device_ids: Sequence[int]
    end: int
    """Where the next batch begins."""
    is_last: bool


Batches = Callable[[int], AsyncIterator[_Batch]]
"""Returns a selection of devices in batches, from where one ended on; there is always a last."""


class _Progress(NamedTuple):
    """How far a bulk sync has come."""

    result: BulkResult
    end: int = 0
    """Where the last batch ended."""
    steps: int = 0

    def after(self, batch: _Batch, results: Sequence[SyncResult]) -> "_Progress":
        result = self.result.plus(batch.device_ids, results)
        return _Progress(result, batch.end, self.steps + 1)


class BulkSyncs:
    """Begins attempts of many devices.

    Those of one fleet wait for each other, and fleets take turns batch by batch.

    A call with an idempotency key is remembered with each batch. If it is cut off, the same request
    goes on after the last one: by one key, no device begins twice.
    """

    def __init__(self, store: Store, calls: CallsUnderWay) -> None:
        self.queue = KeyedQueue(CONCURRENCY, WAITING_BULK_SYNCS.size)
        """Who waits for others of the same fleet to end."""
        self._queries = store.queries
        self._starter = store.starter
        self._calls = calls
        self._turns = FairTurns()
        self._under_way: set[tuple[str, bytes]] = set()
        """Fleets and keys of the calls of this process that are remembered step by step."""

    async def start_listed(
        self, fleet: str, device_ids: Sequence[int], request: KeyedRequest | None = None
    ) -> BulkResult:
        """Begin an attempt of each of these devices; a repeated id counts once.

        Raises:
            Busy: There are many devices, and too many such calls wait; nothing has begun.
            FleetReplaced: The fleet was reset or replaced while batches began.
            NoSuchFleet: There is no such fleet.
            RequestRemembered: The key of the `request` is known; nothing has begun.
        """
        unique = list(dict.fromkeys(device_ids))
        start = self._start if len(unique) <= BATCH else self._start_in_turn
        return await start(fleet, partial(_batches, unique), request)

    async def start_all(
        self, fleet: str, statuses: frozenset[int] | None, request: KeyedRequest | None = None
    ) -> BulkResult:
        """Begin an attempt of every device that has one of these statuses; of all if None.

        Raises:
            Busy: Too many such calls wait; nothing has begun.
            FleetReplaced: The fleet was reset or replaced while batches began.
            NoSuchFleet: There is no such fleet.
            RequestRemembered: The key of the `request` is known; nothing has begun.
        """
        return await self._start_in_turn(fleet, partial(self._having, fleet, statuses), request)

    async def _start_in_turn(
        self, fleet: str, batches: Batches, request: KeyedRequest | None
    ) -> BulkResult:
        generation = await self._generation(fleet)
        # A call cancelled in the queue has started nothing, so shutdown need not drain the queue.
        async with self.queue.turn(fleet.encode()):
            return await self._calls.finish(self._start_each(fleet, generation, batches, request))

    async def _start(
        self, fleet: str, batches: Batches, request: KeyedRequest | None
    ) -> BulkResult:
        generation = await self._generation(fleet)
        return await self._calls.finish(self._start_each(fleet, generation, batches, request))

    async def _generation(self, fleet: str) -> int:
        # Of a call that came before a reset nothing must start after it, in the new state.
        return (await self._queries.fleet(fleet)).generation

    async def _start_each(
        self, fleet: str, generation: int, batches: Batches, request: KeyedRequest | None
    ) -> BulkResult:
        progress = _Progress(BulkResult(0, 0, 0, []))
        if request is None:
            return await self._go_on(fleet, generation, batches, progress, None)
        known = await self._starter.remembered(fleet, request)
        name = fleet, request.key
        if name in self._under_way:
            raise RequestRemembered(known or RememberedAnswer(request.content, b"", 0, False))
        if known is not None:
            if known.content != request.content or known.is_complete or known.is_fresh:
                raise RequestRemembered(known)
            # It was cut off: what has begun does not begin again.
            progress = _read_progress(known)
        self._under_way.add(name)
        try:
            return await self._go_on(fleet, generation, batches, progress, request)
        finally:
            self._under_way.discard(name)

    async def _go_on(
        self,
        fleet: str,
        generation: int,
        batches: Batches,
        progress: _Progress,
        request: KeyedRequest | None,
    ) -> BulkResult:
        await self._turns.wait(fleet)
        async for batch in batches(progress.end):
            if request is None and not batch.device_ids:
                continue
            step = None if request is None else _step(request, progress, batch)
            results = await self._starter.begin(
                fleet, batch.device_ids, generation=generation, step=step
            )
            progress = progress.after(batch, results)
            await self._turns.wait(fleet)
        return progress.result

    async def _having(
        self, fleet: str, statuses: frozenset[int] | None, start: int
    ) -> AsyncIterator[_Batch]:
        """Yield the devices that have one of these statuses, in batches by id."""
        after, more = start, True
        while more:
            page = await self._queries.devices(fleet, after=after, limit=BATCH, statuses=statuses)
            more = page.more
            device_ids = [device.device_id for device in page.devices]
            after = device_ids[-1] if device_ids else after
            yield _Batch(device_ids, after, not more)


async def _batches(device_ids: Sequence[int], start: int) -> AsyncIterator[_Batch]:
    for first in range(start, max(len(device_ids), 1), BATCH):
        end = first + BATCH
        yield _Batch(device_ids[first:end], end, end >= len(device_ids))


def _step(request: KeyedRequest, progress: _Progress, batch: _Batch) -> KeyedStep:
    """Return what to remember with a batch: how far the call has come, or its whole answer."""

    def answer(results: Sequence[SyncResult]) -> tuple[bytes, bool]:
        result, end, _ = progress.after(batch, results)
        return orjson.dumps([*result, end]), batch.is_last

    return KeyedStep(request, progress.steps + 1, answer)


def _read_progress(known: RememberedAnswer) -> _Progress:
    *result, end = orjson.loads(known.answer)
    return _Progress(BulkResult(*result), end, known.steps)


def read_result(known: RememberedAnswer) -> BulkResult:
    """Return what came of the bulk sync whose answer was remembered."""
    return _read_progress(known).result
