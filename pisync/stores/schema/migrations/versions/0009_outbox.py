"""Notices of what has changed are left in an outbox, and sent after the commit.

Replicas of 0.1.0 send theirs with the commit, as before: `apply_work` does it for them.
"""

from importlib import import_module
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_PACKAGE = "pisync.stores.schema.migrations.versions"
_FUNCTIONS = ("send_notices_of", "send_notices", "fleet_ends")


def upgrade() -> None:
    """Make the table, and what writes and reads it."""
    if op.get_context().dialect.name != "postgresql":
        return
    # Not kept when the server crashes: all streams begin anew then, since all connections are lost.
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("fleet_id", sa.BigInteger(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_outbox"),
        prefixes=["UNLOGGED"],
    )
    # Of its own: a table's own would be as unlogged, and is broken after a failover.
    op.execute("CREATE SEQUENCE outbox_positions")
    op.create_index("ix_outbox_fleet", "outbox", ["fleet_id", "position"])
    # Rows come and go all the time.
    op.execute(
        "ALTER TABLE outbox SET"
        " (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)"
    )
    for name in (*_FUNCTIONS, "apply_work"):
        text = Path(__file__).with_name(f"0009_{name}.sql").read_text()
        op.get_bind().exec_driver_sql(
            text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
        )
    op.execute(
        "CREATE TRIGGER fleet_ends BEFORE DELETE ON turns"
        " FOR EACH ROW EXECUTE FUNCTION fleet_ends()"
    )


def downgrade() -> None:
    """Drop it, and send with the commit again."""
    if op.get_context().dialect.name == "postgresql":
        import_module(f"{_PACKAGE}.0004_bounded_messages").upgrade()
        op.execute("DROP TRIGGER fleet_ends ON turns")
        for name in _FUNCTIONS:
            op.execute(f"DROP FUNCTION {name}")
        op.drop_table("outbox")
        op.execute("DROP SEQUENCE outbox_positions")
