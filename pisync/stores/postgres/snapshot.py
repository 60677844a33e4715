"""What a write is about: read from the database by the name of a fleet."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pisync.model.clock import Clock
from pisync.model.device import Device
from pisync.model.fleet import Count
from pisync.model.plans.polls import Polls
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script
from pisync.stores.changes import Due
from pisync.stores.errors import NoSuchDevice, NoSuchFleet
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database
from pisync.stores.schema import codec
from pisync.stores.schema.rows import read_device

DEVICE = """
    device_id, last_sync_at, sync_status_code, error_message, last_attempt_at, attempt, due_at,
    planned_status_code, planned_error_message"""
"""The columns of a device, as `read_device` takes them."""

_FLEETS = """
    SELECT
        fleet_id, name, profile, fleet_time, wall_time, speed,
        coalesce(auto_clock AND speed = 0, false) AS is_auto, version, promised_time,
        coalesce(started_at, made_at) AS started_at, steady_now() AS now, n AS pending
    FROM fleets JOIN turns USING (fleet_id) JOIN status_counts USING (fleet_id)
    WHERE sync_status_code = 202"""
_FLEET = f"{_FLEETS} AND name = $1"
_FLEETS_AT_WORK = f"""
    SELECT
        fleet.*,
        EXISTS (
            SELECT FROM traffic
            WHERE traffic.fleet_id = fleet.fleet_id AND prepared IS NOT NULL
        ),
        first_due
    FROM (
        {_FLEETS} AND speed > 0 AND (n > 0 OR fleet_id IN (SELECT fleet_id FROM traffic))
    ) AS fleet LEFT JOIN LATERAL (
        SELECT due_at AS first_due FROM devices
        WHERE devices.fleet_id = fleet.fleet_id AND due_at IS NOT NULL AND (
            sync_status_code = 202
            OR EXISTS (SELECT FROM traffic WHERE traffic.fleet_id = fleet.fleet_id)
        )
        ORDER BY due_at LIMIT 1
    ) AS first ON true"""  # noqa: S608 - text of ours
_DUE = f"""
    SELECT {DEVICE} FROM devices
    WHERE fleet_id = $1 AND due_at <= $2
    ORDER BY due_at, device_id LIMIT $3"""  # noqa: S608 - columns of ours
_PENDING_DUE = _DUE.replace("due_at <= $2", "due_at <= $2 AND sync_status_code = 202")
# A fleet that lives no longer may have moments that are left over. The sum keeps PostgreSQL from
# looking for all that is pending, in place of what is due first.
_DUE_IF_PENDING = _DUE.replace("due_at <= $2", "due_at <= $2 AND sync_status_code + 0 = 202")
_FIRST_DUE = """
    SELECT due_at FROM devices
    WHERE fleet_id = $1 AND due_at IS NOT NULL
    ORDER BY due_at LIMIT 1"""
_FIRST_DUE_IF_PENDING = _FIRST_DUE.replace(
    "IS NOT NULL", "IS NOT NULL AND sync_status_code + 0 = 202"
)
_LAST_DUE = """
    SELECT due_at FROM devices
    WHERE fleet_id = $1 AND due_at IS NOT NULL AND sync_status_code = 202
    ORDER BY due_at DESC LIMIT 1"""
_DUES = """
    SELECT due_at, device_id FROM devices
    WHERE fleet_id = $1 AND due_at IS NOT NULL AND sync_status_code + 0 = 202
    ORDER BY due_at, device_id LIMIT $2"""
_DEVICE_DUE = """
    SELECT due_at, sync_status_code = 202 AS is_pending FROM devices
    WHERE fleet_id = $1 AND device_id = $2"""
# Where devices that are not pending have moments, one would walk past them all.
_LAST_PENDING_DUE = "SELECT max(due_at) FROM devices WHERE fleet_id = $1 AND sync_status_code = 202"
# One statement, so that it sees one moment. The profile, which may be long, comes in the first row.
# The limit has each device looked up, however large the database takes the fleet to be.
_WITH_DEVICES = """
    SELECT
        fleet.fleet_id, name, CASE WHEN place = 1 THEN profile END, fleet_time, wall_time, speed,
        is_auto, version, promised_time, started_at, now, pending, device.* {columns}
    FROM ({fleet}) AS fleet
    CROSS JOIN unnest($2::bigint[]) WITH ORDINALITY AS wanted (id, place)
    LEFT JOIN LATERAL (
        SELECT {device} FROM devices
        WHERE devices.fleet_id = fleet.fleet_id AND device_id = id {condition} LIMIT 1
    ) AS device ON true {scripts}
    ORDER BY place"""
_FLEET_COLUMNS = 12
_FLEET_WITH_DEVICES = _WITH_DEVICES.format(
    fleet=_FLEET,
    device=DEVICE,
    columns=", steps, sticky, position",
    condition="",
    scripts="LEFT JOIN scripts ON scripts.fleet_id = fleet.fleet_id AND scripts.device_id = id",
)
_FLEET_WITH_PENDING = _WITH_DEVICES.format(
    fleet=f"{_FLEETS} AND fleet_id = $1",
    device=DEVICE,
    columns="",
    condition="AND sync_status_code = 202",
    scripts="",
)

_profile = lru_cache(maxsize=256)(codec.read_profile)


class LoadedDevices(dict[int, Device]):
    """The devices that changes are about; each one's position is its id."""

    def position(self, device_id: int) -> int | None:
        """Return the position of a device, or None if there is no such device."""
        return device_id if device_id in self else None

    def load(self, position: int) -> Device:
        """Return the device at a position."""
        return self[position]


@dataclass(slots=True)
class FleetSnapshot:
    """A fleet as it was when it was read, at `real_time`, with some of its devices."""

    fleet_id: int
    name: str
    version: int
    profile: Profile
    clock: Clock
    started_at: int
    promised_time: int
    """The fleet time that a manual clock is on its way to, if it lies ahead."""
    real_time: int
    pending: int
    devices: LoadedDevices = field(default_factory=LoadedDevices)
    scripts: dict[int, Script] = field(default_factory=dict)
    polls: dict[int, Polls] = field(default_factory=dict)
    is_preparing: bool = False
    """Whether its devices are to sync by themselves, and it is yet to be written down when."""
    next_error_id: int = 1
    """Error logs are numbered from 1 until the database knows what came before them."""

    @property
    def now(self) -> int:
        """Fleet time as it was read."""
        return self.clock.now(self.real_time)

    @property
    def is_on_its_way(self) -> bool:
        """Whether a manual clock has still to reach the time that was promised."""
        return self.clock.stands_still and self.now < self.promised_time

    def counted_as(self, failure: Count, _changes: Mapping[Count, int]) -> Count:
        """Return what a failure counts as: it is the database that knows what came before."""
        return failure


def readable(name: str) -> str:
    """Return the name of a fleet, if the database can read it.

    Raises:
        NoSuchFleet: It can't, so that there is none.
    """
    if name.isascii() and "\0" not in name:
        return name
    raise NoSuchFleet


async def load_fleet(
    database: Database, connection: Connection, name: str, device_ids: Sequence[int] = ()
) -> FleetSnapshot:
    """Read a fleet and, of these devices, those that it has.

    Raises:
        NoSuchFleet: There is none of this name.
    """
    if not device_ids:
        row = await connection.fetchrow(_FLEET, readable(name))
        if row is None:
            raise NoSuchFleet
        return _read_fleet(database, row)
    rows = await connection.fetch(_FLEET_WITH_DEVICES, readable(name), device_ids)
    if not rows:
        raise NoSuchFleet
    fleet = _read_fleet(database, rows[0][:_FLEET_COLUMNS])
    for row in rows:
        *device, steps, sticky, position = row[_FLEET_COLUMNS:]
        device_id = device[0]
        if device_id is not None:
            fleet.devices[device_id] = read_device(device)
            if steps is not None:
                fleet.scripts[device_id] = codec.read_script(steps, sticky, position)
    return fleet


async def load_pending(
    database: Database, connection: Connection, fleet_id: int, device_ids: Sequence[int]
) -> FleetSnapshot | None:
    """Read a fleet and, of these devices, those that have a pending sync; None if it has ended."""
    rows = await connection.fetch(_FLEET_WITH_PENDING, fleet_id, device_ids)
    if not rows:
        return None
    fleet = _read_fleet(database, rows[0][:_FLEET_COLUMNS])
    for row in rows:
        device = row[_FLEET_COLUMNS:]
        if device[0] is not None:
            fleet.devices[device[0]] = read_device(device)
    return fleet


async def fleets_at_work(
    database: Database, connection: Connection
) -> list[tuple[FleetSnapshot, int]]:
    """Read the fleets whose time runs towards something, and what is due first in each.

    Of one that lives, some moments may still have to be written down.
    """
    at_work = []
    for *row, is_preparing, first in await connection.fetch(_FLEETS_AT_WORK):
        fleet = _read_fleet(database, row)
        fleet.is_preparing = is_preparing
        if is_preparing or first is not None:
            at_work.append((fleet, fleet.now if is_preparing else first))
    return at_work


async def load_due(
    connection: Connection, fleet: FleetSnapshot, until: int, limit: int, *, own: bool = True
) -> list[Due]:
    """Read the first devices of a fleet that are due up to `until`; return when, in order.

    With them come, unless `own` is false, those that begin their own attempts until then.
    """
    due = []
    sql = _DUE if own else _PENDING_DUE
    if fleet.profile.traffic is None:
        sql = _DUE_IF_PENDING
    for row in await connection.fetch(sql, fleet.fleet_id, until, limit):
        device = fleet.devices[row["device_id"]] = read_device(row)
        due.append(Due(row["due_at"], device.device_id, not device.is_pending))
    return due


async def first_due(connection: Connection, fleet: FleetSnapshot) -> int | None:
    """Return the earliest fleet time at which a sync falls due."""
    sql = _FIRST_DUE_IF_PENDING if fleet.profile.traffic is None else _FIRST_DUE
    due: int | None = await connection.fetchval(sql, fleet.fleet_id)
    return due


async def dues(connection: Connection, fleet: FleetSnapshot, limit: int) -> list[Due]:
    """Read when the first pending syncs of a fleet fall due, in order."""
    return [Due(*row) for row in await connection.fetch(_DUES, fleet.fleet_id, limit)]


async def last_due(connection: Connection, fleet: FleetSnapshot) -> int | None:
    """Return the latest fleet time at which a pending sync falls due."""
    sql = _LAST_DUE if fleet.profile.traffic is None else _LAST_PENDING_DUE
    due: int | None = await connection.fetchval(sql, fleet.fleet_id)
    return due


async def due_of(connection: Connection, fleet: FleetSnapshot, device_id: int | None) -> int | None:
    """Return when a device's attempt falls due (None: the last that is pending), if it does.

    Raises:
        NoSuchDevice: The fleet has no such device.
    """
    if device_id is None:
        return await last_due(connection, fleet)
    row = await connection.fetchrow(_DEVICE_DUE, fleet.fleet_id, device_id)
    if row is None:
        raise NoSuchDevice
    return row["due_at"] if row["is_pending"] else None


def _read_fleet(database: Database, row: Iterable[Any]) -> FleetSnapshot:
    fleet_id, name, profile, *clock, version, promised, started_at, now, pending = row
    return FleetSnapshot(
        fleet_id,
        name,
        version,
        _profile(profile),
        Clock(*clock),
        started_at,
        promised,
        database.real_time(now),
        pending,
    )
