"""Places that callers of several kinds take together, so that there are never too many of them."""


class NoPlaceLeft(Exception):
    """All places are taken."""


class Places:
    """So many places, and how many of them are taken."""

    __slots__ = ("_limit", "taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self) -> None:
        """Take a place.

        Raises:
            NoPlaceLeft: There is none.
        """
        if self.taken >= self._limit:
            raise NoPlaceLeft
        self.taken += 1

    def give_back(self) -> None:
        """Leave a place to others."""
        self.taken -= 1
