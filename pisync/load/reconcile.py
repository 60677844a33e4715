"""Whether what clients were promised is what the ledger says."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple

from pisync.client import (
    FleetClient,
    Ledger,
)
from pisync.load.plan import SYNC
from pisync.load.tally import Answers, Tally

_INTERVAL = 0.25
_MAX_NAMED = 10


Progress = Callable[[int], None]


class LedgerSnapshot(NamedTuple):
    """A fleet's ledger before a run, and the fleet's time then."""

    ledger: Ledger
    taken_at: datetime


class Settled(NamedTuple):
    """What the ledger counted during a run. `problems` says what does not add up: nothing should.

    `outcomes` counts finished syncs by status code and message.
    """

    accepted: int
    joined: int
    refused: int
    outcomes: Mapping[tuple[int, str | None], int]
    problems: list[str]


def take_snapshot(client: FleetClient) -> LedgerSnapshot:
    """Read the ledger before a run."""
    return LedgerSnapshot(client.ledger(), client.view().clock.now)


def reconcile(
    client: FleetClient,
    snapshot: LedgerSnapshot,
    tally: Tally,
    wait: float,
    progress: Progress = lambda _: None,
) -> Settled:
    """Compare the ledger with what clients counted, when no sync is pending any more.

    Args:
        client: The fleet's.
        snapshot: The ledger before the run.
        tally: What the clients counted.
        wait: How many seconds syncs may be pending.
        progress: Is called with the number of pending syncs, again and again.
    """
    before, after = snapshot.ledger, _when_finished(client, wait, progress)
    return Settled(
        after.accepted - before.accepted,
        after.joined - before.joined,
        after.refused - before.refused,
        outcomes={
            outcome: count - _outcomes(before)[outcome]
            for outcome, count in _outcomes(after).items()
            if count != _outcomes(before)[outcome]
        },
        problems=[
            *_unfinished(client, after),
            *_unbalanced(before, after, tally),
            *_lost(client, before, after, tally.attempts),
            *_twice(client, snapshot.taken_at),
        ],
    )


def _when_finished(client: FleetClient, wait: float, progress: Progress) -> Ledger:
    end = time.monotonic() + wait
    while True:
        ledger = client.ledger()
        pending = ledger.pending - ledger.held
        progress(pending)
        if not pending or time.monotonic() >= end:
            return ledger
        time.sleep(_INTERVAL)


def _outcomes(ledger: Ledger) -> Counter[tuple[int, str | None]]:
    counts: Counter[tuple[int, str | None]] = Counter({(200, None): ledger.succeeded})
    for code, messages in ledger.failed.items():
        for message, count in messages.items():
            counts[code, message] = count
    return counts


def _unfinished(client: FleetClient, after: Ledger) -> Iterator[str]:
    if after.pending > after.held:
        pending = [str(device.device_id) for device in client.devices(status=[202])]
        yield f"{after.pending - after.held} syncs still pending: devices {_some(pending)}"


def _unbalanced(before: Ledger, after: Ledger, tally: Tally) -> Iterator[str]:
    if not after.balanced:
        yield "the ledger is not balanced"
    syncs = tally.actions.get(SYNC, Answers()).statuses
    # Those without an answer may have been taken or not.
    promised, unanswered = syncs[HTTPStatus.ACCEPTED], syncs[None]
    counted = after.accepted + after.joined - before.accepted - before.joined
    if counted < promised:
        yield f"{promised - counted} of {promised} syncs answered with 202 are not counted"
    elif counted > promised + unanswered:
        yield (
            f"{counted - promised} syncs counted that these clients did not ask for: somebody else"
            " uses the fleet, or they are counted twice"
        )


def _lost(
    client: FleetClient, before: Ledger, after: Ledger, attempts: Collection[tuple[int, int]]
) -> Iterator[str]:
    """Name the attempts that clients were promised and the server does not know."""
    # Those pending from before were joined: promised again, but not accepted again.
    if len(attempts) <= after.accepted - before.accepted + before.pending:
        return
    newest = dict(sorted(attempts))
    known = {device: client.forecast(device, attempts=1)[0].attempt - 1 for device in newest}
    lost = [
        f"{each[1]} of device {each[0]}" for each in sorted(attempts) if each[1] > known[each[0]]
    ]
    if lost:
        yield f"lost attempts: {_some(lost)}"


def _twice(client: FleetClient, since: datetime) -> Iterator[str]:
    """Name the attempts that failed more than once."""
    logs = Counter((each.device_id, each.attempt) for each in client.errors(since=since))
    twice = [
        f"{attempt} of device {device}"
        for (device, attempt), count in sorted(logs.items())
        if count > 1 and attempt
    ]
    if twice:
        yield f"attempts with more than one error log: {_some(twice)}"


def _some(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
