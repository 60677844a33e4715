"""Signals that wait, where one would get lost."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What ends a server."""


@contextmanager
def held_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT wait until this is over, or until a server has handlers for them.

    An exit that a handler raises is lost where an import lets go of a lock or where an event loop
    starts, and then nothing ends the server. Windows has no such signals.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
