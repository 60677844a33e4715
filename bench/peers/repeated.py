"""The raw driver: makes the statements that were recorded, as fast as the database takes them.

    python -m bench.peers.repeated URL FILE

Each connection makes those that it made then, in turn; writes, which wait for each other in any
case, come in the order of then. It prints how many seconds that took.
"""

import asyncio
import pickle
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import connect


class Statement(NamedTuple):
    """A statement, its arguments, and the connection that made it."""

    connection: int
    sql: str
    args: tuple[Any, ...]


async def repeat(url: str, statements: list[Statement]) -> float:
    """Make the statements; return the seconds that it took."""
    lines: dict[int, list[tuple[Statement, int | None]]] = defaultdict(list)
    writes = 0
    for each in statements:
        is_write = "commit_work" in each.sql
        lines[each.connection].append((each, writes if is_write else None))
        writes += is_write
    loop = asyncio.get_running_loop()
    written = [loop.create_future() for _ in range(writes + 1)]
    written[0].set_result(None)
    connections = [await connect(Address.parse(url)) for _ in lines]
    began = time.perf_counter()
    await asyncio.gather(*map(_make, connections, lines.values(), [written] * len(lines)))
    return time.perf_counter() - began


async def _make(
    connection: Any,
    line: list[tuple[Statement, int | None]],
    written: list[asyncio.Future[None]],
) -> None:
    for statement, turn in line:
        if turn is None:
            await connection.fetch(statement.sql, *statement.args)
        else:
            await written[turn]
            await connection.fetch(statement.sql, *statement.args)
            written[turn + 1].set_result(None)


if __name__ == "__main__":
    recorded = pickle.loads(Path(sys.argv[2]).read_bytes())  # noqa: S301 - ours, of a moment ago
    print(uvloop.run(repeat(sys.argv[1], [Statement(*each) for each in recorded])))
