"""Who waits for what: an index from devices to waiting calls, so that a change wakes only its own.

Nobody asks the store again and again: a call waits until something has happened that it may have
waited for, and then looks. Since its place is taken before it looks for the first time, nothing
escapes it.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from types import TracebackType
from typing import Final, Self

from pisync.concurrency.places import Places
from pisync.model.device import Device
from pisync.model.sync import Change

WOKEN_A_TURN: Final = 32
"""How many calls are woken in a turn of the event loop, so that others have their turn, too."""

Subject = int | None
"""What is waited for: the id of a device; None for the fleet as a whole."""


class Waiter:
    """The place of a call that waits. A context manager: leave it, and it is over."""

    __slots__ = (
        "_turn",
        "_waiters",
        "fleet",
        "has_seen_it",
        "has_started_over",
        "is_to_wake",
        "subject",
    )

    def __init__(self, waiters: "Waiters", fleet: str, subject: Subject) -> None:
        self._waiters = waiters
        self.fleet = fleet
        self.subject = subject
        self.has_started_over = False
        """Whether the fleet may be another one than it was."""
        self.has_seen_it = False
        """Whether what was waited for has come."""
        self.is_to_wake = False
        """Whether the call will be woken soon."""
        self._turn = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._waiters.leave(self)

    async def woken(self, until: float) -> bool:
        """Wait until there is a reason to look; return False if there is none to wait on.

        That is `until` a time of the event loop's clock, or until the server is about to stop.
        """
        if self._waiters.is_closed or asyncio.get_running_loop().time() >= until:
            return False
        try:
            async with asyncio.timeout_at(until):
                await self._turn.wait()
        except TimeoutError:
            return False
        self._turn.clear()
        return not self._waiters.is_closed

    def wake(self) -> None:
        """Let the call look."""
        self.is_to_wake = False
        self._turn.set()


_OfSubject = dict[Waiter, None]
"""Those who wait for one thing, longest first."""


class Waiters:
    """All calls that wait in this process, by fleet and device; they share `places` with streams.

    Of those who wait for a fleet as a whole, one looks at it when something has finished in it, for
    all of them: who has seen that it is at rest wakes the others.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._fleets: dict[str, dict[Subject, _OfSubject]] = {}
        self._to_wake: deque[Waiter] = deque()
        self._is_waking = False
        self.count = 0
        self.is_closed = False

    def followed(self) -> Iterable[str]:
        """Return the names of the fleets in which somebody waits."""
        return [*self._fleets]

    def are_in(self, fleet: str) -> bool:
        """Return whether somebody waits in a fleet."""
        return fleet in self._fleets

    def enter(self, fleet: str, subject: Subject) -> Waiter:
        """Return a place from which nothing that happens from now on is missed.

        Raises:
            NoPlaceLeft: Too many calls wait, or too many streams are open.
        """
        self._places.take()
        self.count += 1
        waiter = Waiter(self, fleet, subject)
        self._fleets.setdefault(fleet, {}).setdefault(subject, {})[waiter] = None
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Give a place back."""
        self._places.give_back()
        self.count -= 1
        of_fleet = self._fleets[waiter.fleet]
        of_subject = of_fleet[waiter.subject]
        del of_subject[waiter]
        if not of_subject:
            del of_fleet[waiter.subject]
            if not of_fleet:
                del self._fleets[waiter.fleet]
        elif waiter.subject is None:
            # It may have been its turn to look, which is the next one's now.
            self._wake(islice(of_subject, WOKEN_A_TURN if waiter.has_seen_it else 1))

    def changed(self, fleet: str, changes: Sequence[Change]) -> None:
        """Wake those who wait for one of these devices, or for the fleet."""
        of_fleet = self._fleets.get(fleet)
        if of_fleet is None:
            return
        has_finished = False
        for change in changes:
            device = change.what
            if isinstance(device, Device):
                has_finished |= not device.is_pending
                self._wake(of_fleet.get(device.device_id, ()))
        if has_finished and None in of_fleet:
            self._wake(islice(of_fleet[None], 1))

    def replaced(self, fleet: str) -> None:
        """Wake all who wait in a fleet: it was reset, replaced or deleted."""
        for of_subject in self._fleets.get(fleet, {}).values():
            for waiter in of_subject:
                waiter.has_started_over = True
            self._wake(of_subject)

    def look(self, fleet: str) -> None:
        """Wake all who wait in a fleet, though nothing has begun or finished there."""
        for of_subject in self._fleets.get(fleet, {}).values():
            self._wake(of_subject)

    def missed(self) -> None:
        """Wake everybody: anything may have happened."""
        for fleet in self._fleets:
            self.replaced(fleet)

    def close(self) -> None:
        """Let nobody wait any more, nor from now on."""
        self.is_closed = True
        self.missed()

    def _wake(self, waiters: Iterable[Waiter]) -> None:
        for waiter in waiters:
            if not waiter.is_to_wake:
                waiter.is_to_wake = True
                self._to_wake.append(waiter)
        if self._to_wake and not self._is_waking:
            self._is_waking = True
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _wake_some(self) -> None:
        """Wake some, and the rest after everyone else has had a turn."""
        for _ in range(min(WOKEN_A_TURN, len(self._to_wake))):
            self._to_wake.popleft().wake()
        self._is_waking = bool(self._to_wake)
        if self._is_waking:
            asyncio.get_running_loop().call_soon(self._wake_some)
