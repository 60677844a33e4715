"""Accounts that are disabled or deleted, and tokens that were ended."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "restrictions",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("tokens_since", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_restrictions"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index("ix_restrictions_changed", "restrictions", ["changed_at"])
        # Pages go by bytes, whatever the database's locale.
        op.create_index("ix_accounts_page", "accounts", [sa.text('key COLLATE "C"')])


def downgrade() -> None:
    """Drop it."""
    if op.get_context().dialect.name == "postgresql":
        op.drop_index("ix_accounts_page", "accounts")
    op.drop_table("restrictions")
