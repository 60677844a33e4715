"""What every store promises. The docstrings are the contract; one test suite holds all to it.

Every method is atomic: it takes effect wholly or not at all, and every call that starts after it
has returned sees what it did (on a store that outlives the process, even after a crash). Every
method may raise StoreUnavailable, and has then done nothing, unless the connection to a database
was lost while the answer was on its way: then nobody knows.

A method that names a fleet raises NoSuchFleet where there is none of that name; one that names a
device, NoSuchDevice. Times are fleet time in microseconds unless said otherwise.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from pisync.model.account import Account, TokenRevocation
from pisync.model.clock import ClockView
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import FirstData, FleetView, Ledger, Stats
from pisync.model.outcome import Outcome
from pisync.model.profile import Profile
from pisync.model.script import Script
from pisync.model.sync import Change, ClockAdvance, FinishedSync, SyncResult

BATCH = 256
"""How many syncs begin or finish in one step, which is a turn of the event loop or a transaction:
many share its cost, and requests get in between two."""


class StoreError(Exception):
    """A store refuses, or can't do, what it was asked."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class StoreUnavailable(StoreError):
    """The store can't be reached now. Try again."""


class CannotOpen(Exception):
    """The store can't be used; the text says why."""


class NoSuchFleet(StoreError):
    """There is no such fleet."""


class NoSuchDevice(StoreError):
    """There is no such device in this fleet."""


class FleetReplaced(StoreError):
    """The fleet was reset, replaced or deleted meanwhile."""


class DefaultFleetProtected(StoreError):
    """The fleet `default` can't be deleted."""


class ClockNotManual(StoreError):
    """The fleet's clock is real: only a manual clock can be advanced."""


class PastTheLastYear(StoreError):
    """Fleet time would pass the end of the year 9999."""


class NothingHeld(StoreError):
    """The device holds no sync to release."""


class NoSuchAccount(StoreError):
    """There is no such account."""


class AdminProtected(StoreError):
    """The account `admin` can't be disabled or deleted, and its scopes stay."""


class AccountChanged(StoreError):
    """The account was changed meanwhile. Try again."""


class DevicePage(NamedTuple):
    """Devices by rising id, how many there are on all pages, and whether a page follows.

    Answers to the same question with the same `version` are equal; None says nothing.
    """

    devices: Sequence[Device]
    total: int
    more: bool
    version: Hashable = None


class ErrorPage(NamedTuple):
    """Error logs, newest first, and whether older ones follow.

    Answers to the same question with the same `version` are equal; None says nothing.
    """

    error_logs: Sequence[ErrorLog]
    more: bool
    version: Hashable = None


@dataclass(frozen=True, slots=True)
class ErrorFilter:
    """Error logs with an id below `before`, of a device, of some statuses, not before `since`."""

    before: int | None = None
    device_id: int | None = None
    statuses: frozenset[int] | None = None
    since: int | None = None


class AccountPage(NamedTuple):
    """Accounts by key, how many there are on all pages, and whether a page follows."""

    accounts: Sequence[Account]
    total: int
    more: bool


class TokenRevocations(NamedTuple):
    """Restrictions that were made or changed, and the version to ask with for later ones."""

    restrictions: Sequence[TokenRevocation]
    version: int


class LoginDecision(Enum):
    """Whether a password may be tried now."""

    ALLOWED = "allowed"
    WAIT = "wait"
    """As many guesses are under way as failures are left; ask again when one has ended."""
    REFUSED = "refused"


class LoginPermit(NamedTuple):
    """Whether a password may be tried now; if refused, `retry_after` real seconds from now."""

    decision: LoginDecision
    retry_after: float = 0.0


class StoreObserver(Protocol):
    """Who hears what a store has committed, at once.

    `began` and `finished` tell what this process did. `changed` and `replaced` tell what happened,
    on a shared store also what other replicas did, in the same order on all of them.
    """

    def began(self, fleet: str, begun: Sequence[SyncResult]) -> None:
        """This process was asked for syncs; those with the verdict STARTED are new."""

    def finished(self, fleet: str, generation: int, finished: Sequence[FinishedSync]) -> None:
        """This process finished attempts, in the order in which they were due.

        On a shared store this may come after the fleet was replaced or reset: `generation` is the
        one that the attempts belong to.
        """

    def changed(self, fleet: str, changes: Sequence[Change]) -> None:
        """Attempts began or finished; the error log of one that failed follows its device."""

    def replaced(self, fleet: str) -> None:
        """A fleet was made, reset, replaced or deleted: what was known of it no longer holds.

        The call that did it answers after this, unless the connection that tells it is lost: so
        whoever has that answer hears of nothing from before it.
        """

    def missed(self) -> None:
        """Changes may have been missed, of any fleet: the connection that tells them was lost."""

    def due_in(self, seconds: float) -> None:
        """`finish_due` will have something to do in so many real seconds."""


class Store(Protocol):
    """Fleets, their devices and error logs, and accounts."""

    async def open(self, observer: StoreObserver) -> None:
        """Get ready: fill an empty store with its first data, and tell `observer` from now on.

        Raises CannotOpen.
        """

    async def close(self) -> None:
        """Release everything that `open` took. Pending syncs stay as they are."""

    async def ping(self) -> None:
        """Return if the store can serve; else raise StoreUnavailable."""

    # Accounts

    async def add_account(self, account: Account) -> bool:
        """Add an account unless one with its key is there; say whether it was added.

        The generation of its tokens is that of the last account with this key, if there was one.
        """

    async def account(self, key: str) -> Account | None:
        """Return the account with this key, if any."""

    async def accounts(self, *, after: str, limit: int) -> AccountPage:
        """Return accounts whose key, as bytes, is above `after`."""

    async def change_account(self, key: str, change: Callable[[Account], Account]) -> Account:
        """Apply a change to an account and return it; its name stays.

        `change` may raise a StoreError, and be called again if the account changes meanwhile.
        Raises NoSuchAccount.
        """

    async def delete_account(self, key: str, now: int) -> None:
        """Delete an account; its restriction stays, with its tokens ended `now`.

        Raises NoSuchAccount.
        """

    async def revocations(self, known: int = 0) -> TokenRevocations:
        """Return restrictions made or changed since an earlier answer's version; 0 for all.

        One may come twice. Each has come within 5 s of being made, if asked for every 2 s.
        """

    async def acquire_login_permit(
        self, keys: Sequence[bytes], limit: int, window: float
    ) -> LoginPermit:
        """Ask whether a password may be tried, counted under each of `keys`.

        Allowed while, for every key, the failures of its window and the guesses under way together
        are fewer than `limit`; the guess is then under way until `guessed` says how it ended. A
        window starts with its first failure and lasts `window` real seconds.
        """

    async def record_login(self, keys: Sequence[bytes], *, failed: bool) -> None:
        """End a guess that was allowed; count it under each of `keys` if it failed."""

    # Fleets

    async def fleets(self) -> Sequence[FleetView]:
        """Return all fleets by name."""

    async def fleet(self, name: str) -> FleetView:
        """Return a fleet."""

    async def put_fleet(
        self, name: str, first: FirstData, profile: Profile
    ) -> tuple[FleetView, bool]:
        """Make or replace a fleet; return it, and whether it is new.

        Its time is real, from the wall clock.
        """

    async def change_profile(self, name: str, change: Callable[[Profile], Profile]) -> FleetView:
        """Apply a change to a fleet's profile, for attempts that begin from now on."""

    async def delete_fleet(self, name: str) -> None:
        """Delete a fleet with all that belongs to it. Raises DefaultFleetStays."""

    async def reset_fleet(self, name: str) -> None:
        """Take a fleet back to its first data, on a real clock, and its counts back to nothing.

        Pending syncs and scripts are gone; the profile stays. Nothing that was pending finishes or
        is told to the observer after this has been committed.
        """

    async def set_clock(self, name: str, speed: float) -> ClockView:
        """Let a fleet's time go on from the present at another speed; 0 makes it manual.

        Waits while the clock is moved. May raise FleetReplaced if the fleet is reset, replaced or
        deleted meanwhile.
        """

    async def advance(self, name: str, microseconds: int) -> ClockAdvance:
        """Move a manual clock, and finish all that falls due on the way, in due order.

        Two advances at once add up. Raises ClockNotManual or PastTheLastYear with nothing moved;
        FleetReplaced if the fleet is reset, replaced or deleted before the move is over.
        """

    async def settle(self, name: str) -> ClockAdvance:
        """Finish all pending syncs that are not held; a manual clock moves to the last due time.

        Raises FleetReplaced if the fleet is reset, replaced or deleted before that is over.
        """

    # Devices

    async def device(self, fleet: str, device_id: int) -> Device:
        """Return a device."""

    async def devices(
        self,
        fleet: str,
        *,
        after: int,
        limit: int,
        statuses: frozenset[int] | None,
        known: Hashable = None,
    ) -> DevicePage:
        """Return devices with an id above `after` and, unless None, one of `statuses`.

        If the page still has the version `known`, it may come without the devices.
        """

    async def begin(
        self, fleet: str, device_ids: Iterable[int], *, generation: int | None = None
    ) -> Sequence[SyncResult]:
        """Begin an attempt of each device, or join the one under way, as the profile says.

        The plan of an attempt is saved with it. Answers in the order of `device_ids`, which has no
        repeats. Raises FleetReplaced if `generation` is given and is no longer the fleet's.
        """

    async def finish_due(self, limit: int) -> int:
        """Finish attempts that are due, of any fleet with a real clock, earliest first.

        State and error log change together, and only if the device is still pending with that
        attempt. Finishes about `limit` at most; returns how many.
        """

    async def next_due(self) -> float | None:
        """Return the real seconds until `finish_due` has something to do; None if not in sight."""

    async def set_script(self, fleet: str, device_id: int, script: Script | None) -> None:
        """Give a device a script for its next attempts, or (None) take it away."""

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        """Finish a held attempt now with this outcome. Raises NothingHeld."""

    # What happened

    async def errors(self, fleet: str, which: ErrorFilter, limit: int) -> ErrorPage:
        """Return error logs, newest first."""

    async def pending(self) -> int:
        """Return how many syncs are pending in all fleets together."""

    async def stats(self, fleet: str) -> Stats:
        """Return a fleet's counts."""

    async def ledger(self, fleet: str) -> Ledger:
        """Return what became of a fleet's syncs."""
