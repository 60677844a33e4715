"""Faults of HTTP itself: what they do to an answer, and the rules for which requests meet one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from pisync.model.plans.delay import ConstantDelay, Delay, LognormalDelay, UniformDelay

MAX_RULES = 100
MAX_FIRST = 1_000_000
MAX_RETRY_AFTER = 86_400
"""Seconds."""
MAX_DRIP_BYTES = 65_536
MAX_DRIP_PAUSE = 60.0
"""Seconds between two pieces of an answer."""
HANG_SECONDS = 300.0
FAULT_STATUSES: Final = (429, 500, 502, 503, 504)
MAX_REQUEST_COUNTERS = 100_000
"""Users, calls and devices of a fleet whose requests are counted; those beyond meet no fault."""

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class DelayFault:
    """The answer comes late."""

    kind: ClassVar = "delay"
    delay: Delay

    def parameters(self) -> Json:
        return {"delay": delay_as_json(self.delay)}


@dataclass(frozen=True, slots=True)
class StatusFault:
    """Another answer comes, as from a server or a proxy in trouble. `retry_after` is in seconds."""

    kind: ClassVar = "status"
    status: int
    retry_after: int | None = None

    def parameters(self) -> Json:
        retry_after = {} if self.retry_after is None else {"retry_after": self.retry_after}
        return {"status": self.status, **retry_after}


@dataclass(frozen=True, slots=True)
class ResetFault:
    """The connection is reset (RST)."""

    kind: ClassVar = "reset"

    def parameters(self) -> Json:
        return {}


@dataclass(frozen=True, slots=True)
class CloseFault:
    """The connection is closed without a byte."""

    kind: ClassVar = "close"

    def parameters(self) -> Json:
        return {}


@dataclass(frozen=True, slots=True)
class TruncateFault:
    """The whole head comes, then this share of the body, then the end of the connection."""

    kind: ClassVar = "truncate"
    share: float = 0.5

    def parameters(self) -> Json:
        return {"share": self.share}


@dataclass(frozen=True, slots=True)
class GarbageFault:
    """What comes is no HTTP."""

    kind: ClassVar = "garbage"

    def parameters(self) -> Json:
        return {}


@dataclass(frozen=True, slots=True)
class DripFault:
    """The right answer comes, so many bytes of its body every so many seconds."""

    kind: ClassVar = "drip"
    bytes: int = 10
    every: float = 0.1

    def parameters(self) -> Json:
        return {"bytes": self.bytes, "every": self.every}


@dataclass(frozen=True, slots=True)
class HangFault:
    """Nothing comes, until the client gives up or `HANG_SECONDS` have passed."""

    kind: ClassVar = "hang"

    def parameters(self) -> Json:
        return {}


Fault = (
    DelayFault
    | StatusFault
    | ResetFault
    | CloseFault
    | TruncateFault
    | GarbageFault
    | DripFault
    | HangFault
)
KINDS: Final = ("delay", "status", "reset", "close", "truncate", "garbage", "drip", "hang")
MUTE_KINDS: Final = frozenset(("reset", "close", "garbage", "hang"))
"""Faults that leave a request without an answer."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """Which requests meet a fault: a share of them, or the first of each user and device.

    `is_after` says that the call has done what it does, and only its answer suffers.
    """

    calls: tuple[str, ...]
    fault: Fault
    device_ids: frozenset[int] | None = None
    share: float = 1.0
    first: int | None = None
    is_after: bool = False

    def is_about(self, call: str, device_id: int) -> bool:
        """Return whether requests of a call on a device (0: on none) may meet the fault."""
        return call in self.calls and (self.device_ids is None or device_id in self.device_ids)

    @property
    def when(self) -> str:
        """`before` or `after` the call does what it does."""
        return "after" if self.is_after else "before"

    def as_json(self) -> Json:
        """Return the rule as clients send it."""
        devices = {} if self.device_ids is None else {"device_ids": sorted(self.device_ids)}
        often = {"share": self.share} if self.first is None else {"first": self.first}
        return {
            "calls": list(self.calls),
            **devices,
            **often,
            "fault": {"kind": self.fault.kind, **self.fault.parameters()},
            "when": self.when,
        }


def delay_as_json(delay: Delay) -> Json:
    """Return a distribution of delays as clients send it."""
    match delay:
        case ConstantDelay(seconds):
            return {"distribution": "constant", "seconds": seconds}
        case UniformDelay(least, most):
            return {"distribution": "uniform", "min": least, "max": most}
        case LognormalDelay(median, sigma, most):
            return {"distribution": "lognormal", "median": median, "sigma": sigma, "max": most}
