"""Header lines that have come before, and what they mean."""

import re
from collections import OrderedDict
from typing import Final, NamedTuple, TypeVar

from pisync.model.bounds import HEAD_BYTES
from pisync.model.fleet import DEFAULT_FLEET
from pisync.web.transport.recognition.targets import Target

MAX_BYTES: Final = HEAD_BYTES.size // 2
"""Bytes of header lines that are remembered, and as many of request lines."""
_OVERHEAD: Final = 512
"""Bytes that each takes besides, about."""
_MAX_SEEN: Final = 10_000
"""Of how many header lines it is known that they came once."""


_own_values = re.compile(
    rb"(\r\n(?:[Xx]-[Rr]equest-[Ii][Dd]|[Tt]raceparent): )([A-Za-z0-9._-]{1,128})(?=\r\n)"
)
"""Values that a client makes anew for each request; the first is as `is_request_id` has it."""

_Value = TypeVar("_Value")


Caller = tuple[str, str | None]
"""A token's user, and the client's `User-Agent`."""


class Head(NamedTuple):
    """What the header lines of a request mean."""

    token: str
    fleet: str | None
    """The fleet that a header names, or that the token is bound to."""
    caller: Caller
    cors: bytes
    """Lines for the answer's head, so that pages of the request's origin may read it."""

    def fleet_for(self, target: Target) -> str | None:
        """Return the fleet that a request acts on; None where it names two."""
        if self.fleet is None:
            return target.base_fleet or DEFAULT_FLEET
        return self.fleet if target.base_fleet in (None, self.fleet) else None


class Remembered(OrderedDict[bytes, _Value]):
    """What bytes mean; the oldest goes when there are too many."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        """Bytes that they take, about."""

    def keep(self, key: bytes, value: _Value) -> None:
        """Remember what bytes mean."""
        if key not in self:
            self[key] = value
            self.size += len(key) + _OVERHEAD
        while self.size > MAX_BYTES:
            self.size -= len(self.popitem(last=False)[0]) + _OVERHEAD


class SeenOnce:
    """The hashes of header lines that came once: what comes again is worth its place."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def __len__(self) -> int:
        return len(self._hashes)

    def is_new(self, lines: bytes) -> bool:
        """Note header lines; return whether they came for the first time."""
        head_hash = hash(lines)
        if head_hash in self._hashes:
            return False
        if len(self._hashes) >= _MAX_SEEN:
            self._hashes.clear()
        self._hashes.add(head_hash)
        return True


def without_own_values(lines: bytes) -> tuple[bytes, str | None]:
    """Return header lines without values that belong to one request, and its id, if it has one."""
    parts = _own_values.split(lines)
    if len(parts) == 1:
        return lines, None
    values = zip(parts[1::3], parts[2::3], strict=True)
    ids = [value.decode() for name, value in values if name[2:].lower() == b"x-request-id: "]
    del parts[2::3]
    # By the lengths, where values were is known: no other lines come to the same bytes.
    lengths = b" ".join([b"%d" % len(part) for part in parts])
    return lengths + b"".join(parts), ids[-1] if ids else None
