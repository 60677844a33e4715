"""A fleet's error logs: the newest ones, found by id, and a device's own without a search."""

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from pisync.model.device import ErrorFilter, ErrorLog, ErrorPage
from pisync.stores.embedded.bounds.budgets import FleetShares

_MAX_PAGES = 128
_SLICE = 4096
"""How many logs are looked at in one turn of the event loop: some milliseconds."""


class ErrorHistory:
    """Error logs with consecutive ids; beyond `most` the oldest go."""

    def __init__(self, first: Sequence[ErrorLog], most: int, shares: FleetShares) -> None:
        self._most = most
        self._share = shares.error_logs
        self._page_share = shares.error_page_logs
        # By id: the log's fields, and the id of the same device's log before it (0: none). Plain
        # tuples, unlike named ones, cost the garbage collector nothing: 100,000 logs held
        # everything up for 100 ms whenever it looked at them.
        self._logs: dict[int, tuple[Any, ...]] = {}
        self._newest_of: dict[int, int] = {}
        self._next_id = 1
        self.version: Hashable = object()
        """Another one whenever a log comes or goes."""
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

    def since_first(self) -> list[tuple[Any, ...]]:
        """Return what is kept beyond the first data's logs, for `log_of`."""
        return [entry for error_id, entry in self._logs.items() if error_id >= self._first]

    def append(self, log: ErrorLog) -> None:
        """Add the newest log; the oldest goes if there are too many."""
        self._logs[log.error_id] = *log, self._newest_of.get(log.device_id, 0)
        self._newest_of[log.device_id] = log.error_id
        self._next_id = log.error_id + 1
        self.version = object()
        if self._pages:
            self.forget_pages()
        if len(self._logs) > self._most:
            self._drop_oldest()
        else:
            self._share.change(1)

    def containers(self) -> list[dict[Any, Any]]:
        """Return what may hold many objects, for whoever frees them."""
        return [self._logs, self._newest_of, self._pages]

    def drop_oldest(self, count: int) -> None:
        """Drop so many of the oldest logs, to make room for those of other fleets."""
        for _ in range(min(count, len(self._logs))):
            self._drop_oldest()
            self._share.change(-1)
        self.version = object()
        self.forget_pages()

    def _drop_oldest(self) -> None:
        oldest = log_of(self._logs.pop(self._next_id - len(self._logs)))
        if self._newest_of[oldest.device_id] == oldest.error_id:
            del self._newest_of[oldest.device_id]

    def forget_pages(self) -> None:
        """Forget the pages that are kept."""
        self._pages.clear()
        self._page_share.change(-self._page_share.held)

    def restore(self, kept: Sequence[ErrorLog], written: int) -> None:
        """Restore the newest of `written` logs that were made since the first data."""
        oldest = self._first + written - len(kept)
        if oldest != self._next_id:
            # There were more in between than are kept, so what came before them has gone, too.
            self._share.change(-len(self._logs))
            self._logs.clear()
            self._newest_of.clear()
            self._next_id = oldest
        for log in kept:
            self.append(log)

    async def page(self, criteria: ErrorFilter, limit: int) -> ErrorPage:
        """Return the newest `limit` logs that the filter lets through.

        If it lets few through, others get their turn while it looks; what is added meanwhile is too
        new for this page.
        """
        page = self._pages.get((criteria, limit))
        if page is None:
            version = self.version
            found = await self._find(criteria, limit + 1)
            is_present = version is self.version
            page = ErrorPage(found[:limit], len(found) > limit, version if is_present else None)
            if is_present:
                if len(self._pages) >= _MAX_PAGES:
                    self.forget_pages()
                self._pages[criteria, limit] = page
                self._page_share.change(len(page.error_logs))
        return page

    async def _find(self, criteria: ErrorFilter, limit: int) -> list[ErrorLog]:
        logs = (
            self._newest_first(criteria)
            if criteria.device_id is None
            else self._of_device(criteria)
        )
        found = []
        for looked_at, log in enumerate(logs, start=1):
            if _passes(log, criteria):
                found.append(log)
                if len(found) == limit:
                    break
            if looked_at % _SLICE == 0:
                await asyncio.sleep(0)
        return found

    def _newest_first(self, criteria: ErrorFilter) -> Iterator[ErrorLog]:
        newest = self._next_id - 1
        if criteria.before is not None:
            newest = min(newest, criteria.before - 1)
        for error_id in range(newest, self._next_id - 1 - len(self._logs), -1):
            entry = self._logs.get(error_id)
            if entry is None:  # it has become too old while we looked
                return
            yield log_of(entry)

    def _of_device(self, criteria: ErrorFilter) -> Iterator[ErrorLog]:
        error_id = self._newest_of.get(criteria.device_id or 0, 0)
        while entry := self._logs.get(error_id):
            log, error_id = log_of(entry), entry[-1]
            if criteria.before is None or log.error_id < criteria.before:
                yield log


def log_of(entry: tuple[Any, ...]) -> ErrorLog:
    """Return the error log that a history has kept."""
    return ErrorLog._make(entry[:-1])


def _passes(log: ErrorLog, criteria: ErrorFilter) -> bool:
    return (criteria.statuses is None or log.sync_status_code in criteria.statuses) and (
        criteria.since is None or log.occurred_at >= criteria.since
    )
