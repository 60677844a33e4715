"""What every store promises. The docstrings are the contract; one test suite holds all to it.

Every method is atomic: it takes effect wholly or not at all, and every call that starts after it
has returned sees what it did (on a store that outlives the process, even after a crash). Every
method may raise StoreUnavailable, and has then done nothing, unless the connection to a database
was lost while the answer was on its way: then nobody knows.

A method that names a fleet raises NoSuchFleet where there is none of that name; one that names a
device, NoSuchDevice. Times are fleet time in microseconds unless said otherwise.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol

from pisync.model.account import Account, AccountPage, LoginPermit, TokenRevocations
from pisync.model.bounds import Budget
from pisync.model.clock import ClockView
from pisync.model.device import Device, DevicePage, ErrorFilter, ErrorPage
from pisync.model.fleet import FirstData, FleetPage, FleetView, Ledger, NewTtl, Stats
from pisync.model.outcome import Outcome
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script
from pisync.model.requests.fault import FaultRule
from pisync.model.requests.fault_draw import CallOfUser, MetFault
from pisync.model.requests.idempotency import KeyedRequest, KeyedStep, RememberedAnswer
from pisync.model.requests.journal import Journal, JournalEntry, JournalPage, RequestFilter
from pisync.model.sync import Change, ClockAdvance, FinishedSync, SyncResult, UnreadChanges
from pisync.stores.fleet_snapshots import FleetSnapshots

BATCH = 256
"""How many syncs begin or finish in one step, which is a turn of the event loop or a transaction:
many share its cost, and requests get in between two."""


class StoreObserver(Protocol):
    """Who is told what a store has committed, at once.

    `began` and `finished` tell what this process did. `changed`, `heard` and `replaced` tell what
    happened, on a shared store also what other replicas did, in the same order on all of them.
    """

    def began(self, fleet: str, begun: Sequence[SyncResult]) -> None:
        """This process was asked for syncs; those with the decision STARTED are new."""

    def finished(self, fleet: str, generation: int, finished: Sequence[FinishedSync]) -> None:
        """This process finished attempts, in the order in which they were due.

        On a shared store this may come after the fleet was replaced or reset: `generation` is the
        one that the attempts belong to.
        """

    def changed(self, fleet: str, changes: Sequence[Change]) -> None:
        """Attempts began or finished; the error log of one that failed follows its device."""

    def heard(self, fleet: str, changes: UnreadChanges) -> None:
        """The same, on a shared store, as some replica has written it: who needs it reads it."""

    def replaced(self, fleet: str) -> None:
        """A fleet was made, reset, replaced or deleted: what was known of it no longer holds.

        The call that did it answers after this, unless the connection that tells it is lost: so
        whoever has that answer hears of nothing from before it.
        """

    def reads_changed(self, fleet: str) -> None:
        """Reads of a fleet may do something else than before: move its clock, or no longer."""

    def missed(self) -> None:
        """Changes may have been missed, of any fleet: the connection that tells them was lost."""

    def due_in(self, seconds: float) -> None:
        """`SyncFinisher.finish_due` will have something to do in so many real seconds."""


class Queries(Protocol):
    """Reads. Each sees one moment."""

    async def fleets(self, *, after: str, limit: int) -> FleetPage:
        """Return fleets whose name, as bytes, is above `after`."""

    async def fleet(self, name: str) -> FleetView:
        """Return a fleet."""

    async def device(self, fleet: str, device_id: int) -> Device:
        """Return a device."""

    async def is_polled(self, fleet: str, device_id: int) -> bool:
        """Return whether a device's attempt is pending for so many reads; this is none of them."""

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

    async def errors(self, fleet: str, criteria: ErrorFilter, limit: int) -> ErrorPage:
        """Return error logs, newest first."""

    def is_current(self, fleet: str, version: Hashable) -> bool:
        """Return whether a page of this fleet with this version would be the same now: at no cost.

        False where to know that takes asking for the page.
        """

    async def device_count(self, *, without: str) -> int:
        """Return how many devices all fleets but one have together."""

    async def pending(self) -> int:
        """Return how many syncs are pending in all fleets together."""

    async def stats(self, fleet: str) -> Stats:
        """Return a fleet's counts."""

    async def ledger(self, fleet: str) -> Ledger:
        """Return what became of a fleet's syncs."""


class ActingReads(Protocol):
    """Reads that do something: they count down the polls of attempts, and move clocks.

    A clock that moves itself moves where a read shows something pending that would finish by
    itself: to when something in the fleet is due next, and all that is due then is done, in order.

    Each returns what the one of `Queries` would, as of before its effect; the effect is true when
    it returns. However many are under way, on however many replicas, each has its turn.
    """

    def acts(self, fleet: str) -> bool:
        """Return whether reads of this fleet may do something: at no cost.

        False for a fleet that is not there.
        """

    async def device(self, fleet: str, device_id: int) -> Device:
        """Return a device; that is a read of it."""

    async def devices(
        self, fleet: str, *, after: int, limit: int, statuses: frozenset[int] | None
    ) -> DevicePage:
        """Return a page of devices; that is a read of each that it holds."""

    async def stats(self, fleet: str) -> Stats:
        """Return a fleet's counts; that is a read of no device."""


class FleetWriter(Protocol):
    """Fleets come and go, and what their attempts come to is changed."""

    async def put(
        self,
        name: str,
        first: FirstData,
        profile: Profile,
        *,
        journal: int | None = None,
        ttl: int | None = None,
    ) -> tuple[FleetView, bool]:
        """Make or replace a fleet; return it, and whether it is new.

        Its time is real, from the wall clock. Its journal keeps `journal` requests; None for the
        store's default. With a `ttl` (seconds), `FleetLifetimes` ends it.
        """

    async def reset(self, name: str) -> None:
        """Take a fleet back to its first data, on a real clock, and its counts back to nothing.

        Pending syncs and scripts are gone; the profile, the rules for faults and the size of the
        journal stay, but faults are counted anew and the journal is empty. Nothing that was pending
        finishes or is told to the observer after this has been committed.
        """

    async def delete(self, name: str) -> None:
        """Delete a fleet with all that belongs to it.

        Raises:
            DefaultFleetProtected: It is the default fleet.
        """

    async def change_profile(
        self,
        name: str,
        change: Callable[[Profile], Profile],
        ttl: NewTtl | None = None,
        journal: int | None = None,
    ) -> FleetView:
        """Apply a change to a fleet's profile, for attempts that begin from now on.

        The `ttl` changes with it, and counts from now; so does the number of requests that the
        `journal` keeps. None leaves either as it is. All of it changes, or nothing.
        """

    async def set_script(self, fleet: str, device_id: int, script: Script | None) -> None:
        """Give a device a script for its next attempts, or (None) take it away."""


class FleetLifetimes(Protocol):
    """Fleets that have a ttl are deleted when nobody uses them any more."""

    async def extend(self, names: Sequence[str]) -> None:
        """Note that these fleets are used now; names of no fleet are passed over.

        What was noted outlives the process; where the machine's clock has stepped back before the
        next one starts, fleets stay longer, never shorter.
        """

    async def forget(self, limit: int, lead: float) -> Sequence[str]:
        """Delete fleets whose ttl has passed since they were last used; return their names.

        Args:
            limit: How many fleets to delete, at most.
            lead: Seconds that they stay beyond their ttl.
        """


class SyncStarter(Protocol):
    """Attempts begin."""

    async def begin(
        self,
        fleet: str,
        device_ids: Iterable[int],
        *,
        generation: int | None = None,
        step: KeyedStep | None = None,
    ) -> Sequence[SyncResult]:
        """Begin an attempt of each device, or join the one under way, as the profile says.

        The plan of an attempt is saved with it, and so is what a `step` remembers. Answers in the
        order of `device_ids`; an id that is repeated joins, or is refused, as in a later call.

        Raises:
            FleetReplaced: `generation` is given and is no longer the fleet's.
            RequestRemembered: The `step` does not follow what is remembered; nothing has begun.
        """

    async def remembered(self, fleet: str, request: KeyedRequest) -> RememberedAnswer | None:
        """Return what is remembered under a request's key, if anything.

        For `KEPT`, of the newest `MAX_KEYS` of the fleet, until it is reset, replaced or deleted.
        """


class SyncFinisher(Protocol):
    """Attempts finish: when they are due, when time is moved, or when one is released."""

    async def finish_due(self, limit: int) -> int:
        """Finish attempts that are due, of any fleet with a real clock, earliest first.

        State and error log change together, and only if the device is still pending with that
        attempt. Finishes about `limit` at most; returns how many.
        """

    async def next_due(self) -> float | None:
        """Return the real seconds until `finish_due` has something to do; None if not in sight."""

    async def set_clock(self, name: str, speed: float, is_auto: bool = False) -> ClockView:
        """Let a fleet's time go on from the present at another speed; at 0, it stands still.

        It is then a manual clock, or one that moves itself (`is_auto`): reads move it.
        Waits while the clock is moved. If the fleet is reset or replaced meanwhile, it is the new
        fleet whose clock is set.
        """

    async def advance(self, name: str, microseconds: int) -> ClockAdvance:
        """Move a clock that stands still, and finish all that falls due on the way, in due order.

        Two advances at once add up.

        Raises:
            ClockNotManual: The clock is real; nothing has moved.
            PastTheLastYear: The clock would end beyond what a timestamp can show; nothing has
                moved.
            FleetReplaced: The fleet was reset, replaced or deleted before the move was over.
        """

    async def settle(self, name: str) -> ClockAdvance:
        """Finish all pending syncs that are not held.

        A clock that stands still moves to the last due time.

        Raises:
            FleetReplaced: The fleet was reset, replaced or deleted before that was over.
        """

    async def run_to_due(self, name: str, device_id: int | None = None) -> bool:
        """Move a clock that moves itself to when a device's pending attempt is due.

        All that falls due on the way finishes, in due order. Without a device: to when the last is
        due that is pending now. Does nothing on another clock, or where nothing is pending that
        would finish by itself; returns whether there was.

        Raises:
            FleetReplaced: The fleet was reset, replaced or deleted before that was over.
        """

    async def release(self, fleet: str, device_id: int, outcome: Outcome) -> Device:
        """Finish a held attempt now with this outcome.

        Raises:
            NothingHeld: The device holds no attempt.
        """


class RequestStore(Protocol):
    """What requests of clients meet in a fleet, and what they leave behind: faults, the journal."""

    def is_watched(self, fleet: str) -> bool:
        """Return whether requests may meet faults, or are to be written to a journal: at no cost.

        False for a fleet that is not there.
        """

    def journal_in_memory(self, fleet: str) -> Journal | None:
        """Return the journal of a fleet where it is kept in memory, and keeps anything."""

    async def set_faults(self, fleet: str, rules: tuple[FaultRule, ...]) -> None:
        """Set the rules for faults; requests are counted anew from here."""

    async def faults(self, fleet: str) -> Sequence[tuple[FaultRule, int]]:
        """Return the rules for faults, and how many requests each has hit."""

    async def meet_fault(self, fleet: str, call: CallOfUser) -> MetFault | None:
        """Count a request that would be answered with 2xx or 304; return the fault that it meets.

        Beyond `MAX_REQUEST_COUNTERS` users, calls and devices those that come later meet none.
        """

    async def record(self, fleet: str, entry: JournalEntry) -> None:
        """Keep a request in a fleet's journal, if the fleet is there and has one."""

    async def journal(self, fleet: str, criteria: RequestFilter, limit: int) -> JournalPage:
        """Return requests, newest first."""

    async def clear_journal(self, fleet: str) -> None:
        """Forget all requests of a fleet; their numbers go on."""


class AccountStore(Protocol):
    """Accounts, and which tokens in their names are refused."""

    async def add(self, account: Account) -> bool:
        """Add an account unless one with its key is there; say whether it was added.

        The generation of its tokens is that of the last account with this key, if there was one.
        """

    async def find(self, key: str) -> Account | None:
        """Return the account with this key, if any."""

    async def page(self, *, after: str, limit: int) -> AccountPage:
        """Return accounts whose key, as bytes, is above `after`."""

    async def change(self, key: str, change: Callable[[Account], Account]) -> Account:
        """Apply a change to an account and return it; its name stays.

        `change` may raise a StoreError, and be called again if the account changes meanwhile.

        Raises:
            NoSuchAccount: There is none with this key.
        """

    async def delete(self, key: str, now: int) -> None:
        """Delete an account; its revocation stays, with its tokens ended `now` (wall clock).

        Raises:
            NoSuchAccount: There is none with this key.
        """

    async def revocations(self, known: int = 0) -> TokenRevocations:
        """Return revocations made or changed since an earlier answer's version; 0 for all.

        May repeat entries. Every entry appears within 5 s of being made, if asked for every 2 s.
        """


class LoginAttempts(Protocol):
    """Passwords that are tried, and the failures among them."""

    async def acquire(self, keys: Sequence[bytes], limit: int, window: float) -> LoginPermit:
        """Ask whether a password may be tried, counted under each of `keys`.

        Allowed while, for every key, the failures of its window and the attempts under way together
        are fewer than `limit`; the attempt is then under way until `record` says how it ended. A
        window starts with its first failure and lasts `window` real seconds.
        """

    async def record(self, keys: Sequence[bytes], *, failed: bool) -> None:
        """End an attempt that was allowed; count it under each of `keys` if it failed."""


class Store(Protocol):
    """Keeps fleets and accounts. Each part is a promise of its own."""

    @property
    def queries(self) -> Queries: ...
    @property
    def acting_reads(self) -> ActingReads: ...
    @property
    def fleets(self) -> FleetWriter: ...
    @property
    def lifetimes(self) -> FleetLifetimes: ...
    @property
    def snapshots(self) -> FleetSnapshots: ...
    @property
    def starter(self) -> SyncStarter: ...
    @property
    def finisher(self) -> SyncFinisher: ...
    @property
    def requests(self) -> RequestStore: ...
    @property
    def accounts(self) -> AccountStore: ...
    @property
    def login_attempts(self) -> LoginAttempts: ...
    @property
    def budgets(self) -> Iterable[Budget]: ...

    async def open(self, observer: StoreObserver) -> None:
        """Get ready: fill an empty store with its first data, and tell `observer` from now on.

        Raises:
            CannotOpen: The store can't be used.
        """

    async def close(self) -> None:
        """Release everything that `open` took. Pending syncs stay as they are."""

    async def ping(self) -> None:
        """Return if the store can serve.

        Raises:
            StoreUnavailable: It can't.
        """
