"""When the devices of a fleet begin their own attempts: `devices.due_at`, where nothing is pending.

A fleet that begins to live, or is to live otherwise, has no moments that hold. Whoever comes to its
devices next writes them down, some at a time; until all are, nothing begins by itself.
"""

from collections.abc import Iterable, Sequence

from pisync.model.plans.traffic import Traffic
from pisync.model.timestamp import LATEST
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.snapshot import FleetSnapshot
from pisync.stores.schema import codec

_PREPARED_AT_ONCE = 2_000

_BEGIN = """
    INSERT INTO traffic SELECT fleet_id, coalesce($2, started_at, made_at), 0 FROM fleets
    WHERE fleet_id = $1 AND profile::jsonb ? 'traffic'
    ON CONFLICT (fleet_id) DO UPDATE SET since = excluded.since, prepared = 0
    RETURNING true"""
_END = "DELETE FROM traffic WHERE fleet_id = $1"
_TRAFFIC = "SELECT since, prepared FROM traffic WHERE fleet_id = $1"
_TURN = "SELECT true FROM turns WHERE fleet_id = $1 AND version = $2 FOR UPDATE"
_NEXT = """
    SELECT device_id FROM devices WHERE fleet_id = $1 AND device_id > $2
    ORDER BY device_id LIMIT $3 FOR UPDATE"""
# What has synced since has a moment that holds.
_WRITE = """
    UPDATE devices SET due_at = moment
    FROM unnest($2::bigint[], $3::bigint[]) AS moments (id, moment)
    WHERE fleet_id = $1 AND device_id = id AND sync_status_code <> 202
        AND (last_attempt_at < $4 OR attempt = 0)"""
_PREPARED = "UPDATE traffic SET prepared = $2 WHERE fleet_id = $1"
_SCRIPTS = """
    SELECT device_id, steps, sticky, position FROM scripts
    WHERE fleet_id = $1 AND device_id = ANY($2)"""


async def start_living(connection: Connection, fleet_id: int, since: int | None = None) -> bool:
    """Let a fleet live, if its profile says so, from a fleet time on; by default, its beginning.

    Returns whether it does.
    """
    if since is not None:
        await connection.execute(_END, fleet_id)
    return bool(await connection.fetchval(_BEGIN, fleet_id, since))


async def prepare(connection: Connection, fleet: FleetSnapshot) -> bool:
    """Write down some moments of a fleet; say whether all were written before."""
    traffic = fleet.profile.traffic
    if traffic is None:
        return True
    row = await connection.fetchrow(_TRAFFIC, fleet.fleet_id)
    if row is None or row["prepared"] is None:
        return row is not None
    async with connection.transaction():
        # In this order, as commits do: else each might wait for the other.
        rows = await connection.fetch(_NEXT, fleet.fleet_id, row["prepared"], _PREPARED_AT_ONCE)
        # Another replica may have had the turn before.
        if (
            await connection.fetchval(_TURN, fleet.fleet_id, fleet.version)
            and await connection.fetchrow(_TRAFFIC, fleet.fleet_id) == row
        ):
            device_ids = [device_id for (device_id,) in rows]
            await _prepare_some(connection, fleet, traffic, row["since"], device_ids)
    return False


async def _prepare_some(
    connection: Connection,
    fleet: FleetSnapshot,
    traffic: Traffic,
    since: int,
    device_ids: Sequence[int],
) -> None:
    moments = [*_first_moments(traffic, fleet.profile.seed, since, device_ids)]
    await connection.execute(_WRITE, fleet.fleet_id, device_ids, moments, since)
    is_last = len(device_ids) < _PREPARED_AT_ONCE
    await connection.execute(_PREPARED, fleet.fleet_id, None if is_last else device_ids[-1])


def _first_moments(
    traffic: Traffic, seed: int, since: int, device_ids: Iterable[int]
) -> Iterable[int | None]:
    for device_id in device_ids:
        first = traffic.first(seed, device_id)
        yield None if first is None or since + first > LATEST else since + first


async def load_scripts(connection: Connection, fleet: FleetSnapshot) -> None:
    """Read the scripts of a fleet's devices that were read, since they may begin an attempt."""
    rows = await connection.fetch(_SCRIPTS, fleet.fleet_id, [*fleet.devices])
    for device_id, steps, sticky, position in rows:
        fleet.scripts[device_id] = codec.read_script(steps, sticky, position)
