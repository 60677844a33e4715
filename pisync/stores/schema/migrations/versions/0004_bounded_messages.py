"""A ledger counts at most a thousand messages for each status code; later ones count together."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FUNCTION = Path(__file__).with_name("0001_apply_work.sql")
_UNBOUNDED = """
        INSERT INTO tallies AS known
        SELECT of_fleet, what, message, n FROM unnest(whats, what_messages, counts)
            AS more (what, message, n)
"""
_BOUNDED = """
        WITH more AS (
            SELECT what, message, n, EXISTS (
                SELECT FROM tallies WHERE tallies.fleet_id = of_fleet
                    AND tallies.what = added.what AND tallies.error_message = added.message
            ) AS is_known
            FROM unnest(whats, what_messages, counts) AS added (what, message, n)
        ), placed AS (
            SELECT *, row_number() OVER (PARTITION BY what, is_known ORDER BY message) + (
                SELECT count(*) FROM tallies WHERE tallies.fleet_id = of_fleet
                    AND tallies.what = more.what AND tallies.error_message <> '(other)'
            ) AS place
            FROM more
        ), bounded AS (
            SELECT what, n, CASE
                WHEN is_known OR place <= 1000 THEN message ELSE '(other)'
            END AS message
            FROM placed
        )
        INSERT INTO tallies AS known
        SELECT of_fleet, what, message, sum(n) FROM bounded GROUP BY what, message
"""


def upgrade() -> None:
    """Replace the function; whoever calls it meanwhile gets the old one or the new one."""
    _make(bounded=True)


def downgrade() -> None:
    """Put the old one into its place."""
    _make(bounded=False)


def _make(*, bounded: bool) -> None:
    if op.get_context().dialect.name == "postgresql":
        text = _FUNCTION.read_text()
        assert _UNBOUNDED in text  # noqa: S101 - a migration that has been released stays
        text = text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
        op.get_bind().exec_driver_sql(text.replace(_UNBOUNDED, _BOUNDED) if bounded else text)
