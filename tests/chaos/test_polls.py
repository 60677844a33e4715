"""Attempts that are pending for so many reads, on an SQLite file whose process is killed."""

import asyncio
import random
from collections import Counter
from pathlib import Path

from aiohttp import ClientError, ClientSession

from tests.chaos.conftest import MakeReplica, short_or_long
from tests.chaos.replica import Replica, token

POLLS = 200
DEVICES = range(1, 5)
READERS = 4
"""Of each device."""


class Readers:
    """Clients that read devices all the time, and count what they see."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self.pending = Counter[int]()
        """How many answers showed a device as pending, by id."""
        self.finished = Counter[int]()
        self.unanswered = Counter[int]()

    async def read(self, replica: Replica, device_id: int) -> None:
        """Read a device until the server is gone, or the attempt is over."""
        while True:
            try:
                async with self._session.get(f"{replica.url}/devices/{device_id}") as answer:
                    code = (await answer.json())["sync_status_code"]
            except (ClientError, OSError):
                self.unanswered[device_id] += 1
                return
            if code != 202:
                self.finished[device_id] += 1
                return
            self.pending[device_id] += 1


async def test_no_kill_forgets_a_read_or_counts_it_twice(
    make_replica: MakeReplica, tmp_path: Path, dice: random.Random
) -> None:
    replica = make_replica(f"sqlite:///{tmp_path}/pisync.db")
    await replica.start()
    async with ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session:
        for device_id in DEVICES:
            script = f"{replica.url}/admin/fleets/default/devices/{device_id}/script"
            step = {"polls": POLLS, "sync_status_code": 404, "error_message": "Gone"}
            async with session.put(script, json=[step]) as answer:
                assert answer.status == 204
            async with session.post(f"{replica.url}/devices/{device_id}/sync") as answer:
                assert answer.status == 202
        readers = Readers(session)
        for _ in range(short_or_long(3, 50)):
            reads = [readers.read(replica, each) for each in DEVICES for _ in range(READERS)]
            under_way = asyncio.gather(*reads)
            await asyncio.sleep(dice.uniform(0.02, 0.1))
            await replica.kill()
            await under_way
            await replica.start()
        await asyncio.gather(*(readers.read(replica, each) for each in DEVICES))
        async with session.get(f"{replica.url}/admin/fleets/default/ledger") as answer:
            ledger = await answer.json()
    assert sum(readers.unanswered.values()) > 0
    for device_id in DEVICES:
        seen, lost = readers.pending[device_id], readers.unanswered[device_id]
        # A read whose answer was lost may have counted.
        assert seen <= POLLS <= seen + lost
        assert readers.finished[device_id] > 0
    assert ledger["failed"]["404"] == {"Gone": len(DEVICES)}
    assert (ledger["pending"], ledger["balanced"]) == (0, True)
