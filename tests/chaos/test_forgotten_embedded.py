"""Thousands of fleets with a ttl, a tenth of them in use, and a process that is killed in between.

By clocks that are moved by hand; `test_forgotten.py` has the same with real replicas.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from pisync.model.fleet import Generated
from pisync.model.plans.profile import Profile
from pisync.simulation.idle_fleets import GRACE, LEAD, ROUND, IdleFleets
from pisync.telemetry.metrics import Metrics
from tests.chaos.conftest import short_or_long
from tests.support.paths import ROOT
from tests.support.stores.harness import InProcessHarness, MemoryHarness, SqliteHarness
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import F

TTL = 60
FLEETS = [f"job-{number}" for number in range(short_or_long(2_000, 10_000))]
USED = FLEETS[::10]
BEFORE_THE_KILL = GRACE + ROUND
AWAY = 30.0
"""Seconds from the kill to the next start."""


class Process:
    """A store, and what forgets its fleets."""

    def __init__(self, home: InProcessHarness) -> None:
        self._home = home
        self._metrics = Metrics()
        self.store = home.store(Generated(1), Profile(seed=1), 100)
        self.idle = IdleFleets(self.store.lifetimes, lambda: (), self._metrics, home.time)

    async def open(self) -> None:
        await self.store.open(RecordingObserver())

    async def make_all(self) -> None:
        for first in range(0, len(FLEETS), 500):
            await asyncio.gather(
                *(
                    self.store.fleets.put(name, Generated(1), Profile(seed=1), ttl=TTL)
                    for name in FLEETS[first : first + 500]
                )
            )

    async def live(self, seconds: float) -> None:
        """Let time go by, round by round; in each, requests name the fleets in use."""
        for _ in range(round(seconds / ROUND)):
            await self._home.pass_time(ROUND)
            for name in USED:
                self.idle.named(name)
            await self.idle.round()

    async def names(self) -> list[str]:
        names: list[str] = []
        more = True
        while more:
            page = await self.store.queries.fleets(after=names[-1] if names else "", limit=1000)
            names += [fleet.name for fleet in page.fleets]
            more = page.more
        return names

    def has_forgotten(self, count: int) -> bool:
        return f"pisync_fleets_forgotten_total {count}.0\n".encode() in self._metrics.render()


async def make_them_and_use_some(home: InProcessHarness) -> Process:
    process = Process(home)
    await process.open()
    await process.make_all()
    await process.live(BEFORE_THE_KILL)
    return process


async def those_in_use_stay_and_all_others_go_once(process: Process, seconds: float) -> None:
    """Say that nothing goes for so many seconds, but then what should, and nothing more."""
    await process.live(seconds)
    assert await process.names() == sorted([F, *FLEETS])
    await process.live(2 * ROUND)
    assert await process.names() == sorted([F, *USED])
    await process.live(2 * TTL)
    assert await process.names() == sorted([F, *USED])
    assert process.has_forgotten(len(FLEETS) - len(USED))


@pytest.mark.slow
async def test_in_memory(tmp_path: Path) -> None:
    process = await make_them_and_use_some(MemoryHarness(tmp_path))
    await those_in_use_stay_and_all_others_go_once(process, TTL + LEAD - BEFORE_THE_KILL)
    await process.store.close()


@pytest.mark.slow
async def test_on_sqlite_with_a_kill_in_between(tmp_path: Path) -> None:
    home = SqliteHarness(tmp_path)
    await home.open()
    module = "tests.chaos.test_forgotten_embedded"
    killed = await asyncio.create_subprocess_exec(sys.executable, "-m", module, tmp_path, cwd=ROOT)
    assert await killed.wait() == -signal.SIGKILL
    await home.pass_time(BEFORE_THE_KILL + AWAY)
    process = Process(home)
    await process.open()
    # For so long nothing goes after a start, though its time has come.
    await those_in_use_stay_and_all_others_go_once(process, GRACE - ROUND)
    await process.store.close()


async def _be_killed(directory: Path) -> None:
    process = await make_them_and_use_some(SqliteHarness(directory))
    process.idle.named(USED[0])
    saving = asyncio.create_task(process.idle.save())
    await asyncio.sleep(0)
    assert not saving.done()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(_be_killed(Path(sys.argv[1])))
