"""Fleets live: their devices sync by themselves.

When each does so next stands in `devices.due_at`, as when a pending one is due.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "traffic",
        sa.Column("fleet_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("prepared", sa.BigInteger()),
        sa.PrimaryKeyConstraint("fleet_id", name="pk_traffic"),
        sa.ForeignKeyConstraint(
            ["fleet_id"], ["fleets.fleet_id"], name="fk_traffic_fleet_id_fleets", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """Drop it; no moment stays that would be taken for a due time."""
    op.execute("UPDATE devices SET due_at = NULL WHERE sync_status_code <> 202")
    op.drop_table("traffic")
