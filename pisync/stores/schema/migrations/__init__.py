"""The schema's history: Alembic's migrations, and how they are run.

A migration that has been released is never edited: databases that have it would stay as they are.
It only adds to what is there, since replicas of the version before use the schema, too, while an
upgrade is under way.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

NEWEST = "0015"
"""The newest revision."""


_VERSIONS = "alembic_version"
_ALWAYS = {"fleets", "devices", "accounts"}
"""Tables that every revision has."""
_OF_EXTENSIONS = """
    SELECT relname FROM pg_class JOIN pg_depend ON objid = pg_class.oid
    WHERE classid = 'pg_class'::regclass AND deptype = 'e'"""


class SchemaRefused(Exception):
    """What is in the database is not for this version of PiSync; the text says what to do."""


def upgrade(connection: Connection, revision: str = NEWEST) -> None:
    """Bring the database's schema up to a revision, by default the newest.

    Raises:
        SchemaRefused: The schema is another program's, or a newer PiSync's. Nothing was changed.
    """
    present = _revision(connection)
    _refuse_others(connection, present)
    if present != revision:
        # Alembic takes a second to import: only a start that needs it should wait for it.
        from alembic import command  # noqa: PLC0415

        command.upgrade(_config(connection), revision)


def check(connection: Connection) -> None:
    """Return if the schema is PiSync's, and not too new; or if there is none yet.

    Raises:
        SchemaRefused: It is another program's, or a newer PiSync's.
    """
    _refuse_others(connection, _revision(connection))


def downgrade(connection: Connection, revision: str) -> None:
    """Take the database's schema back to a revision; `base` is before the first."""
    from alembic import command  # noqa: PLC0415 - as above

    command.downgrade(_config(connection), revision)


def schema_of(connection: Connection) -> str | None:
    """Return the schema that tables are made in, of several that may be searched for them."""
    return inspect(connection).default_schema_name


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSIONS, schema_of(connection)):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {_VERSIONS}"))  # noqa: S608 - ours
    return revision


def _refuse_others(connection: Connection, revision: str | None) -> None:
    inspector, schema = inspect(connection), schema_of(connection)
    tables = set(inspector.get_table_names(schema)) - {_VERSIONS}
    if connection.dialect.name == "postgresql":
        tables.difference_update(connection.scalars(text(_OF_EXTENSIONS)))
    if revision is None:
        is_ours = not tables
    else:
        is_ours = tables >= _ALWAYS and any(
            column["name"] == "first_data" for column in inspector.get_columns("fleets", schema)
        )
    if not is_ours:
        names = ", ".join(sorted(tables)[:3]) + (", …" if len(tables) > 3 else "")
        raise SchemaRefused(
            f"this database belongs to another program (its tables: {names or 'none'}). Give PiSync"
            " one of its own."
        )
    if revision is not None and revision > NEWEST:
        raise SchemaRefused(
            f"this database belongs to a newer PiSync: its schema is at {revision}, and this"
            f" version knows none after {NEWEST}. Use the newer version, or restore a backup from"
            " before it."
        )


def _config(connection: Connection) -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
