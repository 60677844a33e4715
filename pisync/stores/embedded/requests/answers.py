"""The answers that one fleet remembers for idempotency keys."""

from collections.abc import Iterable, Mapping
from itertools import islice
from struct import Struct
from typing import Any, NamedTuple

from pisync.model.bounds import Share
from pisync.model.requests.idempotency import KEPT, RememberedAnswer

_HEAD = Struct("<qq16si?")
_BYTES_BESIDES = 220
"""Bytes that an answer takes besides its own: its key, its head and its place, about."""
_LOOKED_AT = 1000
"""How many of the oldest are looked at, whether they are too old, when one is added."""


class AnswerRow(NamedTuple):
    """An answer as it is kept: numbers grow within a fleet; `made_at` is of the wall clock."""

    key: bytes
    number: int
    made_at: int
    remembered: RememberedAnswer

    @property
    def columns(self) -> tuple[object, ...]:
        """The columns of `tables.remembered_answers`, in its order, without the fleet's id."""
        content, answer, steps, is_complete, _ = self.remembered
        return self.number, self.key, content, answer, steps, is_complete, self.made_at

    @classmethod
    def read(cls, columns: Iterable[Any]) -> "AnswerRow":
        """Return the answer that is in these columns."""
        number, key, content, answer, steps, is_complete, made_at = columns
        remembered = RememberedAnswer(content, answer, steps, bool(is_complete))
        return cls(key, number, made_at, remembered)


class Answers:
    """Answers by key, the oldest first.

    Each is one string of bytes: a hundred thousand of them cost the garbage collector nothing.
    """

    def __init__(self, share: Share, max_keys: int) -> None:
        self._share = share
        self._max_keys = max_keys
        self._packed: dict[bytes, bytes] = {}
        self._newest = 0

    @property
    def container(self) -> dict[bytes, bytes]:
        """What holds many objects, for whoever frees them."""
        return self._packed

    def __len__(self) -> int:
        return len(self._packed)

    def find(self, key: bytes, now: int) -> RememberedAnswer | None:
        """Return what is remembered under a key at a time of the wall clock."""
        packed = self._packed.get(key)
        if packed is None:
            return None
        _, made_at, remembered = _unpacked(packed)
        return remembered if made_at > now - KEPT else None

    def rows(self, added: Mapping[bytes, RememberedAnswer], now: int) -> list[AnswerRow]:
        """Return how these answers are to be kept; one that changes keeps its number."""
        newest, rows = self._newest, []
        for key, remembered in added.items():
            known = self._packed.get(key)
            if known is not None and self.find(key, now) is not None:
                number = _unpacked(known)[0]
            else:
                number = newest = newest + 1
            rows.append(AnswerRow(key, number, now, remembered))
        return rows

    def gone_after(self, rows: Iterable[AnswerRow], now: int) -> int:
        """Return the number up to which answers go when these come: too many, or too old."""
        gone = max((row.number for row in rows), default=self._newest) - self._max_keys
        for packed in islice(self._packed.values(), _LOOKED_AT):
            number, made_at, *_ = _HEAD.unpack_from(packed)
            if number > gone and made_at > now - KEPT:
                break
            gone = max(gone, number)
        return gone

    def add(self, rows: Iterable[AnswerRow], gone: int) -> None:
        """Remember answers; forget those up to a number."""
        for key, number, made_at, remembered in rows:
            if number > self._newest:
                self._newest = number
                # Of one that was too old: in its new place, it is the youngest.
                self._forget(key)
            before = _size(self._packed.get(key))
            packed = self._packed[key] = _packed(number, made_at, remembered)
            self._share.change(_size(packed) - before)
        while self._packed and self._oldest_number() <= gone:
            self._forget_oldest()

    def drop_oldest(self, size: int) -> None:
        """Forget the oldest answers, until so many bytes are free or nothing is left."""
        end = self._share.held - size
        while self._packed and self._share.held > end:
            self._forget_oldest()

    def _oldest_number(self) -> int:
        number: int = _HEAD.unpack_from(next(iter(self._packed.values())))[0]
        return number

    def _forget_oldest(self) -> None:
        self._forget(next(iter(self._packed)))

    def _forget(self, key: bytes) -> None:
        self._share.change(-_size(self._packed.pop(key, None)))


def _size(packed: bytes | None) -> int:
    return 0 if packed is None else len(packed) + _BYTES_BESIDES


def _packed(number: int, made_at: int, remembered: RememberedAnswer) -> bytes:
    content, answer, steps, is_complete, _ = remembered
    return _HEAD.pack(number, made_at, content, steps, is_complete) + answer


def _unpacked(packed: bytes) -> tuple[int, int, RememberedAnswer]:
    number, made_at, content, steps, is_complete = _HEAD.unpack_from(packed)
    remembered = RememberedAnswer(content, packed[_HEAD.size :], steps, is_complete)
    return number, made_at, remembered
