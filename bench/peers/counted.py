"""PiSync on PostgreSQL, which counts the work of finishing, and what of it was for nothing.

At its end it writes that into the file that COUNTS names.
"""

import atexit
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pisync.cli.main import main
from pisync.stores.postgres.commit import Commits, SnapshotChanges
from pisync.stores.postgres.connection.connect import Connection

_counts = Counter(finished=0, thrown_away=0)


class _CountedCommits(Commits):
    """Counts the syncs that were finished, and those that another replica had finished already."""

    async def apply(
        self, connection: Connection, changes: SnapshotChanges, **more: Any
    ) -> int | None:
        """Do as `Commits.apply`, and count."""
        newest = await super().apply(connection, changes, **more)
        outcome = "thrown_away" if newest is None else "finished"
        _counts[outcome] += sum(not device.is_pending for device in changes.devices.values())
        return newest


if __name__ == "__main__":
    atexit.register(lambda: Path(os.environ["COUNTS"]).write_text(json.dumps(_counts)))
    with patch("pisync.stores.postgres.store.Commits", _CountedCommits):
        main()
