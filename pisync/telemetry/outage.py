"""Logging that something fails, and that it works again: when that changes, not each time."""

import time
from collections.abc import Callable

from pisync.telemetry.logs import get_logger

_REMINDER = 60.0
"""Seconds until a failure that lasts is logged again."""
_MAX_REASONS = 10
"""How many different reasons of one outage are logged at once."""

_log = get_logger()


class Outage:
    """What is failing, since when, and how often.

    It is over with the first success that comes `quiet` seconds after the last failure.
    """

    def __init__(
        self,
        failing: str,
        recovered: str,
        *,
        quiet: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the events to log. `clock` is in seconds."""
        self._failing = failing
        self._recovered = recovered
        self._quiet = quiet
        self._clock = clock
        self._failures = 0
        self._reasons: set[str] = set()

    def failed(self, reason: str) -> None:
        """Count a failure; log each new reason, and once a minute how many there were."""
        now = self._clock()
        if not self._failures:
            self._began = self._logged = now
        self._failures += 1
        self._last = now
        if reason not in self._reasons and len(self._reasons) < _MAX_REASONS:
            self._reasons.add(reason)
            _log.error(self._failing, reason=reason)
        elif now - self._logged >= _REMINDER:
            self._logged = now
            _log.error(self._failing, reason=reason, **self._extent(now))

    def succeeded(self) -> None:
        """Log the end of an outage, if there was one, with how often it failed and how long."""
        if self._failures:
            now = self._clock()
            if now - self._last >= self._quiet:
                _log.info(self._recovered, **self._extent(now))
                self._failures = 0
                self._reasons.clear()

    def _extent(self, now: float) -> dict[str, float]:
        return {"failures": self._failures, "seconds": round(now - self._began, 1)}
