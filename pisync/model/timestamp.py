"""Timestamps: whole microseconds since 1970-01-01 UTC inside, one textual form outside.

The textual form is `yyyy-MM-ddTHH:mm:ss.mmmuuuZ`: always six digits of fraction, always `Z`.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000_000
"""Microseconds in a second."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


EARLIEST = _microseconds(datetime.min.replace(tzinfo=UTC))
LATEST = _microseconds(datetime.max.replace(tzinfo=UTC))
"""The last microsecond of the year 9999: no fleet's time goes past it."""


@lru_cache(maxsize=4096)
def _whole_second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


# A device that succeeded shows a moment twice, one that nobody has touched that of its fleet.
@lru_cache(maxsize=16384)
def render(moment: int) -> str:
    """Write microseconds since the epoch in the one textual form.

    Raises OverflowError outside the years 1 to 9999.
    """
    second, fraction = divmod(moment, SECOND)
    # Consecutive timestamps share their second: the calendar is computed once for each.
    return f"{_whole_second(second)}.{fraction:06d}Z"


def parse(text: str) -> int:
    """Read the one textual form; return microseconds since the epoch.

    Raises ValueError for any other form and for days that the calendar does not have.
    """
    if not _FORM.fullmatch(text):
        raise ValueError(f"not of the form yyyy-MM-ddTHH:mm:ss.mmmuuuZ: {text!r}")
    return _microseconds(datetime.fromisoformat(text))


def from_seconds(seconds: float) -> int:
    """Turn a duration in seconds into whole microseconds, rounded to the nearest."""
    return round(seconds * SECOND)
