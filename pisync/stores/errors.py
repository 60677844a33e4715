"""How a store refuses, or says that it can't do what it was asked."""

from typing import ClassVar

from pisync.model.requests.idempotency import RememberedAnswer


class CannotOpen(Exception):
    """The store can't be used; the text says why, and what to do."""


class StoreError(Exception):
    """A store refuses, or can't do, what it was asked. `message` is for the caller."""

    message: ClassVar[str] = "The store can't do this."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self.message if message is None else message)


class StoreUnavailable(StoreError):
    """The store can't be reached, or can't write."""

    message = "The store can't be reached now. Try again."


class NoSuchFleet(StoreError):
    """There is no fleet of this name."""

    message = "There is no such fleet."


class NoSuchDevice(StoreError):
    """The fleet has no device of this id."""

    message = "There is no such device in this fleet."


class FleetReplaced(StoreError):
    """What was under way in a fleet ended with it."""

    message = "The fleet was reset, replaced or deleted meanwhile."


class RequestRemembered(StoreError):
    """A request's idempotency key is known already, with the answer that is `remembered`."""

    message = "A request with this Idempotency-Key is under way. Try again."

    def __init__(self, remembered: RememberedAnswer) -> None:
        super().__init__()
        self.remembered = remembered


class DefaultFleetProtected(StoreError):
    """The default fleet stays."""

    message = "The fleet `default` can't be deleted."


class ClockNotManual(StoreError):
    """A real clock moves by itself alone."""

    message = "The fleet's clock is real: only a manual or auto clock can be advanced."


class BoundReached(StoreError):
    """All fleets together would hold more of something than they may."""

    message = "All fleets together hold as much as they may."


class PastTheLastYear(StoreError):
    """Fleet time ends with the last year that a timestamp can show."""

    message = "Fleet time would pass the end of the year 9999."


class NothingHeld(StoreError):
    """Only a held sync can be released."""

    message = "The device holds no sync to release."


class NoSuchAccount(StoreError):
    """There is no account with this key."""

    message = "There is no such account."


class AdminProtected(StoreError):
    """The admin's account stays as it is, its password aside."""

    message = "The account `admin` can't be disabled or deleted, and its scopes stay."


class AccountChanged(StoreError):
    """The account is no longer what the change was based on."""

    message = "The account was changed meanwhile. Try again."
