"""Requests that are safe to repeat: their idempotency keys, and the answers remembered for them."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import orjson

from pisync.model.device import Device, Pending
from pisync.model.outcome import PENDING
from pisync.model.sync import SyncDecision, SyncResult
from pisync.model.timestamp import SECOND

KEPT: Final = 24 * 3600 * SECOND
"""Microseconds for which an answer is remembered, by the wall clock."""
MAX_KEYS: Final = 100_000
"""How many keys a fleet remembers; the oldest go first."""

_DIGEST: Final = 16
"""Bytes of a digest: two of anything that anyone sends differ."""


class KeyedRequest(NamedTuple):
    """A request with an idempotency key, by digests: they are short, and tell nothing."""

    key: bytes
    """Of the user and the key."""
    content: bytes
    """Of path and body."""

    @classmethod
    def of(cls, user: str, key: str, path: str, body: bytes = b"") -> "KeyedRequest":
        """Return what a user's request is remembered by."""
        # No key and no path has a NUL, so that no two pairs come to the same text.
        return cls(_digest(key, user.encode()), _digest(path, body))


class RememberedAnswer(NamedTuple):
    """What is remembered of a request with an idempotency key."""

    content: bytes
    """The digest of the request's path and body."""
    answer: bytes
    """What to answer, as whoever answers writes it down; of a call under way, what is done."""
    steps: int
    """How many transactions it has taken so far."""
    is_complete: bool
    """Whether that is the whole answer."""
    is_fresh: bool = False
    """Whether another process may still be at work on it."""


class KeyedStep(NamedTuple):
    """One transaction of a request with an idempotency key, and what is remembered with it.

    Attributes:
        request: The request.
        number: The number of the step, from 1.
        answer: Returns the answer to remember, given what became of the step's devices, and whether
            it is complete; None to remember nothing. It may be called more than once.
    """

    request: KeyedRequest
    number: int
    answer: Callable[[Sequence[SyncResult]], tuple[bytes, bool] | None]

    def follows(self, known: RememberedAnswer) -> bool:
        """Return whether the step comes next after what is remembered."""
        is_same = known.content == self.request.content and not known.is_complete
        return is_same and known.steps + 1 == self.number

    def remembered(self, results: Sequence[SyncResult]) -> RememberedAnswer | None:
        """Return what to remember, given what became of the step's devices."""
        answer = self.answer(results)
        if answer is None:
            return None
        text, is_complete = answer
        return RememberedAnswer(self.request.content, text, self.number, is_complete)


def accepted_device(results: Sequence[SyncResult]) -> tuple[bytes, bool] | None:
    """Return what to remember of the sync of one device, if it was accepted: a `KeyedStep.answer`.

    It is the device as it was answered, pending.
    """
    (result,) = results
    if result.device is None or result.decision not in (SyncDecision.STARTED, SyncDecision.JOINED):
        return None
    device_id, synced, _, _, attempted, attempt, _ = result.device
    return orjson.dumps((device_id, synced, attempted, attempt)), True


def read_device(remembered: RememberedAnswer) -> Device:
    """Return the device whose sync was accepted, as it was then."""
    device_id, synced, attempted, attempt = orjson.loads(remembered.answer)
    return Device(device_id, synced, PENDING, None, attempted, attempt, Pending(None, None))


def _digest(first: str, rest: bytes) -> bytes:
    return blake2b(first.encode() + b"\0" + rest, digest_size=_DIGEST).digest()
