"""The settings that a pooler's sessions need, as the documentation has them."""

import re

from tests.support.paths import ROOT

_STATEMENTS = re.search(
    r"```sql\n(ALTER ROLE.*?)```", (ROOT / "docs/operations.md").read_text(), re.DOTALL
)


def pooled_settings(database: str) -> list[str]:
    """Return the statements that make them, for the role `postgres` and a database."""
    assert _STATEMENTS is not None
    documented, made = "ALTER ROLE pisync IN DATABASE pisync ", "ALTER ROLE postgres IN DATABASE "
    statements = _STATEMENTS[1].strip().splitlines()
    assert all(statement.startswith(documented) for statement in statements)
    return [statement.replace(documented, f"{made}{database} ") for statement in statements]
