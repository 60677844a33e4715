"""Opening a connection: to the host that takes writes, with a session that PiSync can rely on."""

import re
import ssl
from functools import cache
from typing import TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres.connection.address import Address, Host

CONNECT_SECONDS = 2.0
"""How long opening a connection may take, whatever the number of hosts."""
LOCK_SECONDS = 120
"""How long a start waits for a lock that another session holds."""

SESSION = {
    # What the caller has given up must not become true later.
    "statement_timeout": "2200",
    # One that is stopped, or cut off, must not keep its locks.
    "idle_in_transaction_session_timeout": "2400",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # What a database, a role or a server may have other defaults for.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    # A sync that was answered must survive a crash. Replaces only `off`: some want more than `on`.
    "synchronous_commit": "on",
    "jit": "off",
}
"""What every session needs.

It is set by a statement: poolers refuse a connection that brings settings along.
"""
PLANNER = {
    # There is an index for each statement. A plan must not go by statistics that are older than a
    # fleet of a million devices.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_material": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # So there is nothing to gain from planning anew for each value: that costs more than to run it.
    "plan_cache_mode": "force_generic_plan",
}
"""What sessions need that run statements for requests.

docs/decisions/0012-plans-without-statistics.md says why.
"""
SENDING = {"pisync.sends_notices": "on"}
"""Tells `commit_work` that what it leaves in the outbox is sent after its commit."""
_PATIENT = {
    "statement_timeout": "0",
    "lock_timeout": f"{LOCK_SECONDS}s",
    # On a busy machine it takes seconds to load what runs migrations, which is done in between.
    "idle_in_transaction_session_timeout": "60s",
}
"""What differs in a session that gets the database ready."""
_UNPLANNED = {name: "auto" if name == "plan_cache_mode" else "on" for name in PLANNER}
"""What a server has in place of `PLANNER`."""

_STATEMENTS_KEPT = 100
"""Prepared statements that a connection keeps, where it keeps its session."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # What a statement meets on a connection that is being ended.
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What a connection may raise."""


class CannotConnect(ConnectionError):
    """No host of the database lets PiSync in and takes writes; the text says why."""


async def connect(
    address: Address,
    *,
    patient: bool = False,
    is_bare: bool = False,
    command_timeout: float | None = None,
) -> Connection:
    """Open a connection to the first host that takes writes.

    A patient one is for getting the database ready: its statements may take any time, but wait for
    a lock for `LOCK_SECONDS` at the most. Where a pooler shares sessions, it is not patient before
    `HAVE_PATIENCE`. A bare one has no settings yet: if a pooler shares its session, they would
    become another client's. `command_timeout` is in seconds.

    Raises:
        CannotConnect: No host would do.
    """
    reasons = []
    for host in address.hosts:
        try:
            return await _connect_to(host, address, patient, is_bare, command_timeout)
        # Among them, what the driver says of options that it does not know.
        except (*FAILURES, ValueError) as exc:
            reasons.append((host, exc))
    text = "; ".join(
        f"{host}: {_refusal(exc, address)}" if len(reasons) > 1 else _refusal(exc, address)
        for host, exc in reasons
    )
    raise CannotConnect(text) from reasons[-1][1]


async def _connect_to(
    host: Host, address: Address, patient: bool, is_bare: bool, command_timeout: float | None
) -> Connection:
    seconds = CONNECT_SECONDS / len(address.hosts)
    wanted = None if "target_session_attrs" in address.options else SessionAttribute.read_write
    connection: Connection = await asyncpg.connect(
        address.dsn,
        host=host.name,
        port=host.port,
        user=address.user,
        password=address.password,
        timeout=seconds,
        command_timeout=command_timeout,
        server_settings={"application_name": "pisync"},
        target_session_attrs=wanted,
        statement_cache_size=0 if is_bare or address.shares_sessions else _STATEMENTS_KEPT,
    )
    try:
        if address.shares_sessions:
            await _check(connection, seconds)
        elif not is_bare:
            await set_up(connection, patient=patient, seconds=seconds)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def set_up(connection: Connection, *, patient: bool, seconds: float | None = None) -> None:
    """Give a session what it needs, within so many seconds if that is given."""
    settings = SESSION | (_PATIENT if patient else PLANNER | SENDING)
    await connection.execute(_set_up(tuple(settings.items()), "false"), timeout=seconds)


@cache
def _set_up(settings: tuple[tuple[str, str], ...], is_local: str) -> str:
    """Return a statement that makes these settings, except those that this server lacks."""
    values = ", ".join(f"('{name}', '{value}')" for name, value in settings)
    return f"""
        SELECT set_config(name, value, {is_local}) FROM (VALUES {values}) AS wanted (name, value)
        WHERE (current_setting(name, true) IS NOT NULL OR name LIKE 'pisync.%')
            AND (name <> 'synchronous_commit' OR current_setting(name) = 'off')"""  # noqa: S608 - ours


HAVE_PATIENCE = _set_up(tuple((_PATIENT | _UNPLANNED).items()), "true")
"""Makes a pooler's session patient until the end of the transaction."""


async def _check(connection: Connection, seconds: float) -> None:
    """See whether a pooler's session has what every session needs, within so many seconds.

    What is set there would be another client's.

    Raises:
        CannotConnect: It has not.
    """
    lacking = await connection.fetchval(
        _LACKING, *zip(*_SHARED.items(), strict=True), timeout=seconds
    )
    if lacking is not None:
        raise CannotConnect(f"the pooler's sessions lack settings: {lacking}")


_SHARED = {name: value for name, value in (SESSION | PLANNER).items() if "tcp_" not in name}
"""What sessions need that a pooler shares: whether its connections stand is its own business."""
_LACKING = """
    SELECT string_agg(name || ' = ' || value, ', ' ORDER BY name)
    FROM unnest($1::text[], $2::text[]) AS wanted (name, value) JOIN pg_settings USING (name)
    WHERE CASE name WHEN 'synchronous_commit' THEN setting = 'off' ELSE setting <> value END"""


def _refusal(exc: Exception, address: Address) -> str:
    """Say why a host would not do, with nothing of the URL in it."""
    if isinstance(exc, asyncpg.TargetServerAttributeNotMatched):
        return "takes no writes: it is a standby, or read-only"
    if isinstance(exc, TimeoutError):
        return f"no answer within {CONNECT_SECONDS / len(address.hosts):g} s"
    text = reason(exc)
    # A certificate that is not believed: a ValueError, too, but not for what is in the URL.
    if isinstance(exc, ssl.SSLError):
        return text
    # The driver quotes what it can't read.
    if isinstance(exc, ValueError) and (
        not isinstance(exc, asyncpg.InterfaceError)
        or any(value in text for value in address.options.values() if value)
    ):
        return "the URL can't be read: is one of its options wrong?"
    return text


def reason(exc: BaseException) -> str:
    """Say in words what went wrong; they name no user and no password."""
    # Others wrap what the driver raised; SQLAlchemy adds the whole statement.
    while exc.__cause__ is not None and (
        isinstance(exc, StoreUnavailable) or type(exc).__module__.startswith("sqlalchemy.")
    ):
        exc = exc.__cause__
    if isinstance(exc, asyncpg.QueryCanceledError):
        return f"{exc}: another session holds a lock, or the database is slow"
    if isinstance(exc, TimeoutError) and not str(exc):
        return "no answer in time"
    if isinstance(exc, asyncpg.InvalidAuthorizationSpecificationError):
        return re.sub(r'(user|role) "[^"]*"', r"the \1", str(exc))
    # Some exceptions have no text.
    return str(exc) or type(exc).__name__
