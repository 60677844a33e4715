"""What a fleet should know of the requests of one user: the faults they met, and its journal."""

import re
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

from pisync.model.requests.fault import FaultRule, StatusFault
from pisync.model.requests.fault_draw import CallOfUser, MetFault, draw_fault
from tests.fuzz.caller import Reply

USER = "tester"
_CALLS = (
    ("POST", re.compile("/devices/([0-9]+)/sync"), "sync"),
    ("GET", re.compile("/devices/([0-9]+)"), "device"),
    ("POST", re.compile("(/devices/sync)"), "bulk"),
    ("GET", re.compile("/(devices|errors|stats)"), ""),
)


class Noted(NamedTuple):
    """A request as the journal should have it; in the order of its fields there."""

    call: str
    path: str
    device_id: int | None
    status: int | None
    fault: str | None
    attempt: int | None


class RequestsTwin:
    """A fleet's rules, their hits, and its journal. It is told of each request."""

    def __init__(self) -> None:
        self.size = 1000
        self.forget()
        self.set_rules(())

    def forget(self) -> None:
        """Go back to the beginning, as a reset does; rules stay."""
        self.journal: list[Noted] = []
        self.ledger: Counter[tuple[str, str]] = Counter()
        self._begin_counting()

    def without_journal(self) -> "RequestsTwin":
        """Return a twin of what a snapshot has of it: all but the requests in the journal."""
        copied = deepcopy(self)
        copied.journal.clear()
        return copied

    def _begin_counting(self) -> None:
        self._earlier: Counter[CallOfUser] = Counter()
        self.hits: Counter[int] = Counter()

    def set_rules(self, rules: Sequence[FaultRule]) -> None:
        self.rules = tuple(rules)
        self._begin_counting()

    @property
    def kept(self) -> list[Noted]:
        """What the journal should show, newest first."""
        return self.journal[::-1]

    def resize(self, size: int) -> None:
        self.size = size
        self._trim()

    def _trim(self) -> None:
        # What is gone does not come back with another size.
        del self.journal[: max(0, len(self.journal) - self.size)]

    def note(self, method: str, path: str, base: str, reply: Reply, seed: int) -> MetFault | None:
        """Take note of a request; return the fault that it should have met."""
        call, device_id = _call(method, path.removeprefix(base).partition("?")[0])
        met = None
        if reply.is_good or reply.fault is not None:
            met = self._meet(CallOfUser(call, device_id or 0, USER), seed)
        kind = None if met is None else met.fault.kind
        attempt = reply.headers.get("Pisync-Attempt")
        self.journal.append(
            Noted(
                call,
                path.partition("?")[0],
                device_id,
                reply.status or None,
                kind,
                None if attempt is None else int(attempt),
            )
        )
        self._trim()
        expected = met.fault.status if met and isinstance(met.fault, StatusFault) else 0
        assert reply.fault == (kind and (kind, expected)), (method, path, met, reply)
        return met

    def _meet(self, call: CallOfUser, seed: int) -> MetFault | None:
        if not any(rule.is_about(call.call, call.device_id) for rule in self.rules):
            return None
        met = draw_fault(seed, self.rules, call, self._earlier[call])
        self._earlier[call] += 1
        if met is not None:
            self.hits[met.rule] += 1
            self.ledger["after" if met.is_after else "before", met.fault.kind] += 1
        return met


def _call(method: str, path: str) -> tuple[str, int | None]:
    for of, pattern, name in _CALLS:
        if of == method and (found := pattern.fullmatch(path)):
            device_id = int(found[1]) if found[1].isdecimal() else None
            return name or found[1], device_id
    raise AssertionError(path)
