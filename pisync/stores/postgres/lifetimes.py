"""Fleets that have a ttl are deleted when nobody uses them any more."""

from collections.abc import Awaitable, Callable, Sequence

from pisync.model.timestamp import from_seconds
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database

# In the order in which `forget_fleets` goes: nobody waits in a circle.
_EXTEND = """
    WITH used AS (
        SELECT fleet_id FROM lifetimes JOIN fleets USING (fleet_id) WHERE name = ANY($1)
        ORDER BY fleet_id FOR UPDATE OF lifetimes
    )
    UPDATE lifetimes SET used_at = steady_now() FROM used
    WHERE lifetimes.fleet_id = used.fleet_id"""
_SET = """
    INSERT INTO lifetimes VALUES ($1, $2, steady_now())
    ON CONFLICT (fleet_id) DO UPDATE SET ttl = excluded.ttl, used_at = excluded.used_at"""


async def set_ttl(connection: Connection, fleet_id: int, ttl: int | None) -> None:
    """Give a fleet a ttl that counts from now, or (None) none; in the caller's transaction."""
    if ttl is None:
        await connection.execute("DELETE FROM lifetimes WHERE fleet_id = $1", fleet_id)
    else:
        await connection.execute(_SET, fleet_id, ttl)


class PostgresLifetimes:
    """What the methods promise is written in pisync.stores.base."""

    def __init__(
        self,
        database: Database,
        sweep_soon: Callable[[], None],
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """Take what has the rows of deleted fleets swept away, and what `FleetWriter` takes."""
        self._database = database
        self._sweep_soon = sweep_soon
        self._catch_up = catch_up

    async def extend(self, names: Sequence[str]) -> None:
        # What is no name of a fleet is perhaps no text that the database can read.
        readable = [name for name in names if name.isascii() and "\0" not in name]
        await self._database.call(lambda connection: connection.execute(_EXTEND, readable))

    async def forget(self, limit: int, lead: float) -> Sequence[str]:
        rows = await self._database.fetch("SELECT forget_fleets($1, $2)", limit, from_seconds(lead))
        if rows:
            self._sweep_soon()
            await self._catch_up()
        return [name for (name,) in rows]
