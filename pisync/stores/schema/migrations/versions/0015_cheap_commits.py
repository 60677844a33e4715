"""Commits cost less: what they are about comes in fewer arguments, and nothing is undone halfway.

Replicas of 0.1.0 go on calling `apply_work`.
"""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TYPES = {
    "device_change": """
        device_id bigint, attempt_before bigint, code_before smallint,
        last_sync_at bigint, sync_status_code smallint, error_message text,
        last_attempt_at bigint, attempt bigint, due_at bigint,
        planned_status_code smallint, planned_error_message text""",
    "status_change": "sync_status_code smallint, devices bigint",
    "failure": """
        device_id bigint, attempt bigint, sync_status_code smallint, error_message text,
        occurred_at bigint""",
    "tally": "what text, error_message text, n bigint",
}


def upgrade() -> None:
    """Make the function, and the types of its arguments."""
    if op.get_context().dialect.name != "postgresql":
        return
    for name, columns in _TYPES.items():
        op.execute(f"CREATE TYPE {name} AS ({columns})")
    text = Path(__file__).with_name(f"{revision}_commit_work.sql").read_text()
    op.get_bind().exec_driver_sql(text)
    # A notice stays for some milliseconds: to compress it takes longer than to write it.
    op.execute("ALTER TABLE outbox ALTER COLUMN notice SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Drop them."""
    if op.get_context().dialect.name != "postgresql":
        return
    op.execute("ALTER TABLE outbox ALTER COLUMN notice SET STORAGE EXTENDED")
    op.execute("DROP FUNCTION commit_work")
    for name in _TYPES:
        op.execute(f"DROP TYPE {name}")
