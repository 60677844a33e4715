"""What a run is to do, and what it must reach."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple


class Action(NamedTuple):
    """A kind of request; `{}` in its path is a device's id."""

    method: str
    path: str


SYNC: Final = "sync"
ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(
    {
        SYNC: Action("POST", "/devices/{}/sync"),
        "device": Action("GET", "/devices/{}"),
        "devices": Action("GET", "/devices?limit=100"),
        "errors": Action("GET", "/errors?limit=50"),
        "stats": Action("GET", "/stats"),
    }
)
DEFAULT_MIX: Final = "sync=50,device=30,devices=10,errors=5,stats=5"


class BadMix(ValueError):
    """A mix of requests that can't be had; the text says why."""


class Mix:
    """How often each kind of request is made, by weight."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._names = list(weights)
        self._weights = list(weights.values())

    @classmethod
    def parse(cls, text: str) -> "Mix":
        """Read `sync=50,device=30`.

        Raises:
            BadMix: A name or a weight is not valid.
        """
        weights: dict[str, float] = {}
        for part in text.split(","):
            name, _, weight = (each.strip() for each in part.partition("="))
            if name not in ACTIONS or name in weights:
                raise BadMix(f"{name!r}: must be one of {', '.join(ACTIONS)}, each once")
            if not (weight.isascii() and weight.isdigit() and len(weight) < 7):
                raise BadMix(f"{name}: must have a weight, a whole number, such as {name}=10")
            weights[name] = int(weight)
        if not any(weights.values()):
            raise BadMix("must have a weight above 0")
        return cls(weights)

    def choose(self, randomness: random.Random) -> str:
        """Draw the name of an action."""
        return randomness.choices(self._names, self._weights)[0]


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A run: where, for how many seconds, and with how many requests at a time.

    `rate` is in requests a second; without it, each connection asks again when it has its answer.
    An answer is waited for `timeout` seconds, and pending syncs afterwards for `wait` seconds. The
    fleet is named by a header or, `below_base_url`, by its base URL.
    """

    url: str
    fleet: str
    connections: int
    seconds: float
    mix: Mix
    rate: float | None = None
    timeout: float = 10.0
    wait: float = 60.0
    below_base_url: bool = False

    @property
    def target(self) -> str:
        """The URL below which the calls are that make the load."""
        return f"{self.url}/fleets/{self.fleet}" if self.below_base_url else self.url


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a run must keep to: milliseconds, percent, requests a second. None: no matter."""

    max_p99: float | None = None
    max_error_rate: float | None = None
    min_rate: float | None = None
