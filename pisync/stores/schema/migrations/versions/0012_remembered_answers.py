"""Answers to requests with an idempotency key are remembered."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; on PostgreSQL, too old ones and those of fleets that are gone are swept."""
    op.create_table(
        "remembered_answers",
        sa.Column("fleet_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("is_complete", sa.Boolean(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", "number", name="pk_remembered_answers"),
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index(
            "ix_remembered_answers_key", "remembered_answers", ["fleet_id", "key"], unique=True
        )
        op.create_index("ix_remembered_answers_made_at", "remembered_answers", ["made_at"])
        _make_sweep(revision)


def downgrade() -> None:
    """Drop it."""
    if op.get_context().dialect.name == "postgresql":
        _make_sweep("0001")
    op.drop_table("remembered_answers")


def _make_sweep(number: str) -> None:
    text = Path(__file__).with_name(f"{number}_sweep.sql").read_text()
    function = text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
    op.get_bind().exec_driver_sql(function)
