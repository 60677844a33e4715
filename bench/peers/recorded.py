"""PiSync on PostgreSQL, which writes down its statements into the file that RECORDING names."""

import atexit
import os
import pickle
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from bench.peers.repeated import Statement
from pisync.cli.main import main
from pisync.stores.postgres import database

_connect = database.connect  # type: ignore[attr-defined] # as the pool has it
_statements: list[Statement] = []
_numbers = count()


def _note(number: int, query: Any) -> None:
    if query.exception is None:
        _statements.append(Statement(number, query.query, query.args))


async def _listened_to(*args: Any, **options: Any) -> Any:
    connection = await _connect(*args, **options)
    connection.add_query_logger(partial(_note, next(_numbers)))
    return connection


def _write() -> None:
    Path(os.environ["RECORDING"]).write_bytes(pickle.dumps([tuple(each) for each in _statements]))


if __name__ == "__main__":
    database.connect = _listened_to  # type: ignore[attr-defined] # where the pool's come from
    atexit.register(_write)
    main()
