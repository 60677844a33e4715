"""Frees what large fleets held, some at a time: to free a million objects is one long step."""

import asyncio
import sys
from collections import deque

from pisync.stores.embedded.fleet_state import Container, FleetState

_DELAY = 1.0
"""Seconds until a fleet that has ended is looked at, and looked at again if it is still in use."""
_SLICE = 8192
"""How many items are freed in a turn of the event loop: some milliseconds."""


def _count_of_a_variable() -> int:
    held = object()
    return sys.getrefcount(held)


_OURS = _count_of_a_variable()
"""What `getrefcount` counts of what a variable holds, and nobody else.

Pythons differ in whether its own argument counts.
"""


class Disposal:
    """Takes fleets that have ended apart, once nobody uses them any more."""

    def __init__(self) -> None:
        self._fleets: deque[FleetState] = deque()
        self._containers: list[Container] = []
        self._is_working = False

    def add(self, fleet: FleetState) -> None:
        """Free a fleet soon."""
        self._fleets.append(fleet)
        if not self._is_working:
            self._is_working = True
            asyncio.get_running_loop().call_later(_DELAY, self._step)

    def _step(self) -> None:
        loop = asyncio.get_running_loop()
        if self._containers:
            container = self._containers[-1]
            # What somebody else holds, too, is theirs to free.
            if sys.getrefcount(container) > _OURS + 1 or not _drop_some(container):
                self._containers.pop()
            loop.call_soon(self._step)
        elif self._fleets:
            fleet = self._fleets.popleft()
            if sys.getrefcount(fleet) > _OURS:
                self._fleets.append(fleet)
                loop.call_later(_DELAY, self._step)
            else:
                # The small ones go with the fleet.
                self._containers = [each for each in fleet.containers() if len(each) > _SLICE]
                loop.call_soon(self._step)
        else:
            self._is_working = False


def _drop_some(container: Container) -> bool:
    """Drop some items; return whether there may be more."""
    if isinstance(container, list):
        del container[-_SLICE:]
    else:
        drop = container.popitem if isinstance(container, dict) else container.pop
        for _ in range(min(_SLICE, len(container))):
            drop()
    return bool(container)
