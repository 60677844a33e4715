"""Attempts may be pending for so many reads."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "polls",
        sa.Column("fleet_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("device_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.Integer(), nullable=False),
        sa.Column("planned_status_code", sa.SmallInteger(), nullable=False),
        sa.Column("planned_error_message", sa.Text()),
        sa.PrimaryKeyConstraint("fleet_id", "device_id", name="pk_polls"),
        sa.ForeignKeyConstraint(
            ["fleet_id"], ["fleets.fleet_id"], name="fk_polls_fleet_id_fleets", ondelete="CASCADE"
        ),
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_table(
            "polled_fleets",
            sa.Column("fleet_id", sa.BigInteger(), nullable=False, autoincrement=False),
            sa.PrimaryKeyConstraint("fleet_id", name="pk_polled_fleets"),
            sa.ForeignKeyConstraint(
                ["fleet_id"],
                ["fleets.fleet_id"],
                name="fk_polled_fleets_fleet_id_fleets",
                ondelete="CASCADE",
            ),
        )


def downgrade() -> None:
    """Drop it; the attempts stay, held until they are released."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_table("polled_fleets")
    op.drop_table("polls")
