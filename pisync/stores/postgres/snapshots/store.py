"""Snapshots of the fleets that replicas share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import NamedTuple

from pisync.model.device import ErrorLog
from pisync.model.fleet import DEFAULT_FLEET, LOGGED, FleetView, Listed
from pisync.model.outcome import STATUS_CODES
from pisync.model.parsing.faults import write_rules
from pisync.model.plans.polls import Polls
from pisync.model.requests.fault import MAX_RULES
from pisync.model.snapshot import DeviceScript, RequestCount, Snapshot, SnapshotHead
from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres import notifications
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs
from pisync.stores.postgres.fleet_writer import PostgresFleetWriter
from pisync.stores.postgres.lifetimes import set_ttl
from pisync.stores.postgres.outbox.hearing import all_have_heard
from pisync.stores.postgres.queries import PostgresQueries
from pisync.stores.postgres.reading.polls import has_polls, mark_polled
from pisync.stores.postgres.snapshots.hidden_fleet import HiddenFleet
from pisync.stores.postgres.snapshots.reading import SnapshotQueries
from pisync.stores.postgres.traffic.moments import start_living
from pisync.stores.schema import codec
from pisync.stores.schema.rows import polls_row

_REPLACE = "SELECT * FROM replace_fleet($1, NULL, $2, $3, $4, $5, $6, $7, $8)"
_GO_ON = """
    UPDATE fleets SET fleet_time = $2, wall_time = steady_now(), speed = $3, started_at = $4,
        auto_clock = $5
    WHERE fleet_id = $1"""
_SETTINGS = "INSERT INTO request_settings VALUES ($1, $2, $3, 1, $4, 0)"


class PostgresSnapshots:
    """What the methods promise is written in pisync.stores.fleet_snapshots."""

    def __init__(
        self,
        database: Database,
        fleets: PostgresFleetWriter,
        queries: PostgresQueries,
        catch_up: Callable[[], Awaitable[None]],
        own: OwnSyncs,
        max_error_logs: int,
    ) -> None:
        """Take who deletes what is left over, and what `PostgresFleetWriter` takes."""
        self._own = own
        self._database = database
        self._fleets = fleets
        self._fleet_queries = queries
        self._catch_up = catch_up
        self._max_error_logs = max_error_logs
        self._queries = SnapshotQueries(database)

    def take(self, fleet: str) -> AbstractAsyncContextManager[Snapshot]:
        return self._queries.take(fleet)

    async def restore(self, name: str, snapshot: Snapshot) -> tuple[FleetView, bool]:
        head = snapshot.head
        hidden = await HiddenFleet.announce(self._database, head)
        try:
            placing = await self._fill(name, hidden, snapshot)
            # Else they were nobody's, and left alone for a while after they are due.
            self._own.add(hidden.fleet_id, hidden.dues)
            is_new = await self._database.call(placing.put_in_place)
        except BaseException:
            with suppress(StoreUnavailable):
                await hidden.abandon()
            raise
        finally:
            self._fleets.sweep_soon()
        await self._catch_up()
        if head.faults or head.journal or head.clock.is_auto or placing.may_act:
            await all_have_heard(self._database)
        return await self._fleet_queries.fleet(name), is_new

    async def _fill(self, name: str, hidden: HiddenFleet, snapshot: Snapshot) -> "_Placing":
        head = snapshot.head
        first_logs = head.first.error_logs if isinstance(head.first, Listed) else ()
        newest = len(first_logs) + head.counts.get(LOGGED, 0)
        scripts: list[DeviceScript] = []
        polls: dict[int, Polls] = {}
        counts: list[RequestCount] = []

        async def write_logs(logs: Sequence[ErrorLog]) -> None:
            oldest = newest - self._max_error_logs
            await hidden.write_logs([log for log in logs if log.error_id > oldest])

        if newest - len(first_logs) == head.error_logs:
            # None in between has gone.
            await write_logs(first_logs)
        async for part in snapshot.parts:
            await hidden.write_devices(part.devices, part.moments)
            await write_logs(part.error_logs)
            scripts += part.scripts
            polls.update(part.polls)
            counts += part.request_counts
        await hidden.finish_devices()
        first_data = await asyncio.to_thread(codec.write_first, head.first)
        return _Placing(name, hidden, head, first_data, newest, scripts, polls, counts)


class _Placing(NamedTuple):
    """All that has to become true at once for a fleet to have a place."""

    name: str
    hidden: HiddenFleet
    head: SnapshotHead
    first_data: str
    newest_error: int
    scripts: Sequence[DeviceScript]
    polls: Mapping[int, Polls]
    request_counts: Sequence[RequestCount]

    @property
    def may_act(self) -> bool:
        """Whether reads of the fleet may do something."""
        return bool(self.polls) or any(has_polls(script) for _, script in self.scripts)

    async def put_in_place(self, connection: Connection) -> bool:
        """Give the fleet its place; return whether that was nobody's.

        Raises:
            StoreUnavailable: What was written of it has been swept away.
        """
        head, fleet_id, statuses = self.head, self.hidden.fleet_id, self.hidden.statuses
        async with connection.transaction():
            row = await connection.fetchrow(
                _REPLACE,
                self.name,
                fleet_id,
                self.first_data,
                head.made_at,
                codec.write_profile(head.profile),
                self.newest_error,
                STATUS_CODES,
                [statuses[code] for code in STATUS_CODES],
            )
            if row is None or row["is_new"] is None:
                raise StoreUnavailable
            clock = head.clock
            await connection.execute(
                _GO_ON, fleet_id, clock.now, clock.speed, head.started_at, clock.is_auto
            )
            if head.ttl is not None and self.name != DEFAULT_FLEET:
                await set_ttl(connection, fleet_id, head.ttl)
            await self._copy_rest(connection)
            if head.live_since is not None:
                await start_living(connection, fleet_id, head.live_since)
            # Every replica looks for what is due next.
            await connection.execute(notifications.TELL, f"[0,{notifications.due(0)}")
            is_new: bool = row["is_new"]
            return is_new

    async def _copy_rest(self, connection: Connection) -> None:
        head, fleet_id = self.head, self.hidden.fleet_id
        counters = sum(not 0 <= each.counter < MAX_RULES for each in self.request_counts)
        if head.faults or head.journal:
            await connection.execute(
                _SETTINGS, fleet_id, head.journal, write_rules(head.faults), counters
            )
            await connection.copy_records_to_table(
                "request_counts", records=[(fleet_id, *count) for count in self.request_counts]
            )
        await connection.copy_records_to_table(
            "tallies", records=[(fleet_id, *count, n) for count, n in head.counts.items()]
        )
        await connection.copy_records_to_table(
            "scripts",
            records=[
                (fleet_id, each, codec.write_steps(script.steps), script.sticky, script.position)
                for each, script in self.scripts
            ],
        )
        await connection.copy_records_to_table(
            "polls",
            records=[
                (fleet_id, each, *polls_row(of_device)) for each, of_device in self.polls.items()
            ],
        )
        if self.may_act:
            await mark_polled(connection, fleet_id)
