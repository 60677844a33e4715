"""An SQLite file that a transaction is written to before it is true.

It is written with the driver's own `executemany`, and statements that SQLAlchemy compiled once: at
thousands of rows a second, what an abstraction costs for each would be felt.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pisync.clocks import MachineClocks
from pisync.model.account import (
    Account,
    TokenRevocation,
)
from pisync.model.clock import Clock
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import Count, FleetTimes, Lifetime
from pisync.model.parsing.faults import read_rules, write_rules
from pisync.model.timestamp import SECOND, from_seconds
from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.bounds.budgets import FleetBudgets
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.embedded.requests.answers import AnswerRow
from pisync.stores.embedded.sqlite.opening import OpenFile
from pisync.stores.embedded.sqlite.statements import UPSERT, Statement, statements_of_polls
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.embedded.writers import Contents
from pisync.stores.errors import StoreUnavailable
from pisync.stores.schema import (
    codec,
    tables,
)
from pisync.stores.schema.rows import (
    account_row,
    device_row,
    read_device,
    read_moment,
    read_polls,
    read_scopes,
)

_ROWS_OF_A_FLEET = [
    table.name
    for table in tables.metadata.sorted_tables
    if "fleet_id" in table.columns and table is not tables.fleets
]
_DELETED_AT_ONCE = 5_000
_DELETE_SOME = """
    DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE fleet_id = ? LIMIT ?)"""

_NO_MOMENTS = "UPDATE devices SET due_at = NULL WHERE fleet_id = ? AND sync_status_code <> 202"


class SqliteFile:
    """An SQLite file, open in this process alone. Not to be used by two threads at a time."""

    def __init__(
        self,
        path: Path,
        clocks: MachineClocks,
        budgets: FleetBudgets,
    ) -> None:
        """Open the file, make it if there is none, and bring its schema up to date.

        What is kept counts in `budgets`, once its fleets have entered them.

        Raises:
            CannotOpen: It can't be used.
        """
        self._clocks = clocks
        self._max_error_logs = budgets.max_error_logs
        self._budgets = budgets
        self._open = OpenFile(path)
        self._file = self._open.connection
        self._ended = self._ended_generations()

    def close(self) -> None:
        """Close the file; another process may open it then."""
        self._open.close()

    # Writing

    def write(self, transaction: Transaction) -> None:
        """Write a transaction.

        Raises:
            StoreUnavailable: It could not be written; the file is as it was.
        """
        self._write(self._statements(transaction))
        self._ended.update(fleet.generation for fleet in transaction.ended())

    def write_ahead(self, changes: FleetChanges[FleetState]) -> None:
        """Write changes to a fleet that has no row yet, so that nobody sees them.

        Raises:
            StoreUnavailable: They could not be written; the file is as it was.
        """
        # The disk is waited for when the fleet gets its row: that is in the same log, behind these.
        self._file.execute("PRAGMA synchronous=NORMAL")
        try:
            self._write(self._statements_of(changes))
        finally:
            self._file.execute("PRAGMA synchronous=FULL")

    def end(self, generation: int) -> None:
        """Have the rows of a fleet that got no row itself deleted."""
        self._ended.add(generation)

    @property
    def has_ended_fleets(self) -> bool:
        """Whether there are rows of fleets that were replaced or deleted."""
        return bool(self._ended)

    def delete_some(self) -> None:
        """Delete some rows of fleets that were replaced or deleted: all at once take too long.

        Raises:
            StoreUnavailable: It could not be written; the file is as it was.
        """
        generation = min(self._ended)
        before = self._file.total_changes
        self._write(
            (_DELETE_SOME.format(table=table), [(generation, _DELETED_AT_ONCE)])
            for table in _ROWS_OF_A_FLEET
        )
        if self._file.total_changes == before:
            self._ended.discard(generation)

    def _write(self, statements: Iterable[Statement]) -> None:
        try:
            self._file.execute("BEGIN IMMEDIATE")
            for sql, rows in statements:
                self._file.executemany(sql, rows)
            self._open.check()
            self._file.execute("COMMIT")
        except BaseException as exc:
            # If even that fails, the next transaction can't begin, and tries it again.
            with suppress(sqlite3.Error):
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
            if isinstance(exc, (sqlite3.Error, OSError)):
                raise StoreUnavailable from exc
            raise

    def _statements(self, transaction: Transaction) -> Iterator[Statement]:
        gone = [(old.generation,) for old in transaction.ended()]
        # Without this row nobody sees the others, which are deleted later.
        yield "DELETE FROM fleets WHERE fleet_id = ?", gone
        for made in transaction.replaced.values():
            if made is not None:
                yield UPSERT["fleets"], [self._fleet_row(made, made.clock, made)]
                yield UPSERT["traffic"], _traffic_rows(made, made.live_since)
                if made.requests.has_settings:
                    yield UPSERT["request_settings"], [_settings_row(made)]
        for changes in transaction.changes.values():
            if not transaction.has_ended(changes.fleet):
                yield from self._statements_of(changes)
        if transaction.lifetimes:
            yield from self._lifetimes_of(transaction)
        accounts = transaction.accounts.items()
        yield (
            "DELETE FROM accounts WHERE key = ?",
            [(key,) for key, account in accounts if account is None],
        )
        yield (
            UPSERT["accounts"],
            [account_row(account) for _, account in accounts if account is not None],
        )
        now = self._clocks.wall()
        yield UPSERT["restrictions"], [(*each, now) for each in transaction.revocations.values()]
        if transaction.login_failures:
            yield "DELETE FROM guesses WHERE window_ends <= ?", [(now,)]
            yield (
                UPSERT["guesses"],
                [
                    (key, failures, now + from_seconds(left))
                    for key, (failures, left) in transaction.login_failures.items()
                ],
            )

    def _statements_of(self, changes: FleetChanges[FleetState]) -> Iterator[Statement]:
        fleet, fleet_id = changes.fleet, changes.fleet.generation
        if changes.profile is not fleet.profile or changes.clock is not fleet.clock:
            yield UPSERT["fleets"], [self._fleet_row(fleet, changes.clock, changes)]
        if changes.traffic_since is not None:
            # Moments from before are no more; those of now follow from when it began.
            yield _NO_MOMENTS, [(fleet_id,)]
            yield "DELETE FROM traffic WHERE fleet_id = ?", [(fleet_id,)]
            if changes.profile.traffic is not None:
                yield UPSERT["traffic"], _traffic_rows(fleet, changes.traffic_since)
        yield (
            UPSERT["devices"],
            [
                (fleet_id, *device_row(device, changes.moments.get(position)))
                for position, device in changes.devices.items()
            ],
        )
        scripts = changes.scripts.items()
        yield (
            "DELETE FROM scripts WHERE fleet_id = ? AND device_id = ?",
            [(fleet_id, device_id) for device_id, script in scripts if script is None],
        )
        yield (
            UPSERT["scripts"],
            [
                (fleet_id, each, codec.write_steps(script.steps), script.sticky, script.position)
                for each, script in scripts
                if script is not None
            ],
        )
        yield from statements_of_polls(changes)
        yield from _statements_of_requests(changes)
        if changes.error_logs:
            yield UPSERT["error_logs"], [(fleet_id, *log) for log in changes.error_logs]
            oldest = changes.error_logs[-1].error_id - self._max_error_logs
            yield (
                "DELETE FROM error_logs WHERE fleet_id = ? AND error_id <= ?",
                [(fleet_id, oldest)],
            )
        yield (
            UPSERT["tallies"],
            [(fleet_id, *count, added) for count, added in changes.counts.items()],
        )

    def _lifetimes_of(self, transaction: Transaction) -> Iterator[Statement]:
        passed = self._clocks.wall() - self._clocks.monotonic()
        lifetimes = [
            (fleet.generation, lifetime)
            for fleet, lifetime in transaction.lifetimes.items()
            if not transaction.has_ended(fleet)
        ]
        yield (
            "DELETE FROM lifetimes WHERE fleet_id = ?",
            [(fleet_id,) for fleet_id, lifetime in lifetimes if lifetime is None],
        )
        yield (
            UPSERT["lifetimes"],
            [
                (fleet_id, lifetime.ttl, lifetime.used_at + passed)
                for fleet_id, lifetime in lifetimes
                if lifetime is not None
            ],
        )

    def _fleet_row(
        self, fleet: FleetState, clock: Clock, settings: FleetState | FleetChanges[FleetState]
    ) -> tuple[Any, ...]:
        return (
            fleet.generation,
            fleet.name,
            codec.write_first(fleet.first),
            fleet.made_at,
            codec.write_profile(settings.profile),
            clock.now(self._clocks.monotonic()),
            self._clocks.wall(),
            clock.speed,
            fleet.started_at,
            clock.is_auto,
        )

    # Reading

    def contents(self) -> Contents:
        """Return everything as the last transaction left it; the fleets' time has gone on."""
        fleets = self._fleets()
        return Contents(
            fleets,
            max((*self._ended, *(fleet.generation for fleet in fleets)), default=0),
            self._accounts(),
            self._revocations(),
            self._login_failures(),
        )

    def _ended_generations(self) -> set[int]:
        """Return the generations that have rows, but no fleet: a process ended before it was done.

        Found by leaps over the primary keys, not by a walk over all devices.
        """
        found: set[int] = set()
        for table in _ROWS_OF_A_FLEET:
            generation = -1
            while generation is not None:
                (generation,) = self._file.execute(
                    f"SELECT min(fleet_id) FROM {table} WHERE fleet_id > ?",  # noqa: S608 - ours
                    (generation,),
                ).fetchone()
                found.add(generation)
        found.discard(None)  # where each walk ends
        return found - {row[0] for row in self._rows("fleets")}

    def _fleets(self) -> list[FleetState]:
        return [self._fleet(row) for row in self._rows("fleets")]

    def _accounts(self) -> list[Account]:
        return [
            Account(name, password_hash, read_scopes(scopes))
            for _, name, password_hash, scopes in self._rows("accounts")
        ]

    def _revocations(self) -> list[TokenRevocation]:
        return [
            TokenRevocation(key, bool(disabled), tokens_since)
            for key, disabled, tokens_since, _ in self._rows("restrictions")
        ]

    def _login_failures(self) -> dict[bytes, tuple[int, float]]:
        """Return the failures under each key, and the seconds that are left of their window."""
        now = self._clocks.wall()
        return {
            key: (failures, (window_ends - now) / SECOND)
            for key, failures, window_ends in self._rows("guesses")
            if window_ends > now
        }

    def _fleet(self, row: tuple[Any, ...]) -> FleetState:
        fleet_id, name, first_data, made_at, profile, *clock, started_at, is_auto = row
        fleet_time, wall_time, speed = clock
        rows = self._rows("devices", fleet_id)
        devices = [read_device(row) for row in rows]
        monotonic = self._clocks.monotonic()
        slept = max(self._clocks.wall() - wall_time, 0)
        fleet = FleetState(
            name,
            fleet_id,
            codec.read_first(first_data),
            # Of a fleet that 0.1.0 has made, nobody has written down when it was reset.
            FleetTimes(made_at, made_at if started_at is None else started_at),
            codec.read_profile(profile),
            Clock(fleet_time, monotonic - slept, speed, bool(is_auto)),
            self._budgets,
        )
        # The wall clock may have stepped back while nobody looked; fleet time never does.
        fleet.clock = fleet.clock.moved_to(_latest_attempt(fleet, devices), monotonic)
        for ttl, used_at in self._rows("lifetimes", fleet_id):
            unused = max(self._clocks.wall() - used_at, 0)
            fleet.lifetime = Lifetime(ttl, monotonic - unused)
        for since, _ in self._rows("traffic", fleet_id):
            fleet.start_living(since)
        moments = ((row[0], read_moment(row)) for row in rows)
        fleet.restore(
            devices,
            {device_id: moment for device_id, moment in moments if moment is not None},
            {row[0]: codec.read_script(*row[1:]) for row in self._rows("scripts", fleet_id)},
            {row[0]: read_polls(row[1:]) for row in self._rows("polls", fleet_id)},
            [ErrorLog(*row) for row in self._rows("error_logs", fleet_id)],
            {Count(what, text): n for what, text, n in self._rows("tallies", fleet_id)},
        )
        for journal, rules, *_ in self._rows("request_settings", fleet_id):
            counts = dict(self._rows("request_counts", fleet_id))
            fleet.requests.restore(read_rules(rules), journal, counts)
        answers = self._rows("remembered_answers", fleet_id)
        fleet.requests.answers.add(map(AnswerRow.read, answers), 0)
        return fleet

    def _rows(self, table: str, fleet_id: int | None = None) -> list[Any]:
        """Return a table's rows in order; those of one fleet come without `fleet_id`."""
        if fleet_id is None:
            return self._file.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()  # noqa: S608
        rows = self._file.execute(
            f"SELECT * FROM {table} WHERE fleet_id = ? ORDER BY 2",  # noqa: S608 - names of ours
            (fleet_id,),
        )
        return [row[1:] for row in rows]


def _traffic_rows(fleet: FleetState, since: int | None) -> list[tuple[Any, ...]]:
    """Return the row of a fleet that lives, if it does."""
    return [] if since is None else [(fleet.generation, since, None)]


def _settings_row(
    fleet: FleetState, changes: FleetChanges[FleetState] | None = None
) -> tuple[Any, ...]:
    """Return the row of a fleet's settings for requests, as changes leave them."""
    rules, journal = fleet.requests.settings_after(changes or FleetChanges(fleet))
    return fleet.generation, journal, write_rules(rules), 0, 0, 0


def _statements_of_requests(changes: FleetChanges[FleetState]) -> Iterator[Statement]:
    fleet_id = changes.fleet.generation
    if changes.fault_rules is not None:
        yield "DELETE FROM request_counts WHERE fleet_id = ?", [(fleet_id,)]
    if changes.fault_rules is not None or changes.journal_size is not None:
        yield UPSERT["request_settings"], [_settings_row(changes.fleet, changes)]
    yield (
        UPSERT["request_counts"],
        [(fleet_id, counter, n) for counter, n in changes.request_counts.items()],
    )
    if changes.remembered is not None:
        answers, now = changes.fleet.requests.answers, changes.remembered_at
        rows = answers.rows(changes.remembered, now)
        yield UPSERT["remembered_answers"], [(fleet_id, *row.columns) for row in rows]
        yield (
            "DELETE FROM remembered_answers WHERE fleet_id = ? AND number <= ?",
            [(fleet_id, answers.gone_after(rows, now))],
        )


def _latest_attempt(fleet: FleetState, devices: Iterable[Device]) -> int:
    """Return the latest fleet time at which an attempt began, as far as `devices` tell.

    Where the first data's attempt is in the future, the ones after it take its time.
    """
    return max(
        (
            each.last_attempt_at
            for each in devices
            if each.last_attempt_at
            > fleet.devices.load(fleet.position(each.device_id)).last_attempt_at
        ),
        default=fleet.clock.fleet_time,
    )
