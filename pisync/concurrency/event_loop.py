"""Which event loop a server runs on."""

import asyncio
from collections.abc import Callable


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes a loop of uvloop, or None where there is no uvloop.

    Its time is the system's own, which tools that replace `time.monotonic` in tests don't move.
    """
    try:
        import uvloop  # noqa: PLC0415 - only a server needs it
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop
