"""How long this process could not run: what a busy machine takes is not what the service takes."""

import asyncio
import subprocess
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

_TICK = 0.02
_USUAL = 0.01
"""How much later than asked an event loop with nothing else to do may wake."""


class Stalls:
    """Adds up the seconds by which this process's event loop woke too late.

    For what waits: what keeps an event loop from running for long would be excused.
    """

    def __init__(self) -> None:
        self._sum = 0.0

    async def __aenter__(self) -> Self:
        self._next = monotonic() + _TICK
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticking.cancel()
        await asyncio.wait([self._ticking])

    @property
    def seconds(self) -> float:
        return self._sum + self._late()

    def _late(self) -> float:
        late = monotonic() - self._next
        return late if late > _USUAL else 0.0

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self._next - monotonic()))
            self._sum += self._late()
            self._next = monotonic() + _TICK


STOP_SECONDS = 8
"""In which a service is promised to end."""


def exit_status(process: subprocess.Popen[Any], within: float = STOP_SECONDS) -> int:
    """Wait for the end of a process; return its exit status.

    It may take so many seconds, beside those in which it waited for a processor.
    """
    began, before = monotonic(), waited_for_processor(process.pid)
    waited = before
    while process.poll() is None:
        waited = max(waited, waited_for_processor(process.pid))
        if monotonic() - began - (waited - before) > within:
            process.kill()
            raise AssertionError(f"process {process.args!r} has not ended within {within} s")
        sleep(0.01)
    return process.returncode


def waited_for_processor(pid: int) -> float:
    """Return for how many seconds all threads of a process could run and did not; Linux counts."""
    seconds = 0.0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has ended meanwhile
            seconds += int(path.read_text().split()[1]) / 1e9
    return seconds
