"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


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
        _key("shard", sa.Integer()),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", "shard", "what", "error_message", name="pk_tallies"),
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


def downgrade() -> None:
    """Drop the tables."""
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
