"""Whether a journal has the requests that somebody expects, and what came closest to them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
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
    indexes: dict[tuple[str, ...], _Index] = {}
    for place, expectation in enumerate(expectations):
        wanted = _wanted(expectation)
        # Expectations that name the same fields share a look at all requests.
        index = indexes.get(fields := tuple(wanted))
        if index is None:
            index = indexes[fields] = _index(fields, requests)
        values = tuple(wanted.values())
        found = index.get(values, [])
        enough = len(found) >= expectation.at_least
        too_many = expectation.at_most is not None and len(found) > expectation.at_most
        if too_many or not enough:
            nearest = found[:MAX_NEAREST] if enough else _nearest(values, index)
            message = f"Found {len(found)} of these requests, expected {expectation.bounds}."
            problems[place] = VerifyProblem(place, len(found), message, expectation, nearest)
        if in_order and found:
            first = found[-1]
            if first.number < reached and place not in problems:
                message = f"The first is number {first.number}, before number {reached}."
                problems[place] = VerifyProblem(place, len(found), message, expectation, [first])
            reached = max(reached, first.number)
    return [problems[place] for place in sorted(problems)]


_Index = Mapping[tuple[object, ...], Sequence[JournaledRequest]]
"""Requests by what they have in some fields."""


def _wanted(expectation: Expectation) -> dict[str, object]:
    """Return the fields that are not open, with what a request must have in them."""
    wanted = {name: getattr(expectation, name) for name in _FIELDS}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return wanted | ({"status": None} if expectation.status == NO_ANSWER else {})


def _index(fields: Sequence[str], requests: Sequence[JournaledRequest]) -> _Index:
    index = defaultdict[tuple[object, ...], list[JournaledRequest]](list)
    for request in requests:
        entry = request.entry
        index[tuple([getattr(entry, name) for name in fields])].append(request)
    return index


def _nearest(wanted: tuple[object, ...], index: _Index) -> list[JournaledRequest]:
    """Return the requests that agree in most fields; among equals the newest first."""

    def distance(values: tuple[object, ...]) -> tuple[int, list[bool]]:
        differs = [value != one for value, one in zip(values, wanted, strict=True)]
        return sum(differs), differs

    nearest = list[JournaledRequest]()
    for _, equally_far in groupby(sorted(index, key=distance), distance):
        found = chain.from_iterable(index[values][:MAX_NEAREST] for values in equally_far)
        nearest += sorted(found, reverse=True)
        if len(nearest) >= MAX_NEAREST:
            break
    return nearest[:MAX_NEAREST]
