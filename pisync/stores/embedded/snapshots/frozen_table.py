"""Devices as they were at a moment, without a copy of all of them."""

from collections.abc import Iterator
from typing import Final, Self

from pisync.stores.embedded.device_table import DeviceTable

BLOCK: Final = 1024
"""How many devices are copied at once: some microseconds."""


class FrozenTable:
    """A table of devices as it was when this was made, to be read once, block by block.

    A block is copied when it is read, or when something in it is about to change before that: so
    what is held is no more than what changes while it is read.
    """

    def __init__(self, table: DeviceTable) -> None:
        self._table = table
        self._blocks = -(-len(table) // BLOCK)
        self._next = 0
        self._kept: dict[int, DeviceTable] = {}

    def __enter__(self) -> Self:
        self._table.listeners = (*self._table.listeners, self)
        return self

    def __exit__(self, *_: object) -> None:
        self._table.listeners = tuple(
            listener for listener in self._table.listeners if listener is not self
        )

    def before_change(self, position: int) -> None:
        """Keep the block of a device that is about to change."""
        block = position // BLOCK
        if block >= self._next and block not in self._kept:
            self._kept[block] = self._copy(block)

    def blocks(self) -> Iterator[DeviceTable]:
        """Yield all devices, a block at a time."""
        while self._next < self._blocks:
            block, self._next = self._next, self._next + 1
            yield self._kept.pop(block) if block in self._kept else self._copy(block)

    def _copy(self, block: int) -> DeviceTable:
        start = block * BLOCK
        return self._table.part(range(start, min(start + BLOCK, len(self._table))))
