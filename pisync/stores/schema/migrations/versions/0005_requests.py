"""What requests meet in a fleet, and leave behind: faults, and the journal."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COUNT_REQUEST = Path(__file__).with_name("0005_count_request.sql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "request_settings",
        _key("fleets"),
        sa.Column("journal", sa.Integer(), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("counters", sa.Integer(), nullable=False),
        sa.Column("newest_request", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", name="pk_request_settings"),
    )
    op.create_table(
        "request_counts",
        _key("request_settings"),
        sa.Column("counter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", "counter", name="pk_request_counts"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_table(
            "requests",
            _key("request_settings"),
            sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("request_id", sa.Text(), nullable=False),
            sa.Column("received_at", sa.BigInteger(), nullable=False),
            sa.Column("call", sa.Text(), nullable=False),
            sa.Column("method", sa.Text(), nullable=False),
            sa.Column("path", sa.Text(), nullable=False),
            sa.Column("device_id", sa.BigInteger()),
            sa.Column("user_name", sa.Text(), nullable=False),
            sa.Column("user_agent", sa.Text()),
            sa.Column("status", sa.SmallInteger()),
            sa.Column("fault", sa.Text()),
            sa.Column("attempt", sa.BigInteger()),
            sa.Column("seconds", sa.Float(53), nullable=False),
            sa.PrimaryKeyConstraint("fleet_id", "number", name="pk_requests"),
        )
        op.get_bind().exec_driver_sql(_COUNT_REQUEST.read_text())


def downgrade() -> None:
    """Drop them."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION count_request")
        op.drop_table("requests")
    op.drop_table("request_counts")
    op.drop_table("request_settings")


def _key(parent: str) -> sa.Column[int]:
    return sa.Column(
        "fleet_id",
        sa.BigInteger(),
        sa.ForeignKey(f"{parent}.fleet_id", ondelete="CASCADE"),
        autoincrement=False,
        nullable=False,
    )
