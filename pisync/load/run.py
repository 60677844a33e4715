"""A run from its beginning to its end."""

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import click
from aiohttp import ClientError, ClientSession

from pisync.client import FleetClient
from pisync.load.generator import CannotLoad, generate
from pisync.load.plan import (
    LoadPlan,
    Thresholds,
)
from pisync.load.reconcile import Progress, reconcile, take_snapshot
from pisync.load.report import Report, missed
from pisync.load.tally import Tally

_TICK = 0.25
_TICKS_PER_SECOND = 4


class LoadTokens(NamedTuple):
    """An admin's token, for the ledger, and the users', for the load."""

    admin: str
    users: Sequence[str]


def run(plan: LoadPlan, tokens: LoadTokens, thresholds: Thresholds) -> Report:
    """Load a server, and look at its ledger before and after.

    Raises:
        CannotLoad: The server does not let the load in, or has nothing to load.
        CallFailed: The ledger was refused.
        OSError: There was no answer for it.
        HTTPException: Its answer was no HTTP.
    """
    client = FleetClient(plan.url, plan.fleet, token=tokens.admin)
    snapshot = take_snapshot(client)
    tally = Tally()
    asyncio.run(_generate(plan, tokens.users, tally))
    with _pending_bar() as progress:
        settled = reconcile(client, snapshot, tally, plan.wait, progress)
    return Report(plan, tally, settled, missed(tally, thresholds))


async def _generate(plan: LoadPlan, tokens: Sequence[str], tally: Tally) -> None:
    stopped = asyncio.Event()
    with suppress(NotImplementedError, ValueError):  # not on Windows, nor outside the main thread
        # The ledger is looked at all the same.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    showing = asyncio.create_task(_show(plan, tally))
    try:
        await generate(plan, tokens, tally, stopped)
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


@contextmanager
def _pending_bar() -> Iterator[Progress]:
    """Show on a terminal how many of the syncs that were pending at first have finished."""
    with ExitStack() as shown:
        bar: Any = None
        left = 0

        def show(pending: int) -> None:
            nonlocal bar, left
            if bar is None:
                if not pending:
                    return
                left = pending
                made = click.progressbar(length=pending, label="pending syncs", file=sys.stderr)
                bar = shown.enter_context(made)
            bar.update(max(left - pending, 0))
            left = min(left, pending)

        yield show


async def _show(plan: LoadPlan, tally: Tally) -> None:
    """Show on a terminal how far it is, and how it goes."""
    length = round(plan.seconds * _TICKS_PER_SECOND)
    with click.progressbar(
        length=length, show_eta=False, item_show_func=lambda text: text, file=sys.stderr
    ) as bar:
        counted = 0
        while True:
            await asyncio.sleep(_TICK)
            rate = (tally.requests - counted) * _TICKS_PER_SECOND
            counted = tally.requests
            bar.update(1, f"{rate:,}/s  {_latency(tally)}  errors {tally.errors:,}")


def _latency(tally: Tally) -> str:
    latencies = tally.latencies()
    p50, p99 = (1000 * latencies.percentile(percent) for percent in (50, 99))
    return f"p50 {p50:.1f} ms  p99 {p99:.1f} ms"


def log_in(url: str, username: str, password: str) -> str:
    """Return a token.

    Raises:
        CannotLoad: There is no answer, or no token in it.
    """
    return asyncio.run(_log_in(url, {"username": username, "password": password}))


async def _log_in(url: str, account: Mapping[str, str]) -> str:
    try:
        async with ClientSession() as session, session.post(f"{url}/login", json=account) as answer:
            body = await answer.json()
    except (ClientError, TimeoutError) as exc:
        raise CannotLoad(f"No answer from {url}: {exc}") from exc
    if "token" not in body:
        raise CannotLoad(f"{url}/login answers {answer.status}: {body['message']}")
    token: str = body["token"]
    return token
