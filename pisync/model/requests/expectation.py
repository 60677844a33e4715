"""Whether a journal has the requests that somebody expects, and what came closest to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pisync.model.requests.journal import JournaledRequest

MAX_EXPECTATIONS = 100
MAX_NEAREST: Final = 5
"""How many requests are shown for one expectation."""
_FIELDS: Final = ("call", "device_id", "user", "status", "fault", "attempt")
"""What requests are compared by; the earlier ones tell more of what was meant."""

NO_ANSWER: Final = 0
"""Stands for the status of a request without an answer."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Requests that are expected, at least and at most so many; a field that is None is open."""

    call: str | None = None
    device_id: int | None = None
    user: str | None = None
    status: int | None = None
    fault: str | None = None
    attempt: int | None = None
    at_least: int = 0
    at_most: int | None = None

    def wanted(self) -> dict[str, object]:
        """Return the fields that are not open, and the bounds."""
        fields = {name: getattr(self, name) for name in _FIELDS if getattr(self, name) is not None}
        if self.status == NO_ANSWER:
            fields["status"] = None
        at_most = {} if self.at_most is None else {"at_most": self.at_most}
        return {**fields, "at_least": self.at_least, **at_most}

    @property
    def bounds(self) -> str:
        """How many requests are expected, in words."""
        if self.at_most is None:
            return f"at least {self.at_least}"
        if self.at_least == self.at_most:
            return "none" if not self.at_most else f"exactly {self.at_most}"
        return f"{self.at_least} to {self.at_most}" if self.at_least else f"at most {self.at_most}"


class VerifyProblem(NamedTuple):
    """An expectation that is not met: how many requests were found, and which came closest."""

    place: int
    found: int
    message: str
    expectation: Expectation
    nearest: Sequence[JournaledRequest]


def verify(
    expectations: Sequence[Expectation], requests: Sequence[JournaledRequest], *, in_order: bool
) -> list[VerifyProblem]:
    """Return the expectations that requests, newest first, do not meet.

    `in_order` expects the first request of each not before the first of those named before it.
    """
    problems: dict[int, VerifyProblem] = {}
    reached = 0
    for place, expectation in enumerate(expectations):
        found = _found(expectation, requests)
        enough = len(found) >= expectation.at_least
        too_many = expectation.at_most is not None and len(found) > expectation.at_most
        if too_many or not enough:
            nearest = found[:MAX_NEAREST] if enough else _nearest(expectation, requests)
            message = f"Found {len(found)} of these requests, expected {expectation.bounds}."
            problems[place] = VerifyProblem(place, len(found), message, expectation, nearest)
        if in_order and found:
            first = found[-1]
            if first.number < reached and place not in problems:
                message = f"The first is number {first.number}, before number {reached}."
                problems[place] = VerifyProblem(place, len(found), message, expectation, [first])
            reached = max(reached, first.number)
    return [problems[place] for place in sorted(problems)]


def _found(
    expectation: Expectation, requests: Sequence[JournaledRequest]
) -> list[JournaledRequest]:
    wanted = _wanted(expectation)
    return [request for request in requests if all(_has(request, *each) for each in wanted)]


def _nearest(
    expectation: Expectation, requests: Sequence[JournaledRequest]
) -> list[JournaledRequest]:
    """Return the requests that agree in most fields; among equals the newest first."""
    wanted = _wanted(expectation)

    def distance(request: JournaledRequest) -> tuple[int, list[bool]]:
        differs = [not _has(request, *each) for each in wanted]
        return sum(differs), differs

    return sorted(requests, key=distance)[:MAX_NEAREST]


def _wanted(expectation: Expectation) -> list[tuple[str, object]]:
    return [
        (name, getattr(expectation, name))
        for name in _FIELDS
        if getattr(expectation, name) is not None
    ]


def _has(request: JournaledRequest, name: str, value: object) -> bool:
    found = getattr(request.entry, name)
    return found == value or (name == "status" and value == NO_ANSWER and found is None)
