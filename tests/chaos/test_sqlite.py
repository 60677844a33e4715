"""One process on an SQLite file, killed again and again, and with no room on its disk."""

import asyncio
import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.chaos.conftest import MakeReplica, lack, short_or_long, verdict
from tests.chaos.load import Load
from tests.chaos.replica import Replica, token

pytestmark = pytest.mark.timeout(short_or_long(180, 3600))


FAULTS = "/admin/fleets/default/faults"
RULES = [
    {"calls": ["sync"], "share": 0.2, "fault": {"kind": "reset"}, "when": "after"},
    {"calls": ["sync"], "share": 0.2, "fault": {"kind": "close"}},
]


async def kill(
    replica: Replica, times: int, dice: random.Random, rules: Sequence[object] = ()
) -> Load:
    """Kill a replica that is under load, again and again; it is up at the end."""
    await replica.start()
    headers = {"Authorization": f"Bearer {token()}"}
    async with (
        ClientSession(headers=headers) as admin,
        admin.put(f"{replica.url}{FAULTS}", json=rules) as answer,
    ):
        assert answer.status == 200, await answer.text()
    async with Load([replica.url]) as load:
        for _ in range(times):
            await asyncio.sleep(dice.uniform(0.1, 0.8))
            await replica.kill()
            await replica.start()
    return load


async def test_no_sync_is_lost_or_done_twice_by_kills(
    make_replica: MakeReplica, tmp_path: Path, dice: random.Random
) -> None:
    replica = make_replica(f"sqlite:///{tmp_path}/pisync.db")
    load = await kill(replica, short_or_long(5, 200), dice)
    assert await verdict(load, replica.url) == []
    assert len(load.journal.accepted) > 50


async def test_no_sync_is_lost_or_done_twice_where_faults_take_answers_too(
    make_replica: MakeReplica, tmp_path: Path, dice: random.Random
) -> None:
    replica = make_replica(f"sqlite:///{tmp_path}/pisync.db")
    load = await kill(replica, short_or_long(5, 100), dice, RULES)
    assert await verdict(load, replica.url) == []
    assert len(load.journal.accepted) > 20
    headers = {"Authorization": f"Bearer {token()}"}
    async with ClientSession(replica.url, headers=headers) as admin:
        async with admin.get(FAULTS) as answer:
            lost, closed = [rule["hits"] for rule in await answer.json()]
        async with admin.get("/admin/fleets/default/ledger") as answer:
            ledger = await answer.json()
    # Neither a kill nor a start has forgotten a rule, or what it has done.
    assert lost > 5
    assert closed > 5
    assert ledger["faults"] == {"before": {"close": closed}, "after": {"reset": lost}}
    assert ledger["balanced"]


async def test_the_oracle_sees_what_is_lost_by_answering_too_early(
    make_replica: MakeReplica, tmp_path: Path, dice: random.Random
) -> None:
    replica = make_replica(
        f"sqlite:///{tmp_path}/pisync.db", sabotage="answers_before_it_has_written"
    )
    load = await kill(replica, 3, dice)
    found = await verdict(load, replica.url)
    assert any("is lost" in flaw or "was begun 2 times" in flaw for flaw in found), found


class Disk:
    """A file system of a few megabytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ballast = root / "ballast"

    def fill(self) -> None:
        """Leave no room on it."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (65_536, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass

    def clear(self) -> None:
        """Make room again."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        lack(f"root, to mount a small disk: {mounted.stderr.strip()}")
    yield Disk(root)
    # Lazily: a service may still be about to end.
    subprocess.run(["umount", "--lazy", str(root)], check=True)


async def fill_and_clear(replica: Replica, disk: Disk) -> Load:
    """Let the disk be full under load, for a while; there is room at the end."""
    await replica.start()
    headers = {"Authorization": f"Bearer {token()}"}
    async with ClientSession(replica.url, headers=headers) as client, Load([replica.url]) as load:
        await asyncio.sleep(0.5)
        disk.fill()
        await asyncio.sleep(short_or_long(2, 30))
        for path in ("/devices", "/errors", "/stats", "/livez"):
            async with client.get(path) as answer:
                assert answer.status == 200
        async with client.post("/register", json={"username": "bob", "password": "12345678"}) as no:
            came_of_it = no.status
        was_ready = await replica.is_ready()
        disk.clear()
        async with asyncio.timeout(60):
            await replica.ready()
        async with client.post("/register", json={"username": "bob", "password": "12345678"}) as ok:
            assert (came_of_it, ok.status, was_ready) in ((503, 201, False), (201, 409, True))
        await asyncio.sleep(0.5)
    return load


async def test_a_full_disk_refuses_and_leaves_nothing_half_done(
    make_replica: MakeReplica, disk: Disk
) -> None:
    replica = make_replica(f"sqlite:///{disk.root}/pisync.db")
    load = await fill_and_clear(replica, disk)
    assert load.journal.answers["503"] > 0
    assert await verdict(load, replica.url) == []
    # What is in memory is in the file.
    await replica.kill()
    await replica.start()
    assert await verdict(load, replica.url) == []


async def test_the_oracle_sees_what_is_lost_by_taking_no_notice_of_a_full_disk(
    make_replica: MakeReplica, disk: Disk
) -> None:
    replica = make_replica(
        f"sqlite:///{disk.root}/pisync.db", sabotage="takes_no_notice_of_a_full_disk"
    )
    load = await fill_and_clear(replica, disk)
    await replica.kill()
    await replica.start()
    assert await verdict(load, replica.url) != []
