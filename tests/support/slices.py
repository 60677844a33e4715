"""How long the event loop, or a thread that holds the interpreter, lets nobody else run."""

import asyncio
import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter, sleep, thread_time
from types import TracebackType
from typing import Any, NamedTuple, Self

from pisync.concurrency import garbage

LIMIT = 0.02
"""Seconds that a slice may take, whatever the size of what it is a slice of."""
_REFERENCE_STEPS = 800_000
"""Steps of a loop in Python that take `LIMIT` on the machine for which it was chosen."""
_PERIOD = 0.005


_NOISE = 4
"""So much more may be measured than was taken: the processor time of a virtual machine has that of
its host within it, and differs by as much from one moment to the next."""
_UNCERTAIN = 2.5
"""A thread that could not run may have waited for a processor rather than for the interpreter,
which can't be told apart on a machine that is throttled: so much more is allowed there."""


class _Thread(NamedTuple):
    """Seconds for which a thread has had a processor, and could have had one."""

    used: float
    waited: float


class Slice(NamedTuple):
    """Seconds in which nobody else could run, and who ran."""

    seconds: float
    who: str


class SliceWatch:
    """Watches every callback of the event loop, and how long a thread waits for the interpreter.

    Both are measured by processor time, since what else the machine does is no matter: that of a
    callback, and that of the busiest thread while another could not run. How fast the machine is
    just then is measured, too, and what is allowed grows with it.
    """

    def __init__(self, kept: int = 5) -> None:
        self._kept = kept
        self._slices: list[Slice] = []
        self._reference = 0.0
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self._original = asyncio.Handle._run  # noqa: SLF001 - what every callback passes
        asyncio.Handle._run = self._timed(self._original)  # type: ignore[method-assign, assignment]  # noqa: SLF001 - a function becomes a method
        self._thresholds = gc.get_threshold()
        # As the service has it; what the tests have made before is none of its.
        gc.collect()
        garbage.tune()
        self._measure_reference()
        gc.callbacks.append(self._on_collection)
        self._sampler = threading.Thread(target=self._sample, name="slices")
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._sampler.join()
        self._measure_reference()
        asyncio.Handle._run = self._original  # type: ignore[method-assign]  # noqa: SLF001
        gc.callbacks.remove(self._on_collection)
        gc.unfreeze()
        gc.set_threshold(*self._thresholds)

    @property
    def limit(self) -> float:
        """Return how many seconds are allowed on the machine as it is."""
        return _NOISE * max(LIMIT, self._reference)

    @property
    def longest(self) -> list[Slice]:
        """Return the longest slices, the longest first."""
        return sorted(self._slices, reverse=True)

    @property
    def too_long(self) -> list[Slice]:
        """Return those of the longest that were longer than is allowed."""
        return [each for each in self.longest if each.seconds > self.limit]

    def _measure_reference(self) -> None:
        began = thread_time()
        for _ in range(_REFERENCE_STEPS):
            pass
        self._reference = max(self._reference, thread_time() - began)

    def _timed(self, run: Callable[[asyncio.Handle], None]) -> Callable[[asyncio.Handle], None]:
        def timed(handle: asyncio.Handle) -> None:
            began = thread_time()
            run(handle)
            seconds = thread_time() - began
            if seconds > LIMIT / 4:
                self._note(seconds, _name_of(handle))

        return timed

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._collection_began = thread_time()
        else:
            seconds = thread_time() - self._collection_began
            if seconds > LIMIT / 4:
                self._note(seconds, f"the garbage collector, generation {info['generation']}")

    def _note(self, seconds: float, who: str) -> None:
        self._slices = sorted([*self._slices, Slice(seconds, who)], reverse=True)[: self._kept]

    def _sample(self) -> None:
        while not self._is_over.is_set():
            before = _threads()
            began = perf_counter()
            sleep(_PERIOD)
            gap = perf_counter() - began - _PERIOD
            if gap > LIMIT:
                held = _held_of(gap, before, _threads())
                if held > _UNCERTAIN * LIMIT / 2:
                    self._note(held / _UNCERTAIN, f"a thread held the interpreter for {held:.3f} s")


def _held_of(gap: float, before: dict[str, _Thread], after: dict[str, _Thread]) -> float:
    """Return for how much of a gap, at least, a thread has held the interpreter."""
    used = [since.used - before[name].used for name, since in after.items() if name in before]
    waited = [since.waited - before[name].waited for name, since in after.items() if name in before]
    return min(gap - max(waited, default=0.0), max(used, default=0.0))


def _threads() -> dict[str, _Thread]:
    """Return what each thread has had of the processor; Linux counts."""
    threads = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has ended meanwhile
            used, waited, _ = map(int, path.read_text().split())
            threads[path.parent.name] = _Thread(used / 1e9, waited / 1e9)
    return threads


def _name_of(handle: asyncio.Handle) -> str:
    callback = getattr(handle, "_callback", None)
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        stack = owner.get_stack(limit=1)
        place = f" at {stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else ""
        return f"{owner.get_coro()!r}{place}"
    return repr(callback)
