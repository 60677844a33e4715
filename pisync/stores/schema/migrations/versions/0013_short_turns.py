"""Commits hold a fleet's turn for a shorter time; who sends notices learns how many there were."""

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_FUNCTIONS = ("apply_work", "send_notices")


def upgrade() -> None:
    """Replace the functions."""
    _replace(revision)


def downgrade() -> None:
    """Replace them by those that were there before."""
    _replace("0009")


def _replace(number: str) -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    for name in _FUNCTIONS:
        text = Path(__file__).with_name(f"{number}_{name}.sql").read_text()
        op.get_bind().exec_driver_sql(
            text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
        )
