"""Saying what a start waits for, when it takes longer than one expects."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import asyncpg

from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import FAILURES, connect
from pisync.telemetry.logs import get_logger

_FIRST = 1.0
"""Seconds after which it is first said what is waited for."""
_AGAIN = 10.0
"""Seconds until it is said again."""

_BLOCKERS = """
    SELECT pid, application_name, client_addr, now() - state_change AS since
    FROM pg_stat_activity
    WHERE pid = ANY(pg_blocking_pids($1)) OR pid = ANY($2) ORDER BY pid"""

_log = get_logger()


class Wait:
    """What is known of a wait."""

    process: int | None = None
    """The server's process that waits: who holds a lock that it needs can be told, too."""
    holders: Sequence[int] = ()
    """The processes that are waited for, where none waits."""


@contextmanager
def waiting(address: Address, waits_for: str) -> Iterator[Wait]:
    """Log what is waited for within, from a second on."""
    wait = Wait()
    telling = asyncio.create_task(_tell(address, waits_for, wait))
    try:
        yield wait
    finally:
        telling.cancel()


async def _tell(address: Address, waits_for: str, wait: Wait) -> None:
    now = asyncio.get_running_loop().time
    began, pause = now(), _FIRST
    while True:
        await asyncio.sleep(pause)
        pause = _AGAIN
        blockers = await _blockers(address, wait)
        _log.warning(
            "start waits",
            waits_for=waits_for,
            seconds=round(now() - began),
            **({"blocked_by": blockers} if blockers else {}),
        )


async def _blockers(address: Address, wait: Wait) -> list[str]:
    """Name the sessions that hold the lock that is waited for, as far as one may know."""
    if wait.process is None and not wait.holders:
        return []
    with suppress(*FAILURES):
        connection = await connect(address)
        try:
            rows = await connection.fetch(_BLOCKERS, wait.process or 0, wait.holders)
            return [_named(row) for row in rows]
        finally:
            connection.terminate()
    return []


def _named(row: asyncpg.Record) -> str:
    place = f" from {row['client_addr']}" if row["client_addr"] else ""
    since = "" if row["since"] is None else f", for {row['since'].total_seconds():.0f} s"
    return f"process {row['pid']} ({row['application_name'] or 'unnamed'}{place}{since})"
