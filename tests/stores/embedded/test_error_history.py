"""Error logs in memory: a search that finds little lets others have their turn."""

import asyncio
from collections.abc import Sequence

from pisync.model.device import ErrorFilter, ErrorLog
from pisync.stores.embedded.bounds.budgets import FleetBudgets, FleetShares
from pisync.stores.embedded.error_history import ErrorHistory

KEPT = 100_000


def log(error_id: int) -> ErrorLog:
    return ErrorLog(error_id, 1, error_id, 400, "Storage Full", error_id)


def history_of(logs: Sequence[ErrorLog], most: int) -> ErrorHistory:
    return ErrorHistory(logs, most, FleetShares(FleetBudgets(most)))


async def test_a_search_that_finds_nothing_lets_others_have_their_turn() -> None:
    history = history_of([log(error_id) for error_id in range(1, KEPT + 1)], KEPT)
    search = asyncio.ensure_future(history.page(ErrorFilter(statuses=frozenset((500,))), 10))
    turns = 0
    while not search.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 20
    page = await search
    assert (page.error_logs, page.more) == ([], False)
    assert await history.page(ErrorFilter(statuses=frozenset((500,))), 10) is page


async def test_what_goes_during_a_search_is_not_found_and_what_comes_is_too_new() -> None:
    history = history_of([log(error_id) for error_id in range(1, KEPT + 1)], KEPT)
    for which in (ErrorFilter(since=0), ErrorFilter(device_id=1)):
        search = asyncio.ensure_future(history.page(which, 2 * KEPT))
        await asyncio.sleep(0)
        newest = history.next_id - 1
        for error_id in range(newest + 1, newest + 1001):
            history.append(log(error_id))
        page = await search
        assert [page.error_logs[0].error_id, page.error_logs[-1].error_id] == [
            newest,
            newest - KEPT + 1001,
        ]
        assert page.version is None
