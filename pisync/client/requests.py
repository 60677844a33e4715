"""What the client under test sent: requests of the journal, and what is expected of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pisync.client.values import datetime_of, make

NO_ANSWER: Final = 0
"""In the place of a status that is expected: there was no answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client, as the journal has it. Without a `status` there was no answer."""

    number: int
    request_id: str
    received_at: datetime
    call: str
    method: str
    path: str
    device_id: int | None
    user: str
    user_agent: str | None
    status: int | None
    fault: str | None
    attempt: int | None
    seconds: float

    def __str__(self) -> str:
        """Write it on one line."""
        answered = "no answer" if self.status is None else str(self.status)
        fault = "" if self.fault is None else f", fault {self.fault}"
        attempt = "" if self.attempt is None else f", attempt {self.attempt}"
        return (
            f"#{self.number} {self.method} {self.path} by {self.user}: {answered}{attempt}{fault}"
        )


@dataclass(frozen=True, slots=True)
class ExpectedRequest:
    """Requests that are expected; a field that is None is open."""

    call: str
    device_id: int | None = None
    user: str | None = None
    status: int | None = None
    fault: str | None = None
    attempt: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as the API takes it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        expected = {name: value for name, value in fields.items() if value is not None}
        return expected | ({"status": None} if self.status == NO_ANSWER else {})


def sync(device_id: int | None = None, **more: Any) -> ExpectedRequest:
    """Expect syncs: of a device, perhaps by a `user`, with a `status`, a `fault`, an `attempt`.

    With `status=NO_ANSWER` they have got no answer.
    """
    return ExpectedRequest("sync", device_id, **more)


def device(device_id: int | None = None, **more: Any) -> ExpectedRequest:
    """Expect reads of a device; see `sync`."""
    return ExpectedRequest("device", device_id, **more)


def request(call: str, **more: Any) -> ExpectedRequest:
    """Expect requests of any call: sync, device, devices, errors, stats, events or bulk."""
    return ExpectedRequest(call, **more)


class NotVerified(AssertionError):
    """The journal does not have the requests that were expected; the text says what it has."""

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("\n".join(map(_explained, problems)))
        self.problems = problems


def _explained(problem: Mapping[str, Any]) -> str:
    wanted = {
        name: value for name, value in problem["wanted"].items() if not name.startswith("at_")
    }
    fields = ", ".join(f"{name}={value!r}" for name, value in wanted.items()) or "any request"
    nearest = [f"  {request_of(each)}" for each in problem["nearest"]]
    closest = ["Closest to it:", *nearest] if nearest else ["The journal is empty."]
    return "\n".join([f"Expected {fields}: {problem['message']}", *closest])


def request_of(body: Mapping[str, Any]) -> Request:
    """Return the request that a JSON object describes."""
    return make(Request, body, received_at=datetime_of(body["received_at"]))
