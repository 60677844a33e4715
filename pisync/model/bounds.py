"""What a process may grow to: every bound over all fleets and all clients, and what is held of it.

docs/limits.md says what happens at each of them, and `/metrics` how much is held.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

_MEBIBYTE: Final = 1024 * 1024


class Bound(NamedTuple):
    """How much there may be of something in one process, whoever it belongs to."""

    name: str
    """As `/metrics` has it."""
    size: int
    noun: str
    """What is counted, as messages have it."""

    def __str__(self) -> str:
        return f"{self.size} {self.noun}"


# Settings change these.
DEVICES: Final = Bound("devices", 10_000_000, "devices")
CONNECTIONS: Final = Bound("connections", 20_000, "connections")
STREAMS: Final = Bound("streams", 10_000, "event streams and calls that wait")

BODY_BYTES: Final = Bound("body_bytes", 128 * _MEBIBYTE, "bytes of bodies under way")
EVENTS: Final = Bound("events", 100_000, "events that streams may still read")
HEAD_BYTES: Final = Bound("head_bytes", 16 * _MEBIBYTE, "bytes of header and request lines")
RENDERED_PAGES: Final = Bound("rendered_pages", 128, "pages of devices")
REMEMBERED_TOKENS: Final = Bound("remembered_tokens", 20_000, "tokens, good and bad ones")
WAITING_PASSWORDS: Final = Bound("waiting_passwords", 500, "passwords that wait to be hashed")
WAITING_BULK_SYNCS: Final = Bound("waiting_bulk_syncs", 500, "bulk syncs that wait")

# Of fleets, where the store keeps them in this process.
FLEETS: Final = Bound("fleets", 50_000, "fleets")
SCRIPT_STEPS: Final = Bound(
    "script_steps", 500_000, "steps of scripts, and outcomes and phases of profiles beyond ten each"
)
TEXT_BYTES: Final = Bound("text_bytes", 64 * _MEBIBYTE, "bytes of error messages that differ")
FAULT_COUNTERS: Final = Bound(
    "fault_counters", 500_000, "devices in rules for faults, and counters of requests for them"
)
JOURNAL_ENTRIES: Final = Bound("journal_entries", 300_000, "requests in journals")
ERROR_LOGS: Final = Bound("error_logs", 1_000_000, "error logs")
ERROR_PAGE_LOGS: Final = Bound("error_page_logs", 200_000, "error logs on pages that are kept")
ANSWER_BYTES: Final = Bound(
    "answer_bytes", 64 * _MEBIBYTE, "bytes of answers remembered for idempotency keys"
)


class Budget:
    """What is held of a bound in this process."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.used = 0
        self.on_overflow: Callable[[], object] = lambda: None
        """Called when more is held than there may be, where nothing is refused: to make room."""

    def in_use(self) -> int:
        """Return how much is held."""
        return self.used

    def has_room(self, amount: int = 1) -> bool:
        """Return whether so much more may be held."""
        return self.used + amount <= self.bound.size


class Share:
    """What one fleet holds of a budget. It counts from `enter` to `leave`, and not elsewhere."""

    __slots__ = ("_budget", "_counts", "held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._counts = False
        self.held = 0

    def change(self, by: int) -> None:
        """Hold so much more or less."""
        self.held += by
        if self._counts:
            budget = self._budget
            budget.used += by
            if by > 0 and budget.used > budget.bound.size:
                budget.on_overflow()

    def enter(self) -> None:
        """Count what is held, and what will be."""
        self._counts = True
        self._budget.used += self.held

    def leave(self) -> None:
        """Give all of it back."""
        if self._counts:
            self._counts = False
            self._budget.used -= self.held
