"""What became of the requests: by kind, by status, by time."""

from collections import Counter
from http import HTTPStatus

from pisync.telemetry.histogram import TO_1_PERCENT, Histogram


class Answers:
    """How the requests of one kind were answered; status None: not at all."""

    def __init__(self) -> None:
        self.statuses: Counter[int | None] = Counter()
        self.latencies = Histogram(TO_1_PERCENT)

    def add(self, status: int | None, seconds: float) -> None:
        """Count a request."""
        self.statuses[status] += 1
        self.latencies.add(seconds)

    @property
    def requests(self) -> int:
        """How many were made."""
        return self.statuses.total()

    @property
    def errors(self) -> int:
        """How many had no answer or an error; that a device is pending already (409) is none."""
        return sum(count for status, count in self.statuses.items() if _is_error(status))


def _is_error(status: int | None) -> bool:
    return status is None or (status >= HTTPStatus.BAD_REQUEST and status != HTTPStatus.CONFLICT)


class Tally:
    """What the clients of a run have seen; `attempts` are the syncs that they were promised."""

    def __init__(self) -> None:
        self.actions: dict[str, Answers] = {}
        self.attempts: set[tuple[int, int]] = set()
        """By device and number."""
        self.seconds = 0.0

    def add(self, action: str, status: int | None, seconds: float) -> None:
        """Count a request."""
        answers = self.actions.get(action)
        if answers is None:
            answers = self.actions[action] = Answers()
        answers.add(status, seconds)

    @property
    def requests(self) -> int:
        """How many were made."""
        return sum(each.requests for each in self.actions.values())

    @property
    def errors(self) -> int:
        """How many were answered with an error, or not at all."""
        return sum(each.errors for each in self.actions.values())

    @property
    def rate(self) -> float:
        """Answered requests a second, without errors."""
        return (self.requests - self.errors) / self.seconds if self.seconds else 0.0

    @property
    def error_rate(self) -> float:
        """Errors in percent."""
        return 100 * self.errors / self.requests if self.requests else 0.0

    def latencies(self) -> Histogram:
        """Return those of all requests."""
        return Histogram(TO_1_PERCENT).merge(each.latencies for each in self.actions.values())
