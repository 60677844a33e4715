"""What every store promises about snapshots of fleets; see pisync.stores.base."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pisync.model.fleet import FleetView
from pisync.model.snapshot import Snapshot


class FleetSnapshots(Protocol):
    """Fleets are read as a whole, and made of what was read."""

    def take(self, fleet: str) -> AbstractAsyncContextManager[Snapshot]:
        """Return a snapshot of the moment at which the block is entered; read it in the block.

        Memory does not grow with the fleet, beyond what changes in it meanwhile.
        """

    async def restore(self, name: str, snapshot: Snapshot) -> tuple[FleetView, bool]:
        """Make or replace a fleet by a snapshot; return it, and whether it is new.

        Its time goes on from the snapshot's when all of it has been read. Until then nobody sees
        anything of it, and if reading it raises, nothing changes. Its ttl counts from now; the
        default fleet has none.
        """
