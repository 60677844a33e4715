"""PiSync on PostgreSQL, which writes down its statements into the file that RECORDING names."""

import atexit
import os
import pickle
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from bench.peers.repeated import Statement
from pisync.cli.main import main

_statements: list[Statement] = []
_numbers = count()


def _note(number: int, query: Any) -> None:
    if query.exception is None:
        _statements.append(Statement(number, query.query, query.args))


async def _listen(connection: Any) -> None:
    connection.add_query_logger(partial(_note, next(_numbers)))


def _write() -> None:
    Path(os.environ["RECORDING"]).write_bytes(pickle.dumps([tuple(each) for each in _statements]))


if __name__ == "__main__":
    create_pool: Callable[..., Any] = asyncpg.create_pool
    asyncpg.create_pool = partial(create_pool, init=_listen)
    atexit.register(_write)
    main()
