"""A fleet's error logs: the newest ones, found by id, and a device's own without a search."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from pisync.model.device import ErrorFilter, ErrorLog, ErrorPage

_MOST_PAGES = 128


class ErrorHistory:
    """Error logs with consecutive ids; beyond `most` the oldest go."""

    def __init__(self, first: Sequence[ErrorLog], most: int) -> None:
        self._most = most
        # By id: the log's fields, and the id of the same device's log before it (0: none). Plain
        # tuples, unlike named ones, cost the garbage collector nothing: 100,000 logs held
        # everything up for 100 ms whenever it looked at them.
        self._logs: dict[int, tuple[Any, ...]] = {}
        self._newest_of: dict[int, int] = {}
        self._next_id = 1
        self._version = object()
        # Pages of this version: making one of a hundred logs again takes 40 µs.
        self._pages: dict[tuple[ErrorFilter, int], ErrorPage] = {}
        for log in first:
            self.append(log)
        self._first = self._next_id

    def __len__(self) -> int:
        return len(self._logs)

    @property
    def next_id(self) -> int:
        """The id that the next error log must have."""
        return self._next_id

    def append(self, log: ErrorLog) -> None:
        """Add the newest log; the oldest goes if there are too many."""
        self._logs[log.error_id] = *log, self._newest_of.get(log.device_id, 0)
        self._newest_of[log.device_id] = log.error_id
        self._next_id = log.error_id + 1
        self._version = object()
        self._pages.clear()
        if len(self._logs) > self._most:
            oldest = _log(self._logs.pop(self._next_id - 1 - self._most))
            if self._newest_of[oldest.device_id] == oldest.error_id:
                del self._newest_of[oldest.device_id]

    def restore(self, kept: Sequence[ErrorLog], written: int) -> None:
        """Restore the newest of `written` logs that were made since the first data."""
        oldest = self._first + written - len(kept)
        if oldest != self._next_id:
            # There were more in between than are kept, so what came before them has gone, too.
            self._logs.clear()
            self._newest_of.clear()
            self._next_id = oldest
        for log in kept:
            self.append(log)

    def page(self, which: ErrorFilter, limit: int) -> ErrorPage:
        """Return the newest `limit` logs that the filter lets through."""
        page = self._pages.get((which, limit))
        if page is None:
            if len(self._pages) >= _MOST_PAGES:
                self._pages.clear()
            page = self._pages[which, limit] = self._page(which, limit)
        return page

    def _page(self, which: ErrorFilter, limit: int) -> ErrorPage:
        logs = self._newest_first(which) if which.device_id is None else self._of_device(which)
        found = list(islice((log for log in logs if _passes(log, which)), limit + 1))
        return ErrorPage(found[:limit], len(found) > limit, self._version)

    def _newest_first(self, which: ErrorFilter) -> Iterator[ErrorLog]:
        newest = self._next_id - 1
        if which.before is not None:
            newest = min(newest, which.before - 1)
        for error_id in range(newest, self._next_id - 1 - len(self._logs), -1):
            yield _log(self._logs[error_id])

    def _of_device(self, which: ErrorFilter) -> Iterator[ErrorLog]:
        error_id = self._newest_of.get(which.device_id or 0, 0)
        while entry := self._logs.get(error_id):
            log, error_id = _log(entry), entry[-1]
            if which.before is None or log.error_id < which.before:
                yield log


def _log(entry: tuple[Any, ...]) -> ErrorLog:
    return ErrorLog._make(entry[:-1])


def _passes(log: ErrorLog, which: ErrorFilter) -> bool:
    return (which.statuses is None or log.sync_status_code in which.statuses) and (
        which.since is None or log.occurred_at >= which.since
    )
