"""Statements that SQLAlchemy compiles once, and the rows that they are run with."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite

from pisync.stores.changes import FleetChanges
from pisync.stores.embedded.fleet_state import FleetState
from pisync.stores.schema import tables
from pisync.stores.schema.rows import polls_row

Statement = tuple[str, list[tuple[Any, ...]]]
"""SQL, and the rows of parameters to run it with."""


def _upsert(table: Table, *, adding: str | None = None) -> str:
    """Return the statement that writes whole rows, but adds to the column `adding`."""
    insert = sqlite.insert(table)
    values = {
        column.name: (
            table.c[column.name] + insert.excluded[column.name]
            if column.name == adding
            else insert.excluded[column.name]
        )
        for column in table.columns
        if not column.primary_key
    }
    keys = [column.name for column in table.primary_key]
    statement = insert.on_conflict_do_update(index_elements=keys, set_=values)
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


UPSERT = {
    table.name: _upsert(table, adding="n" if table is tables.ledger_counts else None)
    for table in tables.metadata.sorted_tables
}
"""The statements that write whole rows, by table."""


def statements_of_polls(changes: FleetChanges[FleetState]) -> Iterator[Statement]:
    """Yield what writes the polls that change."""
    if not changes.polls:
        return
    fleet_id, polls = changes.fleet.generation, changes.polls.items()
    yield (
        "DELETE FROM polls WHERE fleet_id = ? AND device_id = ?",
        [(fleet_id, device_id) for device_id, of_device in polls if of_device is None],
    )
    yield (
        UPSERT["polls"],
        [
            (fleet_id, device_id, *polls_row(of_device))
            for device_id, of_device in polls
            if of_device is not None
        ],
    )
