"""Timestamps: whole microseconds since 1970-01-01 UTC inside, RFC 3339 outside.

What is written has one form, `yyyy-MM-ddTHH:mm:ss.mmmuuuZ`: always six digits of fraction, always
`Z`. What is read may have any form that RFC 3339 gives a moment, as other languages write it. Where
a fleet's first data are listed, a moment may also be relative: `now`, `now-90s`, `now-2h`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000_000
"""Microseconds in a second."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = "(?:[01][0-9]|2[0-3])"
_FORM = re.compile(
    rf"(?P<day>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[Tt](?P<time>{_HOUR}:[0-9]{{2}}:[0-9]{{2}})"
    r"(?:\.(?P<fraction>[0-9]{1,9}))?"
    rf"(?:[Zz]|(?P<sign>[+-])(?P<hours>{_HOUR}):(?P<minutes>[0-5][0-9]))"
)


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

    Raises:
        OverflowError: The moment lies outside the years 1 to 9999.
    """
    return render_once(moment)


def render_once(moment: int) -> str:
    """Do so for a moment that is hardly written again.

    Raises:
        OverflowError: The moment lies outside the years 1 to 9999.
    """
    # Consecutive timestamps share their second: the calendar is computed once for each. An f-string
    # takes a third longer.
    return "%s.%06dZ" % (_whole_second(moment // SECOND), moment % SECOND)  # noqa: UP031


def parse(text: str) -> int:
    """Read a timestamp; return microseconds since the epoch.

    It may have up to nine digits of fraction, of which those beyond the sixth are dropped, and an
    offset from UTC in place of `Z`.

    Raises:
        ValueError: The text has another form, or names a day that the calendar does not have or a
            moment outside the years 1 to 9999 in UTC.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(f"not a timestamp: {text!r}")
    second = _microseconds(datetime.fromisoformat(f"{form['day']}T{form['time']}Z"))
    fraction = int((form["fraction"] or "").ljust(6, "0")[:6])
    moment = second + fraction - _offset(form)
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"outside the years 1 to 9999: {text!r}")
    return moment


def _offset(form: re.Match[str]) -> int:
    """Return by how many microseconds the local time is ahead of UTC."""
    if form["sign"] is None:
        return 0
    minutes = 60 * int(form["hours"]) + int(form["minutes"])
    return (minutes if form["sign"] == "+" else -minutes) * 60 * SECOND


RELATIVE = "now(?:-(?:0|[1-9][0-9]{0,11})[smhdw])?"
"""The regular expression of a relative moment."""
MAX_AGE_DAYS = -EARLIEST // (24 * 3600 * SECOND)
"""How long ago a relative moment may be, so that it lies in the year 1 or later for any present."""
_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""Seconds by unit, the longest first."""


@dataclass(frozen=True, slots=True)
class RelativeMoment:
    """So many seconds before the present, whenever that is."""

    age: int

    def at(self, now: int) -> int:
        """Return the moment for a present, both in microseconds since the epoch."""
        return now - self.age * SECOND

    def __str__(self) -> str:
        """Write it in the longest unit that has no remainder: `now-2h`."""
        if not self.age:
            return "now"
        unit = next(unit for unit, seconds in _UNITS.items() if not self.age % seconds)
        return f"now-{self.age // _UNITS[unit]}{unit}"


Moment = int | RelativeMoment
"""A moment in microseconds since the epoch, or one that moves with the present."""


# Most devices of a list share theirs with others.
@lru_cache(maxsize=4096)
def parse_relative(text: str) -> RelativeMoment:
    """Read a relative moment.

    Raises:
        ValueError: The text has another form.
        OverflowError: It is more than `MAX_AGE_DAYS` ago.
    """
    if not re.fullmatch(RELATIVE, text):
        raise ValueError(f"not a relative moment: {text!r}")
    age = int(text[4:-1] or 0) * _UNITS.get(text[-1], 0)
    if age > MAX_AGE_DAYS * _UNITS["d"]:
        raise OverflowError(f"too long ago: {text!r}")
    return RelativeMoment(age)


def from_seconds(seconds: float) -> int:
    """Turn a duration in seconds into whole microseconds, rounded to the nearest."""
    return round(seconds * SECOND)
