"""PostgreSQL's functions, as they are in a database that is made today.

Those of 0001 were edited after the first version that had them: a database that was made by it has
kept the old ones until now.
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them anew; whoever calls one meanwhile gets the old one or the new one."""
    if op.get_context().dialect.name == "postgresql":
        for path in sorted(Path(__file__).parent.glob("0001_*.sql")):
            text = path.read_text()
            function = text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
            op.get_bind().exec_driver_sql(function)


def downgrade() -> None:
    """Keep them: they do what those of 0001 are meant to do."""
