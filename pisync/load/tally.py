"""What became of the requests: by kind, by status, by time."""

import math
from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus

_STEPS = 100
"""Steps of a factor e: each is 1 % longer than the one before."""
_SHORTEST = 1e-6


class Latencies:
    """Times in seconds, to 1 %, in a space that does not grow with their number."""

    def __init__(self) -> None:
        self.steps: Counter[int] = Counter()
        """How many there are of each length, to a step."""
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count a time."""
        self.steps[math.ceil(math.log(max(seconds, _SHORTEST) / _SHORTEST) * _STEPS)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def merge(self, others: Iterable["Latencies"]) -> "Latencies":
        """Count others' times too; return itself."""
        for other in others:
            self.steps.update(other.steps)
            self.count += other.count
            self.longest = max(self.longest, other.longest)
        return self

    def percentile(self, percent: float) -> float:
        """Return the time that so many percent do not exceed; 0 if there are none."""
        wanted = math.ceil(self.count * percent / 100)
        counted = 0
        for step in sorted(self.steps):
            counted += self.steps[step]
            if counted >= wanted:
                return min(self.longest, _SHORTEST * math.exp(step / _STEPS))
        return 0.0


class Answers:
    """How the requests of one kind were answered; status None: not at all."""

    def __init__(self) -> None:
        self.statuses: Counter[int | None] = Counter()
        self.latencies = Latencies()

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

    def latencies(self) -> Latencies:
        """Return those of all requests."""
        return Latencies().merge(each.latencies for each in self.actions.values())
