"""The secret that a database keeps."""

import os
from pathlib import Path

from pisync.config.jwt_secret import kept_secret
from pisync.config.settings import Settings


def test_one_who_was_killed_while_drawing_it_keeps_nobody_from_starting(tmp_path: Path) -> None:
    # In a container, whoever starts next has the same number.
    (tmp_path / f"pisync.db.secret.{os.getpid()}").touch()
    settings = Settings(store=f"sqlite:///{tmp_path}/pisync.db")
    secret = kept_secret(settings)
    assert secret is not None
    assert len(secret) >= 32
    assert kept_secret(settings) == secret
