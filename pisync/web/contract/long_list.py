"""A JSON object of which one member is a very long list: decoded in slices.

To decode 16 MiB of JSON is one call into C that holds the interpreter's lock for 200 ms, also in a
thread, while every other request waits. A slice takes less than a millisecond.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

SLICE = 64 * 1024
"""Bytes that are decoded at once. No element of the list is longer."""
_MAX_TRIES = 100
"""Ends of a slice that are tried: a text within an element may contain what looks like one."""

_ELEMENT_END = re.compile(rb"\}[ \t\n\r]*([,\]])")


class NotJson(ValueError):
    """A text is not JSON."""


class LongElement(ValueError):
    """An element of a list is not an object of at most `SLICE` bytes."""

    def __init__(self, index: int) -> None:
        super().__init__(f"Must be an object of at most {SLICE // 1024} KiB.")
        self.index = index


class LongList:
    """The list of objects that is the member `name` of the object in `text`.

    `decode` returns the value of a JSON text or raises NotJson.

    Raises:
        LookupError: There is no such list, or it is empty.
    """

    def __init__(self, text: bytes, name: str, decode: Callable[[bytes], Any]) -> None:
        start = re.search(rb'"%s"[ \t\n\r]*:[ \t\n\r]*\[(?![ \t\n\r]*\])' % name.encode(), text)
        if start is None:
            raise LookupError(name)
        self._text = text
        self._decode = decode
        self._start = self._position = start.end()

    def slices(self) -> Iterator[list[Any]]:
        """Yield the elements, some at a time. To be called once.

        Raises:
            NotJson: The list is not JSON.
            LongElement: An element is too long, or not an object.
        """
        count, is_last = 0, False
        while not is_last:
            elements, is_last = self._next_slice(count)
            count += len(elements)
            yield elements

    def _next_slice(self, index: int) -> tuple[list[Any], bool]:
        text = self._text[self._position : self._position + SLICE]
        for end in _likely_ends(text):
            try:
                elements = self._decode(b"[%b]" % text[: end.start(1)])
            except NotJson:
                continue
            self._position += end.end()
            return elements, end[1] == b"]"
        if len(text) < SLICE:
            raise NotJson
        raise LongElement(index)

    def replaced_by(self, value: bytes) -> bytes:
        """Return the object's text with `value` in place of the list, once all slices are read."""
        opening = self._text.rindex(b"[", 0, self._start)
        return self._text[:opening] + value + self._text[self._position :]


def _likely_ends(text: bytes) -> Iterator[re.Match[bytes]]:
    """Yield where a slice may end: as late as possible, or where the list itself may."""
    ends = list(_ELEMENT_END.finditer(text))
    yield from reversed(ends[-_MAX_TRIES:])
    yield from [end for end in ends if end[1] == b"]"][:_MAX_TRIES]
