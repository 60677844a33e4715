"""Replicas that can't listen read what is sent in a table."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_NEW = ("tell_replicas", "place_notice", "sign_on")
_CHANGED = {
    "send_notices": "0013",
    "send_notices_of": "0009",
    "replace_fleet": "0006",
    "delete_fleet": "0001",
    "sweep": "0012",
}
"""Functions that were there before, and the revision that had them last."""


def upgrade() -> None:
    """Make the tables, and have all that tells replicas something fill them."""
    if op.get_context().dialect.name != "postgresql":
        return
    # Not kept when the server crashes: a reader sees that it is not signed on any more.
    op.create_table(
        "notice_readers",
        sa.Column("reader_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reader_id", name="pk_notice_readers"),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "sent_notices",
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_sent_notices"),
        prefixes=["UNLOGGED"],
    )
    # Of its own, and rows come and go all the time: as of the outbox.
    op.execute("CREATE SEQUENCE sent_positions")
    op.execute(
        "ALTER TABLE sent_notices SET"
        " (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)"
    )
    for name in (*_NEW, *_CHANGED):
        _make(revision, name)
    op.execute(
        "CREATE CONSTRAINT TRIGGER place_notice AFTER INSERT ON sent_notices"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.position < 0)"
        " EXECUTE FUNCTION place_notice()"
    )


def downgrade() -> None:
    """Drop them."""
    if op.get_context().dialect.name != "postgresql":
        return
    for name, number in _CHANGED.items():
        _make(number, name)
    op.drop_table("sent_notices")
    op.drop_table("notice_readers")
    for name in _NEW:
        op.execute(f"DROP FUNCTION {name}")
    op.execute("DROP SEQUENCE sent_positions")


def _make(number: str, name: str) -> None:
    text = Path(__file__).with_name(f"{number}_{name}.sql").read_text()
    function = text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
    op.get_bind().exec_driver_sql(function)
