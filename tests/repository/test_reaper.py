"""An interrupted run of the tests leaves no process."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import eventually

KILLED = """
import os, signal, subprocess
from tests.support import reaper
reaper.start()
left = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(left.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
async def test_what_a_killed_process_has_started_ends_too() -> None:
    command = [sys.executable, "-c", KILLED]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == -9
    left = Path(f"/proc/{int(done.stdout)}")
    await eventually(lambda: not left.exists() or "\nState:\tZ" in (left / "status").read_text())
