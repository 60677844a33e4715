"""Ends what tests have started, even where the process that ran them was killed itself.

Whatever a process starts inherits a mark in its environment. A reaper waits on a pipe until that
process is gone, and then kills whoever still has the mark.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

_MARK = "TESTS_REAPER"
_PROCESSES = Path("/proc")
_pipes: list[int] = []
"""The ends that tell reapers, by being closed, that this process is gone."""


def start() -> None:
    """Have a reaper for all that this process starts from now on, where systems have /proc."""
    if _pipes or not (_PROCESSES / "self/environ").exists():
        return
    unmarked = dict(os.environ)
    os.environ[_MARK] = mark = uuid4().hex
    waits, tells = os.pipe()
    os.posix_spawn(
        sys.executable,
        [sys.executable, __file__, mark],
        unmarked,
        file_actions=[(os.POSIX_SPAWN_DUP2, waits, 0)],
        # Neither Ctrl-C nor a closed terminal may end it before its time.
        setsid=True,
    )
    os.close(waits)
    _pipes.append(tells)


def _marked(mark: str) -> Iterator[int]:
    wanted = f"{_MARK}={mark}".encode()
    for path in _PROCESSES.glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)


def _reap(mark: str) -> None:
    """Wait until standard input ends; then kill all that bear the mark, and what they start."""
    sys.stdin.buffer.read()
    while found := list(_marked(mark)):
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    _reap(sys.argv[1])
