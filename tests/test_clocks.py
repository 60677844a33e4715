"""The machine's clocks, and those that nobody can set."""

import shutil
import subprocess
import sys
import time

import pytest

from pisync.clocks import SteadyClocks, SystemClocks

HOURS = 7200
READ = "from pisync.clocks import SystemClocks; print(SystemClocks().monotonic())"


def test_the_monotonic_clock_goes_on_while_the_machine_sleeps() -> None:
    # A time namespace moves the clock that counts sleep, as waking up does, and no other.
    awake = ["unshare", "--time", f"--boottime={HOURS}", "--fork"]
    if shutil.which("unshare") is None or subprocess.run([*awake, "true"], check=False).returncode:
        pytest.skip("needs unshare, and leave to make a time namespace")
    done = subprocess.run(
        [*awake, sys.executable, "-c", READ], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) - SystemClocks().monotonic() > (HOURS - 60) * 1e6


def test_both_run() -> None:
    clocks = SystemClocks()
    wall, monotonic = clocks.wall(), clocks.monotonic()
    time.sleep(0.01)
    assert clocks.wall() - wall >= 9_000
    assert clocks.monotonic() - monotonic >= 9_000
    assert abs(wall / 1e6 - time.time()) < 60


def test_steady_clocks_go_on_where_the_machine_s_time_of_day_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = SteadyClocks()
    before = clocks.wall()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert SystemClocks().wall() == 0
    assert 0 <= clocks.wall() - before < 60e6
