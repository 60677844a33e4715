"""Clocks that stand still may move themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; null stands for no."""
    op.add_column("fleets", sa.Column("auto_clock", sa.Boolean()))


def downgrade() -> None:
    """Drop it: such clocks are manual."""
    op.drop_column("fleets", "auto_clock")
