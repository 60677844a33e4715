"""Room for what is being received, shared by all who send: whoever stalls for longest gives way."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Reception:
    """What has been received from one sender."""

    def __init__(self, room: "ReceptionRoom", give_way: Callable[[], object]) -> None:
        self._room = room
        self.give_way = give_way
        self.held = 0
        self.gave_way = False
        """Whether others needed the room; what was received does not count any more."""

    def add(self, size: int) -> None:
        """Hold so many bytes more. Others may have to give way, or this one."""
        if not self.gave_way:
            self.held += size
            self._room.add(self, size)

    def complete(self) -> None:
        """Give way to nobody from now on: everything has been received."""
        self._room.keep(self)


class ReceptionRoom:
    """Counts what is held of all that is being received, at most `size` bytes.

    Where more arrives, the sender gives way of whom nothing has come for longest. What is complete
    stays until it has been used, and counts.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._incomplete: OrderedDict[Reception, None] = OrderedDict()
        """In the order in which something came last."""

    @contextmanager
    def receive(self, give_way: Callable[[], object]) -> Iterator[Reception]:
        """Receive from a sender during a block; `give_way` is called if others need the room."""
        reception = Reception(self, give_way)
        try:
            yield reception
        finally:
            self.keep(reception)
            self.used -= reception.held

    def add(self, reception: Reception, size: int) -> None:
        """Count bytes of a reception, and make room for them."""
        self.used += size
        self._incomplete[reception] = None
        self._incomplete.move_to_end(reception)
        while self.used > self.size and self._incomplete:
            stalled, _ = self._incomplete.popitem(last=False)
            self.used -= stalled.held
            stalled.held = 0
            stalled.gave_way = True
            stalled.give_way()

    def keep(self, reception: Reception) -> None:
        """Let a reception give way to nobody."""
        self._incomplete.pop(reception, None)
