"""Fleets know when they were made or reset."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; null stands for when the fleet was made."""
    op.add_column("fleets", sa.Column("started_at", sa.BigInteger()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("fleets", "started_at")
