"""What this process knows of what each fleet's requests meet and do, so that most ask nobody."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from pisync.model.parsing.faults import read_rules
from pisync.model.requests.fault import FaultRule
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.database import Database

LOCK_NAME = "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))"
"""Waits until nobody makes, replaces or deletes the fleet of a name, and keeps others from it."""
NOTIFY = "SELECT tell_replicas(json_build_array(0, 'requests', $1::text)::text)"

_MAX_CHANGES = 10_000
"""Fleets that are remembered to have changed; beyond that, all are read again."""
_SETTINGS = """
    SELECT
        name, fleet_id, coalesce(settings.version, 0), coalesce(journal, 0), coalesce(rules, '[]'),
        polled.fleet_id IS NOT NULL AS is_polled,
        coalesce(auto_clock AND speed = 0, false) AS is_auto
    FROM fleets
    LEFT JOIN request_settings AS settings USING (fleet_id)
    LEFT JOIN polled_fleets AS polled USING (fleet_id)
    WHERE (settings.fleet_id IS NOT NULL OR polled.fleet_id IS NOT NULL OR auto_clock)"""
_SET_JOURNAL = """
    INSERT INTO request_settings VALUES ($1, $2, '[]', 1, 0, 0)
    ON CONFLICT (fleet_id) DO UPDATE SET journal = excluded.journal"""
_TRIM = """
    DELETE FROM requests USING request_settings
    WHERE requests.fleet_id = $1 AND request_settings.fleet_id = $1
        AND number <= newest_request - journal"""


class RequestSettings(NamedTuple):
    """A fleet's settings: what its requests meet, whether they are kept, and whether reads act."""

    fleet_id: int
    version: int
    journal: int
    rules: tuple[FaultRule, ...]
    is_polled: bool
    """Whether attempts may have polls, so that reads are to be counted."""
    is_auto: bool
    """Whether reads move the clock."""

    @property
    def acts(self) -> bool:
        """Whether reads may do something; see `ActingReads`."""
        return self.is_polled or self.is_auto


class KnownSettings:
    """Settings by the name of the fleet: of those that have any.

    Replicas tell each other which have changed; those are read again when a request needs them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, RequestSettings] = {}
        self._changes: dict[str, object] = {}
        """By fleet, the last change that was heard of, until the settings are read again."""
        self._gap: object | None = object()
        """The last time that changes may have been missed, until all are read again."""
        self._is_heard = True
        """Whether other replicas can be heard."""

    def may_have(self, fleet: str) -> bool:
        """Return whether a fleet may have settings."""
        return self._gap is not None or fleet in self._known or fleet in self._changes

    def may_act(self, fleet: str) -> bool:
        """Return whether reads of a fleet may do something."""
        if self._gap is not None or fleet in self._changes:
            return True
        known = self._known.get(fleet)
        return known is not None and known.acts

    async def of(self, fleet: str) -> RequestSettings | None:
        """Return a fleet's settings, or None if it has none.

        Raises:
            StoreUnavailable: The database can't be reached.
        """
        if self._gap is not None:
            await self.load()
        if fleet in self._changes:
            await self._load(fleet)
        return self._known.get(fleet)

    async def load(self) -> None:
        """Read all settings.

        Raises:
            StoreUnavailable: The database can't be reached.
        """
        gap = self._gap
        self._known = dict(map(_read, await self._database.fetch(_SETTINGS)))
        if self._is_heard and self._gap is gap:
            self._gap = None

    async def _load(self, fleet: str) -> None:
        change = self._changes[fleet]
        row = await self._database.fetchrow(f"{_SETTINGS} AND name = $1", fleet)
        if row is None:
            self._known.pop(fleet, None)
        else:
            self._known.update([_read(row)])
        # What changes meanwhile is read again.
        if self._changes.get(fleet) is change:
            del self._changes[fleet]

    def changed(self, fleet: str) -> None:
        """Take note that a fleet's settings, or the fleet, are no longer the same."""
        self._changes[fleet] = object()
        if len(self._changes) > _MAX_CHANGES:
            self._changes.clear()
            self._gap = object()

    def lost(self) -> None:
        """Take note that other replicas can't be heard: each request has to ask."""
        self._is_heard = False
        self._gap = object()

    def missed(self) -> None:
        """Take note that they are heard again, and that changes may have been missed."""
        self._is_heard = True
        self._gap = object()


def _read(row: Iterable[Any]) -> tuple[str, RequestSettings]:
    name, fleet_id, version, journal, rules, is_polled, is_auto = row
    settings = RequestSettings(
        fleet_id, version, journal, read_rules(rules), is_polled=is_polled, is_auto=is_auto
    )
    return name, settings


async def keep_settings(
    connection: Connection, fleet_id: int, journal: int, rules: str = "[]"
) -> None:
    """Give a new fleet its settings, if they are more than each fleet begins with."""
    if journal or rules != "[]":
        await connection.execute(
            "INSERT INTO request_settings VALUES ($1, $2, $3, 1, 0, 0)", fleet_id, journal, rules
        )


async def set_journal(connection: Connection, name: str, fleet_id: int, size: int) -> None:
    """Let a fleet's journal keep `size` requests; all replicas hear of it."""
    await connection.execute(_SET_JOURNAL, fleet_id, size)
    await connection.execute(_TRIM, fleet_id)
    await connection.execute(NOTIFY, name)
