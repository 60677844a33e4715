"""Turns of the event loop, for work in many steps."""

import asyncio
from collections import deque
from collections.abc import Hashable


class FairTurns:
    """Lets one caller go on in each turn of the event loop, and the keys that wait take turns.

    Whatever else there is to do gets done between two steps, however many callers there are.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        """By key; the one whose turn is next comes first."""

    async def wait(self, key: Hashable) -> None:
        """Wait for a turn of a key."""
        turn = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._schedule()
        self._waiting.setdefault(key, deque()).append(turn)
        await turn

    def _schedule(self) -> None:
        asyncio.get_running_loop().call_soon(self._give_turn)

    def _give_turn(self) -> None:
        given = False
        while self._waiting and not given:
            key = next(iter(self._waiting))
            queue = self._waiting.pop(key)
            turn = queue.popleft()
            if queue:
                self._waiting[key] = queue
            given = not turn.done()  # else its caller was cancelled
            if given:
                turn.set_result(None)
        if self._waiting:
            self._schedule()
