"""What is measured: the requests, and the fleet that they go to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

DRAWN = 5_000
"""How many requests of a mixed workload are drawn; they go round."""


@dataclass(frozen=True)
class Workload:
    """Requests, sent in turn, to a fleet of so many devices.

    `headers` are those that they have beside the token. `changing` is one more header line, with
    `%s` where each request has a value of its own.
    """

    name: str
    title: str
    devices: int
    requests: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    changing: str = ""


def syncs(devices: int) -> list[str]:
    """Return syncs of devices drawn evenly."""
    draw = Random(7)
    return [f"POST /devices/{draw.randint(1, devices)}/sync" for _ in range(DRAWN)]


def _mix(devices: int) -> list[str]:
    draw = Random(11)
    requests = {"GET /devices?limit=10": 80, "sync": 15, "GET /errors?limit=10": 5}
    drawn = draw.choices([*requests], [*requests.values()], k=DRAWN)
    drawn_syncs = iter(syncs(devices))
    return [next(drawn_syncs) if each == "sync" else each for each in drawn]


LARGE = 100_000

WORKLOADS = (
    Workload("ten", "GET /devices, 10 devices", 10, ["GET /devices"]),
    Workload("thousand", "GET /devices?limit=1000", 1_000, ["GET /devices?limit=1000"]),
    Workload("page", "GET /devices?limit=100 of 100,000", LARGE, ["GET /devices?limit=100"]),
    Workload("errors", "GET /errors?limit=100", LARGE, ["GET /errors?limit=100"]),
    Workload("mix", "mix: 80 % page of ten, 15 % sync, 5 % errors", LARGE, _mix(LARGE)),
    Workload("sync", "POST /devices/{id}/sync over 100,000", LARGE, syncs(LARGE)),
)
SYNC = WORKLOADS[-1]
ON_SQLITE = replace(SYNC, name="sync-sqlite", title=f"{SYNC.title}, SQLite")
"""The same for a PiSync on SQLite, beside others that keep what they know in memory."""
