"""Bodies that were sent compressed, and who takes them so."""

import zlib
from collections.abc import Iterator
from typing import Any

PIECE = 16 * 1024
"""Bytes that are decompressed at once: what a member of a gzip file leaves over is copied."""
MAX_MEMBERS = 1_000
"""Members that a gzip file may have: each costs more than its few bytes."""

_MAX_PIECE = 256 * 1024
"""Bytes that a piece decompresses to at once."""
_GZIP = zlib.MAX_WBITS | 16


class Corrupt(ValueError):
    """A body is incomplete, or not what its `Content-Encoding` says."""


class TooLong(ValueError):
    """A body is longer than it may be, once it is decompressed."""


def decompressed(body: bytes, *, is_gzip: bool, limit: int) -> bytes:
    """Return a body that was compressed by gzip, in one or more members, or by deflate.

    Raises:
        Corrupt: The body can't be decompressed.
        TooLong: It would have more than `limit` bytes.
    """
    form = _GZIP if is_gzip else _deflate_form(body)
    result, position, view = bytearray(), 0, memoryview(body)
    for _ in range(MAX_MEMBERS if is_gzip else 1):
        member = zlib.decompressobj(form)
        while not member.eof:
            piece = view[position : position + PIECE]
            if not piece:
                raise Corrupt
            try:
                result += member.decompress(piece, limit + 1 - len(result))
            except zlib.error:
                raise Corrupt from None
            if len(result) > limit:
                raise TooLong
            position += len(piece) - len(member.unused_data)
        if position == len(body):
            return bytes(result)
    raise Corrupt


class PieceDecompressor:
    """Decompresses a body that comes in pieces, into pieces of bounded size.

    Args:
        is_gzip: Whether it was compressed by gzip, in one or more members, or by deflate.
    """

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._members = 0
        self._member: Any = None

    def pieces(self, compressed: bytes) -> Iterator[bytes]:
        """Yield what the next piece decompresses to.

        Raises:
            Corrupt: It can't be decompressed.
        """
        for start in range(0, len(compressed), PIECE):
            yield from self._pieces(compressed[start : start + PIECE])

    def _pieces(self, rest: bytes) -> Iterator[bytes]:
        is_full = False
        while rest or is_full:
            if self._member is None or self._member.eof:
                self._begin_member(rest)
            try:
                piece = self._member.decompress(rest, _MAX_PIECE)
            except zlib.error:
                raise Corrupt from None
            is_full = len(piece) == _MAX_PIECE and not self._member.eof
            rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def _begin_member(self, first: bytes) -> None:
        self._members += 1
        if self._members > (MAX_MEMBERS if self._is_gzip else 1):
            raise Corrupt
        self._member = zlib.decompressobj(_GZIP if self._is_gzip else _deflate_form(first))

    def finish(self) -> None:
        """Return if what was decompressed is complete.

        Raises:
            Corrupt: It is not.
        """
        if self._member is None or not self._member.eof:
            raise Corrupt


def _deflate_form(body: bytes) -> int:
    # Some send what the name says, and not what RFC 9110 does: without zlib's header.
    has_header = bool(body) and body[0] & 0x0F == zlib.DEFLATED
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS


def accepts_gzip(accepted: str) -> bool:
    """Say whether an `Accept-Encoding` allows gzip."""
    qualities = dict(map(_coding, accepted.lower().split(",")))
    return qualities.get("gzip", qualities.get("*", "0")).strip("0.") != ""


def _coding(text: str) -> tuple[str, str]:
    name, _, parameter = text.partition(";")
    return name.strip(), parameter.partition("=")[2].strip() or "1"
