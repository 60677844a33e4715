"""How many rows a statement is about, where the database is slow, or away."""

import asyncpg
import pytest

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres.database import ChunkSize

MOST = 20_000


class Statement:
    """Fails with each of these causes in turn, then writes all rows that it is asked to."""

    def __init__(self, *causes: Exception) -> None:
        self._causes = list(causes)
        self.sizes: list[int] = []

    async def __call__(self, rows: int) -> int:
        self.sizes.append(rows)
        if self._causes:
            raise StoreUnavailable from self._causes.pop(0)
        return rows


async def test_what_the_server_gives_up_is_tried_with_fewer_rows_each_time() -> None:
    statement = Statement(asyncpg.QueryCanceledError(), asyncpg.QueryCanceledError())
    assert await ChunkSize(MOST).fit(statement) == 1250
    assert statement.sizes == [20_000, 5000, 1250]


async def test_what_takes_the_caller_too_long_is_tried_once_more_with_the_fewest_rows() -> None:
    statement = Statement(TimeoutError())
    assert await ChunkSize(MOST).fit(statement) == 100
    statement = Statement(TimeoutError(), TimeoutError())
    with pytest.raises(StoreUnavailable):
        await ChunkSize(MOST).fit(statement)
    assert statement.sizes == [20_000, 100]


async def test_any_other_failure_is_the_callers_at_once() -> None:
    statement = Statement(ConnectionResetError())
    with pytest.raises(StoreUnavailable):
        await ChunkSize(MOST).fit(statement)
    assert statement.sizes == [20_000]
