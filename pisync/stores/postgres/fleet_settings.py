"""What a fleet's attempts come to: its profile, and the scripts of its devices."""

from collections.abc import Callable
from functools import partial

from pisync.model.profile import Profile
from pisync.model.script import Script
from pisync.stores.base import NoSuchDevice
from pisync.stores.changes import FleetChanges
from pisync.stores.postgres.commit import apply
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database, Turns
from pisync.stores.postgres.snapshot import load_fleet
from pisync.stores.schema import codec

# Both raise the version: what was planned without the script must be planned anew.
_TURN = """
    WITH turn AS (
        UPDATE turns SET version = version + 1 WHERE fleet_id = $1 RETURNING fleet_id
    )"""
_SET_SCRIPT = f"""{_TURN}
    INSERT INTO scripts SELECT fleet_id, $2::bigint, $3::text, $4::boolean, $5::integer FROM turn
    ON CONFLICT (fleet_id, device_id) DO UPDATE
        SET steps = excluded.steps, sticky = excluded.sticky, position = excluded.position
    RETURNING true"""  # noqa: S608 - text of ours
_END_SCRIPT = f"""{_TURN}, ended AS (
        DELETE FROM scripts USING turn
        WHERE scripts.fleet_id = turn.fleet_id AND device_id = $2
    )
    SELECT true FROM turn"""  # noqa: S608 - text of ours


class FleetSettings:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(self, database: Database, max_error_logs: int) -> None:
        self._database = database
        self._most_error_logs = max_error_logs
        self._changing = Turns(database)

    async def change_profile(self, name: str, change: Callable[[Profile], Profile]) -> Profile:
        """Apply a change to a fleet's profile; return the new one."""
        async with self._changing.turn(name):
            return await self._database.persist(partial(self._change_profile, name, change))

    async def _change_profile(
        self, name: str, change: Callable[[Profile], Profile], connection: Connection
    ) -> Profile | None:
        work = FleetChanges(await load_fleet(self._database, connection, name))
        work.profile = change(work.profile)
        is_changed = await apply(connection, work, self._most_error_logs) is not None
        return work.profile if is_changed else None

    async def set_script(self, name: str, device_id: int, script: Script | None) -> None:
        """Give a device a script for its next attempts, or (None) take it away."""
        await self._database.persist(partial(self._set_script, name, device_id, script))

    async def _set_script(
        self, name: str, device_id: int, script: Script | None, connection: Connection
    ) -> bool | None:
        fleet = await load_fleet(self._database, connection, name, [device_id])
        if device_id not in fleet.devices:
            raise NoSuchDevice
        key = fleet.fleet_id, device_id
        is_set: bool | None
        if script is None:
            is_set = await connection.fetchval(_END_SCRIPT, *key)
        else:
            steps = codec.write_steps(script.steps)
            is_set = await connection.fetchval(
                _SET_SCRIPT, *key, steps, script.sticky, script.position
            )
        return is_set
