"""What comes of what is due is computed, made true, and told to this process's observer."""

from collections.abc import Sequence

from pisync.stores.changes import Due, FleetChanges, Progress
from pisync.stores.postgres.commit import Commits, SnapshotChanges, numbered
from pisync.stores.postgres.connection.connect import Connection
from pisync.stores.postgres.notifications import ObserverHolder
from pisync.stores.postgres.snapshot import FleetSnapshot
from pisync.stores.postgres.traffic.moments import load_scripts


class ObservedCommits:
    """Makes changes true, and tells the observer of attempts that began and finished with them."""

    def __init__(self, commits: Commits, holder: ObserverHolder) -> None:
        self._commits = commits
        self._holder = holder

    async def apply(
        self,
        connection: Connection,
        changes: SnapshotChanges,
        progress: Progress,
        more_notices: Sequence[str] = (),
    ) -> bool:
        """Make changes true, and tell what came of them; say whether their snapshot still held."""
        fleet = changes.fleet
        if not changes.devices and changes.clock is fleet.clock:
            return True
        newest_error = await self._commits.apply(
            connection, changes, changed=progress.changed, more_notices=more_notices
        )
        if newest_error is None:
            return False
        if progress.begun:
            self._holder.observer.began(fleet.name, progress.begun)
        if progress.finished:
            self._holder.observer.finished(
                fleet.name,
                fleet.fleet_id,
                [numbered(each, newest_error) for each in progress.finished],
            )
        return True

    def send_soon(self) -> None:
        """Let what is committed now be sent; see `Commits.send_soon`."""
        self._commits.send_soon()


async def run_due(
    connection: Connection,
    fleet: FleetSnapshot,
    due: Sequence[Due],
    until: int,
    limit: int,
    *,
    by_itself: bool,
) -> tuple[Progress, SnapshotChanges]:
    """Compute what comes of what is due."""
    if fleet.profile.traffic is not None and due:
        await load_scripts(connection, fleet)
    changes = FleetChanges(fleet)
    return changes.run(due, until, until, limit, by_itself=by_itself), changes
