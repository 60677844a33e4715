"""The schema's history: Alembic's migrations, and how they are run."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

NEWEST = "0002"
"""The newest revision."""


def upgrade(connection: Connection, revision: str = NEWEST) -> None:
    """Bring the database's schema up to a revision, by default the newest."""
    if _revision(connection) != revision:
        # Alembic takes a second to import: only a start that needs it should wait for it.
        from alembic import command  # noqa: PLC0415

        command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Take the database's schema back to a revision; `base` is before the first."""
    from alembic import command  # noqa: PLC0415 - as above

    command.downgrade(_config(connection), revision)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _config(connection: Connection) -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
