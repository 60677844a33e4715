"""Reading documents: pieces of bytes become lines, and lines a snapshot.

Nothing that a document says is believed: each line is checked, and the whole by the digest in the
last one.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pisync.model.snapshot import Snapshot, SnapshotPart
from pisync.snapshots.parsing import DocumentParser

MAX_LINE: Final = 4 * 1024 * 1024
"""Bytes: a ledger with all the messages that it may have is shorter."""
_PARSED_AT_ONCE: Final = 128 * 1024
"""Bytes of lines that are parsed in one turn: some milliseconds."""

_PARSING: Final = ThreadPoolExecutor(1, "parsing")
"""One thread for all documents: the more threads parse, the longer does every other request wait
for the interpreter."""


class SnapshotReader:
    """Reads one document; what is wrong with it is named by the number of the line."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._parser = DocumentParser()
        self._lines = _lines(pieces, self._parser)
        self._parts: list[SnapshotPart] = []

    async def size(self) -> int:
        """Read the first line; return how many devices the fleet has.

        Raises:
            InvalidValue: A line is not valid.
        """
        while self._parser.size is None:
            self._parts.append(await self._next())
        return self._parser.size

    async def snapshot(self) -> Snapshot:
        """Read the head; return the snapshot, of which the rest is read as its parts are.

        They may raise the same.

        Raises:
            InvalidValue: A line is not valid.
        """
        while self._parser.head is None:
            self._parts.append(await self._next())
        return Snapshot(self._parser.head, self._rest())

    async def _rest(self) -> AsyncIterator[SnapshotPart]:
        for part in self._parts:
            yield part
        self._parts.clear()
        async for lines in self._lines:
            yield await self._parse(lines)
        if not self._parser.is_complete:
            raise self._parser.cut_off()

    async def _next(self) -> SnapshotPart:
        lines = await anext(self._lines, None)
        if lines is None:
            raise self._parser.cut_off()
        return await self._parse(lines)

    async def _parse(self, lines: list[bytes]) -> SnapshotPart:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_PARSING, self._parser.parse, lines)


async def _lines(
    pieces: AsyncIterator[bytes], parser: DocumentParser
) -> AsyncIterator[list[bytes]]:
    """Yield lines without their ends, some at a time.

    Raises:
        InvalidValue: One is too long.
    """
    kept = bytearray()
    async for piece in pieces:
        kept += piece
        end = kept.rfind(b"\n")
        if end >= 0 and (len(kept) >= _PARSED_AT_ONCE or parser.size is None):
            whole = bytes(kept[:end])
            del kept[: end + 1]
            yield whole.split(b"\n")
        if len(kept) > MAX_LINE:
            raise parser.too_long(MAX_LINE)
    if kept:
        yield bytes(kept).removesuffix(b"\n").split(b"\n")
