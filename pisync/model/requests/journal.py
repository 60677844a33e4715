"""The journal: a fleet's newest requests, each as one value."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Final, NamedTuple

from pisync.model.bounds import JOURNAL_ENTRIES, Budget, Share
from pisync.model.timestamp import from_seconds

MAX_JOURNAL = 100_000
DEFAULT_JOURNAL: Final = 1_000
"""How many requests a fleet in memory keeps unless it is told otherwise."""
READ_AT_ONCE: Final = 1_000
"""Requests that are read at once: others should not wait while more are."""
MAX_AGENT = 200
"""Characters of a `User-Agent` that are kept."""
MAX_PATH = 200
"""Characters of a path that are kept: those of all calls are shorter."""


class JournalEntry(NamedTuple):
    """A request as it arrived, before it has a number.

    `received_at` is by the wall clock, in microseconds since 1970. Without a `status` there was no
    answer.
    """

    request_id: str
    received_at: int
    call: str
    method: str
    path: str
    device_id: int | None
    user: str
    user_agent: str | None
    status: int | None
    fault: str | None
    attempt: int | None
    seconds: float


class JournaledRequest(NamedTuple):
    """A request in a journal. Numbers grow; each fleet counts its own from 1."""

    number: int
    entry: JournalEntry


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests are meant: those that have all that is not None, of several one of them."""

    calls: frozenset[str] | None = None
    device_id: int | None = None
    user: str | None = None
    statuses: frozenset[int] | None = None
    faults: frozenset[str] | None = None
    since: int | None = None
    """Wall clock, in microseconds; inclusive."""
    before: int | None = None
    """A number; exclusive."""

    def lets_through(self, request: JournaledRequest) -> bool:
        """Return whether a request is one of those that are meant."""
        number, entry = request
        return (
            (self.before is None or number < self.before)
            and (self.calls is None or entry.call in self.calls)
            and (self.device_id is None or entry.device_id == self.device_id)
            and (self.user is None or entry.user == self.user)
            and (self.statuses is None or entry.status in self.statuses)
            and (self.faults is None or entry.fault in self.faults)
            and (self.since is None or entry.received_at >= self.since)
        )


class JournalPage(NamedTuple):
    """Requests, newest first, and whether a page follows."""

    requests: Sequence[JournaledRequest]
    more: bool


QuickNote = tuple[
    str,
    int,
    float,
    tuple[str, str, str],
    int | None,
    tuple[str, str | None],
    int | None,
    str | None,
]
"""What a frequent request leaves, to be made an entry when it is read.

Its id, when it was answered, its seconds, its call (name, method, path), its device, its caller
(user, `User-Agent`), its status, and its attempt as the header has it.
"""


def _entry_of(kept: JournalEntry | QuickNote) -> JournalEntry:
    if isinstance(kept, JournalEntry):
        return kept
    request_id, answered_at, seconds, call, device_id, caller, status, attempt = kept
    return JournalEntry(
        request_id,
        answered_at - from_seconds(seconds),
        *call,
        device_id,
        *caller,
        status,
        None,
        None if attempt is None else int(attempt),
        round(seconds, 6),
    )


class Journal:
    """The newest requests of one fleet, in memory."""

    __slots__ = ("_count", "_entries", "_share", "size")

    def __init__(self, size: int, share: Share | None = None) -> None:
        """Keep `size` requests at most, within the fleet's share of all that are kept."""
        self._share = Share(Budget(JOURNAL_ENTRIES)) if share is None else share
        self._count = 0
        self._entries: deque[JournalEntry | QuickNote] = deque(maxlen=size)
        self.size = size
        """How many requests it keeps at most; `resize` changes it."""

    def append(self, entry: "JournalEntry | QuickNote") -> None:
        """Keep a request; the oldest goes where there is no room."""
        self._count += 1
        entries = self._entries
        is_full = len(entries) == self.size
        entries.append(entry)
        if not is_full:
            self._share.change(1)

    def __len__(self) -> int:
        return len(self._entries)

    def containers(self) -> list[deque[JournalEntry | QuickNote]]:
        """Return what may hold many objects, for whoever frees them."""
        return [self._entries]

    def newest_at(self) -> int:
        """Return when the newest request came, more or less; it must have one."""
        return self._entries[-1][1]

    def resize(self, size: int) -> None:
        """Keep so many requests from now on."""
        before = len(self._entries)
        self._entries = deque(self._entries, maxlen=size)
        self.size = size
        self._share.change(len(self._entries) - before)

    def drop_oldest(self, count: int) -> int:
        """Forget so many of the oldest requests, or all; return how many."""
        dropped = min(count, len(self._entries))
        for _ in range(dropped):
            self._entries.popleft()
        self._share.change(-dropped)
        return dropped

    def clear(self) -> None:
        """Forget all requests; the numbers go on."""
        self.drop_oldest(len(self._entries))

    def copy(self) -> "Journal":
        """Return a journal of the same requests, which stays as it is."""
        copied = Journal(self.size)
        copied._count = self._count
        copied._entries = self._entries.copy()
        return copied

    def requests(self) -> list[JournaledRequest]:
        """Return all requests, newest first."""
        return list(self._newest_first())

    def _newest_first(self) -> Iterator[JournaledRequest]:
        entries = map(_entry_of, reversed(self._entries))
        return map(JournaledRequest, count(self._count, -1), entries)

    def page(self, criteria: RequestFilter, limit: int) -> JournalPage:
        """Return the newest requests that a filter lets through, `limit` at most."""
        found = list(islice(filter(criteria.lets_through, self._newest_first()), limit + 1))
        return JournalPage(found[:limit], len(found) > limit)
