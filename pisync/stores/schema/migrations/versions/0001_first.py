"""The first schema."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


_FUNCTIONS = (
    "apply_work",
    "end_fleet",
    "replace_fleet",
    "delete_fleet",
    "sweep",
    "ask_to_guess",
    "end_guess",
)
"""Those that are written in files of their own."""

# Microseconds since 1970, by the database's clock.
_WALL_NOW = """
CREATE FUNCTION wall_now() RETURNS bigint LANGUAGE sql
RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
"""
# The same, but it never steps back.
_STEADY_NOW = """
CREATE FUNCTION steady_now() RETURNS bigint LANGUAGE sql
RETURN (SELECT greatest(wall_now() + shift, latest) FROM steady_time)
"""
# Goes on from the latest time that anyone has seen, if the database's clock has stepped back.
_KEEP_TIME = """
CREATE FUNCTION keep_time(seen bigint) RETURNS bigint LANGUAGE sql AS $$
    UPDATE steady_time SET
        shift = shift + greatest(greatest(latest, seen) - (wall_now() + shift), 0),
        latest = greatest(latest, seen, wall_now() + shift)
    RETURNING latest
$$
"""


def _key(name: str, kind: sa.types.TypeEngine[int] | None = None) -> sa.Column[int]:
    return sa.Column(name, kind or sa.BigInteger(), nullable=False, autoincrement=False)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "fleets",
        _key("fleet_id"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("first_data", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("fleet_time", sa.BigInteger(), nullable=False),
        sa.Column("wall_time", sa.BigInteger(), nullable=False),
        sa.Column("speed", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", name="pk_fleets"),
        sa.UniqueConstraint("name", name="uq_fleets_name"),
    )
    op.create_table(
        "devices",
        _key("fleet_id"),
        _key("device_id"),
        sa.Column("last_sync_at", sa.BigInteger()),
        sa.Column("sync_status_code", sa.SmallInteger(), nullable=False),
        sa.Column("error_message", sa.Text()),
        sa.Column("last_attempt_at", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("planned_status_code", sa.SmallInteger()),
        sa.Column("planned_error_message", sa.Text()),
        sa.PrimaryKeyConstraint("fleet_id", "device_id", name="pk_devices"),
    )
    op.create_table(
        "scripts",
        _key("fleet_id"),
        _key("device_id"),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.Column("sticky", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", "device_id", name="pk_scripts"),
    )
    op.create_table(
        "error_logs",
        _key("fleet_id"),
        _key("error_id"),
        sa.Column("device_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("sync_status_code", sa.SmallInteger(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", "error_id", name="pk_error_logs"),
    )
    op.create_table(
        "tallies",
        _key("fleet_id"),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", "what", "error_message", name="pk_tallies"),
    )
    op.create_table(
        "accounts",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_accounts"),
    )
    op.create_table(
        "guesses",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("window_ends", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_guesses"),
    )

    if op.get_context().dialect.name == "postgresql":
        _upgrade_shared()


def _upgrade_shared() -> None:
    """Make what a database that several processes write to needs beyond that."""
    op.execute("CREATE SEQUENCE fleet_ids")
    op.create_table(
        "turns",
        _key("fleet_id"),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("newest_error", sa.BigInteger(), nullable=False),
        sa.Column("promised_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", name="pk_turns"),
    )
    op.create_table(
        "status_counts",
        _key("fleet_id"),
        _key("sync_status_code", sa.SmallInteger()),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", "sync_status_code", name="pk_status_counts"),
    )
    op.create_table(
        "leftovers",
        _key("fleet_id"),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", name="pk_leftovers"),
    )
    op.create_table(
        "permits",
        _key("permit_id"),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("permit_id", "key", name="pk_permits"),
    )
    op.create_index("ix_permits_key", "permits", ["key"])
    op.create_table(
        "steady_time",
        sa.Column("shift", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.BigInteger(), nullable=False),
    )
    op.execute("INSERT INTO steady_time (shift, latest) VALUES (0, 0)")
    op.create_index("ix_devices_status", "devices", ["fleet_id", "sync_status_code", "device_id"])
    op.create_index(
        "ix_devices_due",
        "devices",
        ["fleet_id", "due_at", "device_id"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_devices_held",
        "devices",
        ["fleet_id"],
        postgresql_where=sa.text("sync_status_code = 202 AND due_at IS NULL"),
    )
    op.create_index("ix_error_logs_device", "error_logs", ["fleet_id", "device_id", "error_id"])
    op.create_index(
        "ix_error_logs_status", "error_logs", ["fleet_id", "sync_status_code", "error_id"]
    )
    op.create_index("ix_error_logs_since", "error_logs", ["fleet_id", "occurred_at"])
    here = Path(__file__)
    texts = [here.with_name(f"0001_{name}.sql").read_text() for name in _FUNCTIONS]
    for function in (_WALL_NOW, _STEADY_NOW, _KEEP_TIME, *texts):
        op.get_bind().exec_driver_sql(function)


def downgrade() -> None:
    """Drop everything."""
    if op.get_context().dialect.name == "postgresql":
        for function in (*_FUNCTIONS, "keep_time", "steady_now", "wall_now"):
            op.execute(f"DROP FUNCTION {function}")
        for table in ("steady_time", "permits", "leftovers", "status_counts", "turns"):
            op.drop_table(table)
        op.execute("DROP SEQUENCE fleet_ids")
    for table in (
        "guesses",
        "accounts",
        "tallies",
        "error_logs",
        "scripts",
        "devices",
        "fleets",
    ):
        op.drop_table(table)
