"""The garbage collector of a process that does nothing but serve."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing meanwhile, and pass over what was made: modules stay.

    To look through them again and again took a tenth of a start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def tune() -> None:
    """Let the collector look at little, and seldom."""
    # What a start has made stays: looking through it again and again held up requests under load,
    # for 40 ms each time.
    gc.freeze()
    # Requests make many objects and few cycles: to look for those after every 700 objects took a
    # fifth of the rate of bulk syncs. What a collection looks at, 80,000 objects, takes 10 ms.
    gc.set_threshold(20_000, 3, 33)


def set_aside() -> None:
    """Let the collector pass over what there is now, where it was tuned: a lot that stays."""
    if gc.get_freeze_count():
        gc.freeze()
