"""Events: what happened in a fleet, to everyone who listens, in order and without a gap.

A fleet's newest events stand in one log, which all its readers share: each knows how far it has
read, so that a reader costs the same however much it has yet to read. One that the log has run
away from is cut off. A stream that broke off resumes from the log; who can't be given everything
is told so (`resync`), and then reads the fleet's devices again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from secrets import token_hex
from types import TracebackType
from typing import NamedTuple, Self

from pisync.concurrency.places import Places
from pisync.model.bounds import EVENTS
from pisync.model.sync import Change, UnreadChanges

KEPT = 8192
"""How many events of a fleet are kept, and a burst besides; a reader who is farther behind is cut
off."""
KEPT_IN_ALL = EVENTS.size
"""How many events of all fleets are kept. Those of fleets where nothing has happened for longest go
first."""
MAX_BATCH = 256
"""How many events are encoded together."""
MAX_READ = 1024
"""How many events a reader takes in a turn, at most: some 256 KiB."""
READERS_A_TURN = 8
"""How many readers are woken in a turn of the event loop, so that others have their turn, too."""


class Overrun(Exception):
    """The subscriber did not keep up."""


class Resync(NamedTuple):
    """Something may have been missed: all that can be said of it."""

    event_id: str


Event = Change | Resync
Encode = Callable[[Event], bytes]


class Batch:
    """Events that happened together, decoded and encoded once for all who read them."""

    __slots__ = ("_encoded", "_events")

    def __init__(self, events: Sequence[Event] | UnreadChanges) -> None:
        self._events = events
        self._encoded = b""

    def __len__(self) -> int:
        return len(self._events)

    def may_hold(self, event_id: str) -> bool:
        """Return whether an event may be here; what is not decoded answers that by itself."""
        return not isinstance(self._events, UnreadChanges) or self._events.may_hold(event_id)

    @property
    def events(self) -> Sequence[Event]:
        """The events, for who reads them: from now on they are kept decoded."""
        if isinstance(self._events, UnreadChanges):
            self._events = self._events.read()
        return self._events

    def encoded(self, encode: Encode) -> bytes:
        """Return the events as `encode` writes them."""
        if not self._encoded:
            self._encoded = b"".join(map(encode, self.events))
        return self._encoded


class _Log:
    """The newest events of a fleet, in numbered batches, and those who read them."""

    __slots__ = ("batches", "first", "has_news", "size", "started_over_at", "subscriptions")

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self.first = 0
        """The number of the oldest batch."""
        self.size = 0
        """How many events the batches hold."""
        self.started_over_at = 0
        """The number of the batch from which on readers read, whatever they have read."""
        self.subscriptions: set[Subscription] = set()
        self.has_news = False
        """Whether the readers are to be woken."""

    @property
    def end(self) -> int:
        """The number of the next batch."""
        return self.first + len(self.batches)

    @property
    def has_changes(self) -> bool:
        """Whether it holds anything but a `resync`, which nothing in it comes before."""
        return self.size > 1 or any(
            isinstance(event, Change) for batch in self.batches for event in batch.events
        )

    def append(self, events: Sequence[Event] | UnreadChanges) -> None:
        # Before these: a reader that has kept up until now can take a burst of any size.
        while self.size > KEPT:
            self.drop_oldest()
        size = len(events)
        if size <= MAX_BATCH or isinstance(events, UnreadChanges):
            # Who wrote those has taken care that they are no more.
            self.batches.append(Batch(events))
        else:
            for start in range(0, size, MAX_BATCH):
                self.batches.append(Batch(events[start : start + MAX_BATCH]))
        self.size += size

    def drop_oldest(self) -> None:
        self.size -= len(self.batches.popleft())
        self.first += 1

    def clear(self) -> None:
        self.first = self.started_over_at = self.end
        self.batches.clear()
        self.size = 0

    def after(self, event_id: str) -> tuple[list[Batch], int] | None:
        """Return what is left of an event's batch, and the number of the next; None if gone."""
        # From the newest, near which most readers break off: so what is older stays undecoded.
        for number, batch in zip(count(self.end - 1, -1), reversed(self.batches), strict=False):
            if batch.may_hold(event_id):
                for index, event in enumerate(batch.events, 1):
                    if event.event_id == event_id:
                        rest = batch.events[index:]
                        return [Batch(rest)] if rest else [], number + 1
        return None


class Subscription:
    """One reader's place in a fleet's events. A context manager: leave it, and it is over."""

    def __init__(self, broker: "Broker", fleet: str, log: _Log) -> None:
        self._broker = broker
        self._fleet = fleet
        self._log = log
        self._resumed: list[Batch] = []
        self._position = log.end
        self._turn = asyncio.Event()
        self._closed = False
        self._cut_off = False
        self.on_overrun: Callable[[], object] = lambda: None
        """Called when the reader is cut off: it may be stuck where it can't be told."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._broker.unsubscribe(self._fleet, self)

    @property
    def is_overrun(self) -> bool:
        """Whether events have gone that the reader has not read."""
        return max(self._position, self._log.started_over_at) < self._log.first

    async def next(self) -> list[Batch] | None:
        """Wait for events and for one's turn; return the next, or None when there are no more.

        Raises:
            Overrun: The reader was cut off.
        """
        while True:
            await self._turn.wait()
            self._turn.clear()
            if self.is_overrun:
                self._turn.set()
                raise Overrun
            batches = self._take()
            if batches or self._closed:
                if self._closed or self._position < self._log.end:
                    self._broker.wake(self)
                return batches or None

    def _take(self) -> list[Batch]:
        """Return the next batches: more of them the farther the reader is behind."""
        log = self._log
        batches = self._resumed
        self._resumed = []
        if self._position < log.started_over_at:
            self._position = log.started_over_at
            batches = []
        size = sum(map(len, batches))
        wanted = min(max(MAX_BATCH, log.size // 4), MAX_READ)
        while self._position < log.end and size < wanted:
            batch = log.batches[self._position - log.first]
            batches.append(batch)
            size += len(batch)
            self._position += 1
        return batches

    def resume(self, rest: list[Batch], position: int) -> None:
        """Begin with these batches, and go on at a number."""
        self._resumed, self._position = rest, position

    def wake(self) -> None:
        """Let the reader look at what there is; cut it off if that is less than it needs."""
        self._turn.set()
        if self.is_overrun and not self._cut_off:
            self._cut_off = True
            self.on_overrun()

    def close(self) -> None:
        """Let the reader take what there is, and then end."""
        self._closed = True
        self._broker.wake(self)


class Broker:
    """Takes each fleet's events, and hands them to its subscriptions."""

    def __init__(self, max_subscribers: int) -> None:
        self.places = Places(max_subscribers)
        """Which others may share with the subscribers."""
        self._logs: dict[str, _Log] = {}
        """In the order in which something happened last."""
        self._size = 0
        self._open = 0
        self._closed = False
        # A `resync` is this process's own event: its id must mean nothing to another.
        self._process = token_hex(4)
        self._resyncs = count(1)
        self._news: deque[_Log] = deque()
        self._to_wake: deque[Subscription] = deque()
        self._is_waking = False

    @property
    def subscribers(self) -> int:
        """How many subscriptions are open."""
        return self._open

    @property
    def kept(self) -> int:
        """How many events are kept, of all fleets."""
        return self._size

    def followed(self) -> list[str]:
        """Return the names of the fleets that have subscribers."""
        return [fleet for fleet, log in self._logs.items() if log.subscriptions]

    def subscribe(self, fleet: str, last_event_id: str | None = None) -> Subscription:
        """Return a subscription to what comes after an event, or from now on.

        It begins with `resync` if that event is no longer known.

        Raises:
            NoPlaceLeft: There are as many as there may be.
        """
        self.places.take()
        log = self._logs.setdefault(fleet, _Log())
        subscription = Subscription(self, fleet, log)
        if last_event_id is not None:
            place = log.after(last_event_id) or ([Batch([self._resync()])], log.end)
            subscription.resume(*place)
            self.wake(subscription)
        log.subscriptions.add(subscription)
        self._open += 1
        if self._closed:
            subscription.close()
        return subscription

    def unsubscribe(self, fleet: str, subscription: Subscription) -> None:
        """End a subscription."""
        log = self._logs.get(fleet)
        if log is None or subscription not in log.subscriptions:
            return
        log.subscriptions.remove(subscription)
        self.places.give_back()
        self._open -= 1
        if not log.subscriptions and not log.has_changes:
            # Nobody can resume from it: what is left of a fleet that was deleted.
            self._forget(fleet)

    def publish(self, fleet: str, changes: Sequence[Change] | UnreadChanges) -> None:
        """Give a fleet's changes to all who listen."""
        log = self._logs.pop(fleet, None) or _Log()
        self._logs[fleet] = log
        self._append(log, changes)

    def start_over(self, fleet: str) -> None:
        """Forget a fleet's events, those on their way included, and tell its subscribers so."""
        log = self._logs.get(fleet)
        if log is None:
            return
        if not log.subscriptions:
            self._forget(fleet)
            return
        self._size -= log.size
        log.clear()
        self._append(log, [self._resync()])

    def start_all_over(self) -> None:
        """Start over for every fleet."""
        for fleet in [*self._logs]:
            self.start_over(fleet)

    def close(self) -> None:
        """End all subscriptions, later ones included."""
        self._closed = True
        for log in self._logs.values():
            for subscription in log.subscriptions:
                subscription.close()

    def wake(self, subscription: Subscription) -> None:
        """Give a reader its turn, after those who wait for theirs."""
        self._to_wake.append(subscription)
        self._wake_soon()

    def _append(self, log: _Log, events: Sequence[Event] | UnreadChanges) -> None:
        before = log.size
        log.append(events)
        self._size += log.size - before
        if self._size > KEPT_IN_ALL:
            self._drop_oldest()
        if log.subscriptions and not log.has_news:
            log.has_news = True
            self._news.append(log)
            self._wake_soon()

    def _drop_oldest(self) -> None:
        for fleet, log in [*self._logs.items()]:
            while log.batches and self._size > KEPT_IN_ALL:
                before = log.size
                log.drop_oldest()
                self._size -= before - log.size
            if self._size <= KEPT_IN_ALL:
                return
            if not log.subscriptions:
                self._forget(fleet)

    def _forget(self, fleet: str) -> None:
        self._size -= self._logs.pop(fleet).size

    def _wake_soon(self) -> None:
        if not self._is_waking:
            self._is_waking = True
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _wake_some(self) -> None:
        """Give some readers their turn, and the rest after everyone else has had one."""
        for _ in range(READERS_A_TURN):
            while not self._to_wake:
                if not self._news:
                    self._is_waking = False
                    return
                log = self._news.popleft()
                log.has_news = False
                self._to_wake.extend(log.subscriptions)
            self._to_wake.popleft().wake()
        asyncio.get_running_loop().call_soon(self._wake_some)

    def _resync(self) -> Resync:
        return Resync(f"r{self._process}-{next(self._resyncs)}")
