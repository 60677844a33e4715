"""Fleets with a ttl are deleted when nobody uses them any more."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from itertools import islice

from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.model.fleet import DEFAULT_FLEET
from pisync.model.timestamp import SECOND
from pisync.stores.base import BATCH, FleetLifetimes
from pisync.stores.errors import StoreUnavailable
from pisync.telemetry.logs import get_logger
from pisync.telemetry.metrics import Metrics

ROUND = 5.0
"""Seconds between two looks at which fleets are used, and which are not any more."""
LEAD = 15.0
"""Seconds that fleets stay beyond their ttl: longer than a round, in which only the first use of a
fleet is saved."""
GRACE = 30.0
"""Seconds in which nothing is deleted after uses may have been missed: by a start, by a machine
that slept, by a store that failed."""
FORGOTTEN_AT_ONCE = 100
NAMES_LOGGED = 20
MAX_NAME = 63
"""Characters of a fleet's name."""

_log = get_logger()


class IdleFleets:
    """Saves which fleets are used, and deletes those that are not.

    A fleet is used by a request that names it, and by each open stream. What is saved is the first
    use in a round, at once, so that no more is lost when the process ends than what is being saved
    just then.
    """

    def __init__(
        self,
        lifetimes: FleetLifetimes,
        followed: Callable[[], Iterable[str]],
        metrics: Metrics,
        clocks: MachineClocks = SYSTEM_CLOCKS,
    ) -> None:
        """Take the store's part, and what returns the fleets that open streams follow."""
        self._lifetimes = lifetimes
        self._followed = followed
        self._metrics = metrics
        self._now = clocks.monotonic
        # It can have no ttl: what nearly all requests name costs nothing more.
        self._named = {DEFAULT_FLEET}
        self._to_save: set[str] = set()
        self._wake = asyncio.Event()
        self._last_round = self._now()
        self._be_quiet()

    def named(self, fleet: str) -> None:
        """Note that a request has named a fleet, which need not be there."""
        if fleet not in self._named and len(fleet) <= MAX_NAME:
            self._named.add(fleet)
            self._to_save.add(fleet)
            self._wake.set()

    async def run(self) -> None:
        """Save what is used, and delete what is not, until cancelled."""
        time = asyncio.get_running_loop().time
        while True:
            next_round = time() + ROUND
            while (left := next_round - time()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), left)
                await self._guarded(self.save)
            await self._guarded(self.round)

    async def save(self) -> None:
        """Save which fleets have been named."""
        self._wake.clear()
        while self._to_save:
            names = list(islice(self._to_save, BATCH))
            await self._lifetimes.extend(names)
            self._to_save.difference_update(names)

    async def round(self) -> None:
        """Save which fleets are used, and delete those that have not been used for their ttl."""
        now = self._now()
        if now - self._last_round > LEAD * SECOND:
            # Nobody could name a fleet meanwhile, or it has not been saved.
            self._be_quiet()
        self._last_round = now
        self._named = {DEFAULT_FLEET}
        self._to_save.update(self._followed())
        await self.save()
        if self._now() >= self._quiet_until:
            await self._forget()

    async def _forget(self) -> None:
        # Fewer than asked for may be all that another replica has left of so many.
        while names := await self._lifetimes.forget(FORGOTTEN_AT_ONCE, LEAD):
            self._metrics.forgot(len(names))
            _log.info("fleets forgotten", count=len(names), first=sorted(names)[:NAMES_LOGGED])

    def _be_quiet(self) -> None:
        self._quiet_until = self._now() + round(GRACE * SECOND)

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except StoreUnavailable:
            # Others may have named fleets, and could not save it either.
            self._be_quiet()
        except Exception:  # noqa: BLE001 - whatever it was, other fleets are to be forgotten
            _log.exception("idle fleets could not be forgotten")
            self._be_quiet()
