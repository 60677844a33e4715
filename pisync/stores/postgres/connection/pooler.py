"""Recognizing a pooler that gives each transaction another session."""

import asyncpg

from pisync.stores.errors import CannotOpen
from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import Connection, connect

_PROBES = 5
"""How often two connections are compared: others, too, use the pooler meanwhile."""
_SHARED = (
    "the pooler in front of it gives each transaction another session (transaction pooling):"
    " PiSync needs session pooling, or no pooler, or PISYNC_STORE_DIRECT: a URL past the pooler,"
    " or none if there is none"
)


async def refuse_transaction_pooling(address: Address, connection: Connection) -> None:
    """Return if a connection keeps its session from one transaction to the next.

    Without that, locks of sessions stay with whoever comes next, and notifications don't arrive.

    Raises:
        CannotOpen: It does not.
    """
    try:
        if await _is_shared(address, connection):
            raise CannotOpen(_SHARED)
    # A statement was prepared in a session that is another client's now.
    except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError) as exc:
        raise CannotOpen(_SHARED) from exc


# In one message: a default of the database may end a transaction that is idle for 1 ms.
_BEGIN = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10s'"


async def _is_shared(address: Address, connection: Connection) -> bool:
    process = await process_of(connection)
    if process == connection.get_server_pid():
        return False  # no pooler: those hand out numbers of their own
    other = await connect(address, is_bare=True)
    try:
        for _ in range(_PROBES):
            # What one has just given back is what the other gets, or else another one's turn comes.
            if await process_of(connection) != process:
                return True
            await other.execute(_BEGIN)
            is_same = await process_of(other) == process
            await other.execute("ROLLBACK")
            if is_same:
                return True
    finally:
        other.terminate()
    return False


async def process_of(connection: Connection) -> int:
    """Return the number of the server's process that a connection has got."""
    number: int = await connection.fetchval("SELECT pg_backend_pid()")
    return number
