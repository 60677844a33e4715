"""The polls of attempts, of fleets that replicas share."""

from collections.abc import Iterable, Sequence

from pisync.model.plans.polls import Polls
from pisync.model.plans.script import Script
from pisync.stores.changes import FleetChanges
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.snapshot import FleetSnapshot
from pisync.stores.schema.rows import polls_row, read_polls

_LOAD = """
    SELECT
        device_id, sync_status_code, attempt, remaining, polls.planned_status_code,
        polls.planned_error_message
    FROM devices LEFT JOIN polls USING (fleet_id, device_id, attempt)
    WHERE fleet_id = $1 AND device_id = ANY($2::bigint[])"""
_COUNT = """
    UPDATE polls SET remaining = after
    FROM unnest($2::bigint[], $3::bigint[], $4::integer[], $5::integer[])
        AS counted (id, at, before, after)
    WHERE fleet_id = $1 AND device_id = id AND attempt = at AND remaining = before
    RETURNING true"""
_ADD = """
    INSERT INTO polls
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::integer[], $5::smallint[], $6::text[])
    ON CONFLICT (fleet_id, device_id) DO UPDATE
        SET attempt = excluded.attempt, remaining = excluded.remaining,
            planned_status_code = excluded.planned_status_code,
            planned_error_message = excluded.planned_error_message"""
_END = """
    DELETE FROM polls USING unnest($2::bigint[], $3::bigint[], $4::integer[])
        AS ended (id, at, before)
    WHERE fleet_id = $1 AND device_id = id AND attempt = at AND remaining = before
    RETURNING true"""
_MARK = """
    INSERT INTO polled_fleets SELECT fleet_id FROM fleets WHERE fleet_id = $1 FOR KEY SHARE
    ON CONFLICT (fleet_id) DO NOTHING RETURNING true"""


class PollsChanged(Exception):
    """Reads were counted since the polls were read."""


def has_polls(script: Script) -> bool:
    """Say whether a script has steps that are pending for so many reads."""
    return any(step.polls is not None for step in script.steps)


async def mark_polled(connection: Connection, fleet_id: int) -> bool:
    """Note that attempts of a fleet may have polls; return whether that is new."""
    return bool(await connection.fetchval(_MARK, fleet_id))


async def load_polls(connection: Connection, fleet: FleetSnapshot) -> bool:
    """Read the polls of those of a fleet's loaded devices whose attempt has some.

    Returns whether the devices are still at the attempt and status that they were loaded with: else
    polls may have come or gone since.
    """
    is_same = True
    for device_id, code, *polls in await connection.fetch(_LOAD, fleet.fleet_id, [*fleet.devices]):
        device, (attempt, remaining, *_) = fleet.devices[device_id], polls
        is_same &= (device.sync_status_code, device.attempt) == (code, attempt)
        if remaining is not None:
            fleet.polls[device_id] = read_polls(polls)
    return is_same


async def write_polls(connection: Connection, changes: FleetChanges[FleetSnapshot]) -> None:
    """Write the polls that change, in the transaction of the rest of the changes.

    Raises:
        PollsChanged: They are no longer as they were read.
    """
    fleet_id, known = changes.fleet.fleet_id, changes.fleet.polls
    counted: list[tuple[int, int, int, int]] = []
    added: list[tuple[int, Polls]] = []
    ended: list[tuple[int, int, int]] = []
    for device_id, polls in changes.polls.items():
        before = known.get(device_id)
        if polls is None:
            if before is not None:
                ended.append((device_id, before.attempt, before.remaining))
        elif before is not None and before.attempt == polls.attempt:
            counted.append((device_id, polls.attempt, before.remaining, polls.remaining))
        else:
            added.append((device_id, polls))
    if counted:
        rows = await connection.fetch(_COUNT, fleet_id, *_columns(counted))
        if len(rows) < len(counted):
            raise PollsChanged
    if added:
        values = [(device_id, *polls_row(polls)) for device_id, polls in added]
        await connection.execute(_ADD, fleet_id, *_columns(values))
    if ended:
        rows = await connection.fetch(_END, fleet_id, *_columns(ended))
        if len(rows) < len(ended):
            raise PollsChanged


def _columns(rows: Iterable[Sequence[object]]) -> list[Sequence[object]]:
    return list(zip(*rows, strict=True))
