"""How long it takes until all replicas have heard of a change."""

import asyncio

from pisync.stores.errors import StoreUnavailable
from pisync.stores.postgres.database import Database

_HEARD_SECONDS = 0.05
"""Where all replicas listen."""
_READ_SECONDS = 0.3
"""Where some read what is sent, ten times a second."""
_HAS_READERS = "SELECT EXISTS (SELECT FROM notice_readers)"


async def all_have_heard(database: Database) -> None:
    """Wait for all replicas to hear of a change that was committed and sent."""
    try:
        has_readers = await database.fetchval(_HAS_READERS)
    except StoreUnavailable:
        # The change is true all the same.
        has_readers = True
    await asyncio.sleep(_READ_SECONDS if has_readers else _HEARD_SECONDS)
