"""Seeds for fleets that are made without one."""

import secrets

from pisync.model.plans.profile import MAX_SEED


def random_seed() -> int:
    """Return a seed that nobody can predict."""
    return secrets.randbelow(MAX_SEED + 1)
