"""Fleets may have a ttl: they are deleted when nobody uses them for so long."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CHANGED = ("end_fleet", "replace_fleet")
"""Functions of 0001 that look after lifetimes, whichever version of PiSync calls them."""


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "lifetimes",
        sa.Column("fleet_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("ttl", sa.Integer(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet_id", name="pk_lifetimes"),
    )
    if op.get_context().dialect.name == "postgresql":
        for name in (*_CHANGED, "forget_fleets"):
            _make(revision, name)


def downgrade() -> None:
    """Drop it; the fleets stay."""
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION forget_fleets")
        for name in _CHANGED:
            _make("0001", name)
    op.drop_table("lifetimes")


def _make(number: str, name: str) -> None:
    text = Path(__file__).with_name(f"{number}_{name}.sql").read_text()
    function = text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
    op.get_bind().exec_driver_sql(function)
