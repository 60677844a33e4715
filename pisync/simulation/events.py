"""Events: what happened in a fleet, to everyone who listens, in order and without a gap.

A fleet's newest events are kept, so that a stream that broke off resumes where it was. Whoever
can't be given everything is told so (`resync`), and then reads the fleet's devices again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count, islice
from secrets import token_hex
from types import TracebackType
from typing import Self

from pisync.model.device import Device, ErrorLog
from pisync.model.sync import Change

KEPT = 2048
"""How many events of a fleet are kept for streams that resume."""
LONGEST_QUEUE = 8192
"""How many events may wait for a subscriber; one who lets more come together is cut off."""


class TooManySubscribers(Exception):
    """Too many event streams are open."""


class Overrun(Exception):
    """The subscriber did not keep up."""


class Event:
    """An event; `what` is None if all that can be said is that something may have been missed.

    Its encoded form is kept with it, so that it is made once for all subscribers, and not at all if
    there are none.
    """

    __slots__ = ("_encoded", "event_id", "what")

    def __init__(self, event_id: str, what: Device | ErrorLog | None) -> None:
        self.event_id = event_id
        self.what = what
        self._encoded = b""

    def encoded(self, encode: "Encode") -> bytes:
        """Return the event as `encode` writes it."""
        if not self._encoded:
            self._encoded = encode(self)
        return self._encoded


Encode = Callable[[Event], bytes]


class Subscription:
    """One reader's place in a fleet's events. A context manager: leave it, and it is over."""

    def __init__(self, broker: "Broker", fleet: str, missed: Iterable[Event]) -> None:
        self._broker = broker
        self._fleet = fleet
        self._queue = deque(missed)
        self._arrived = asyncio.Event()
        self._overrun = False
        self._closed = False
        self.on_overrun: Callable[[], object] = lambda: None
        """Called when the reader is cut off: it may be stuck where it can't be told."""
        if self._queue:
            self._arrived.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._broker.unsubscribe(self._fleet, self)

    async def next(self, most: int = 256) -> list[Event] | None:
        """Wait for events; return at most `most` of them, or None when there will be no more.

        Raises Overrun if the reader was cut off.
        """
        await self._arrived.wait()
        if self._overrun:
            raise Overrun
        if not self._queue:
            return None
        batch = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        if not self._queue and not self._closed:
            self._arrived.clear()
        return batch

    def put(self, events: Sequence[Event]) -> None:
        """Add events to the end of the queue."""
        self._queue.extend(events)
        if len(self._queue) > LONGEST_QUEUE and not self._overrun:
            self._overrun = True
            self._queue.clear()
            self.on_overrun()
        self._arrived.set()

    def start_over(self, resync: Event) -> None:
        """Forget what is queued; tell that it was forgotten."""
        self._queue.clear()
        self.put((resync,))

    def close(self) -> None:
        """Let the reader take what is queued, and then end."""
        self._closed = True
        self._arrived.set()


class Broker:
    """Takes each fleet's events, and hands them to its subscriptions."""

    def __init__(self, most_subscribers: int) -> None:
        self._most = most_subscribers
        # As they came: to make an event of each, which most are never read as, took 1 µs a sync.
        self._kept: dict[str, deque[Change | Event]] = {}
        self._subscribed: dict[str, set[Subscription]] = {}
        self._open = 0
        self._closed = False
        # A `resync` is this process's own event: its id must mean nothing to another.
        self._process = token_hex(4)
        self._resyncs = count(1)

    @property
    def subscribers(self) -> int:
        """How many subscriptions are open."""
        return self._open

    def subscribe(self, fleet: str, last_event_id: str | None = None) -> Subscription:
        """Return a subscription to what comes after an event, or from now on.

        It begins with `resync` if that event is no longer known. Raises TooManySubscribers.
        """
        if self._open >= self._most:
            raise TooManySubscribers
        missed = () if last_event_id is None else self._after(fleet, last_event_id)
        subscription = Subscription(self, fleet, missed)
        self._subscribed.setdefault(fleet, set()).add(subscription)
        self._open += 1
        if self._closed:
            subscription.close()
        return subscription

    def unsubscribe(self, fleet: str, subscription: Subscription) -> None:
        """End a subscription."""
        readers = self._subscribed.get(fleet, set())
        if subscription in readers:
            readers.remove(subscription)
            self._open -= 1
        if not readers:
            self._subscribed.pop(fleet, None)

    def publish(self, fleet: str, changes: Sequence[Change]) -> None:
        """Give a fleet's changes to all who listen."""
        self._keep(fleet).extend(changes)
        readers = self._subscribed.get(fleet)
        if readers:
            events = [Event(*each) for each in changes]
            for subscription in readers:
                subscription.put(events)

    def start_over(self, fleet: str) -> None:
        """Forget a fleet's events, those on their way included, and tell its subscribers so."""
        self._kept.pop(fleet, None)
        readers = self._subscribed.get(fleet)
        if readers:
            resync = self._resync()
            self._keep(fleet).append(resync)
            for subscription in readers:
                subscription.start_over(resync)

    def start_all_over(self) -> None:
        """Start over for every fleet."""
        for fleet in [*self._kept]:
            self.start_over(fleet)
        for fleet in self._subscribed.keys() - self._kept.keys():
            self.start_over(fleet)

    def close(self) -> None:
        """End all subscriptions, later ones included."""
        self._closed = True
        for readers in self._subscribed.values():
            for subscription in readers:
                subscription.close()

    def _keep(self, fleet: str) -> deque[Change | Event]:
        kept = self._kept.get(fleet)
        if kept is None:
            kept = self._kept[fleet] = deque(maxlen=KEPT)
        return kept

    def _after(self, fleet: str, event_id: str) -> list[Event]:
        kept = self._kept.get(fleet, ())
        for place, each in enumerate(kept):
            if each.event_id == event_id:
                missed = islice(kept, place + 1, None)
                return [each if isinstance(each, Event) else Event(*each) for each in missed]
        return [self._resync()]

    def _resync(self) -> Event:
        return Event(f"r{self._process}-{next(self._resyncs)}", None)
