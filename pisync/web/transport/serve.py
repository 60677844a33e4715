"""Serving: listen, run until a signal comes, and stop without losing what is under way."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from aiohttp import web

from pisync.concurrency import garbage
from pisync.config.certificate import BadCertificate, ServerCertificate
from pisync.keys import DRAINING
from pisync.telemetry.logs import get_logger
from pisync.web.transport.admission import NORMAL, Limits
from pisync.web.transport.aiohttp_internals import Runner, parser_is_compiled
from pisync.web.transport.server import make_runner
from pisync.web.transport.sockets import bind
from pisync.web.transport.timeouts import DEFAULT_TIMEOUTS, Timeouts

# Connections that may wait to be accepted: a load test begins with thousands at once. The kernel
# cuts it to its own limit.
_BACKLOG: Final = 4096
RENEWAL_SECONDS = 10.0
"""Between two looks at whether the files of a certificate have changed."""
_CANCEL_SECONDS: Final = 1.0
"""For a start to end that was cancelled."""

_log = get_logger()


class UncompiledParser(RuntimeError):
    """aiohttp's compiled HTTP parser is missing; the other one has let request smuggling pass."""

    def __init__(self) -> None:
        super().__init__(
            "aiohttp's compiled HTTP parser is missing; the other one has let request smuggling"
            " pass."
        )


async def serve(  # noqa: PLR0913 - each is a choice of its own
    app: web.Application,
    *,
    host: str,
    port: int,
    started: Callable[[Sequence[tuple[str, int]]], None],
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    limits: Limits = NORMAL,
    certificate: ServerCertificate | None = None,
    owns_process: bool = False,
) -> None:
    """Serve `app` until SIGTERM or SIGINT, then drain and return; a second signal skips the waits.

    Args:
        app: Has `METRICS`, `REQUEST_OBSERVER` and `DRAINING`; setting the last is as good as a
            signal.
        host: An address or a host name.
        port: 0 for any that is free.
        started: Is called with the addresses once connections are accepted.
        timeouts: How long to wait for clients, and when stopping.
        limits: How much to let in.
        certificate: What to show for HTTPS; None for HTTP.
        owns_process: Whether nothing else runs in this process, so that its garbage collector may
            be tuned.

    Raises:
        UncompiledParser: aiohttp was installed without its compiled parser.
        OSError: It can't listen there.
        Exception: What the start of `app` raises.
    """
    if not parser_is_compiled():
        raise UncompiledParser
    draining, force = app[DRAINING], asyncio.Event()
    runner = make_runner(app, force, timeouts, limits)

    def stop() -> None:
        (force if draining.is_set() else draining).set()

    with _on_signal(stop), _renewing(certificate):
        try:
            if await _completes(_start(runner, host, port, certificate), unless=draining):
                started([(address[0], address[1]) for address in runner.addresses])
                if owns_process:
                    garbage.tune()
                await draining.wait()
                _log.info("draining")
                await _wait(force, timeouts.grace)
            else:
                _log.info("stopped before the start was complete")
        finally:
            try:
                async with asyncio.timeout(timeouts.cleanup):
                    await runner.cleanup()
            except TimeoutError:
                _log.error("stopped before the cleanup was complete", seconds=timeouts.cleanup)


async def _start(
    runner: Runner, host: str, port: int, certificate: ServerCertificate | None
) -> None:
    with ExitStack() as unused:
        # First: a start that fails for want of an address must have drawn no password.
        sockets = await bind(host, port)
        for each in sockets:
            unused.callback(each.close)
        await runner.setup()
        for each in sockets:
            await web.SockSite(runner, each, backlog=_BACKLOG, ssl_context=certificate).start()
        unused.pop_all()


@contextmanager
def _renewing(certificate: ServerCertificate | None) -> Iterator[None]:
    """Take renewed files of a certificate while the block runs."""
    if certificate is None:
        yield
        return
    renewing = asyncio.create_task(_renew(certificate))
    try:
        yield
    finally:
        renewing.cancel()


async def _renew(certificate: ServerCertificate) -> None:
    while True:
        await asyncio.sleep(RENEWAL_SECONDS)
        try:
            if await asyncio.to_thread(certificate.renew):
                _log.info("certificate renewed")
        except BadCertificate as exc:
            _log.warning("certificate not renewed", setting=exc.field, reason=str(exc))


async def _completes(work: Coroutine[Any, Any, None], *, unless: asyncio.Event) -> bool:
    """Do `work`, or cancel it once an event is set; say whether it completed.

    Raises:
        Exception: What `work` raises, unless it was cancelled.
    """
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(unless.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait((working,), timeout=_CANCEL_SECONDS)
        if working.done() and not working.cancelled():
            working.exception()  # else asyncio would log it
    return False


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@contextmanager
def _on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for each SIGTERM and SIGINT, where there are any to be had.

    Also for one that came before and was blocked. Whoever had them blocked has them so again after.

    Not on Windows, where Ctrl+C cancels the task that awaits `serve`, and not outside the main
    thread, where whoever started it sets `DRAINING` to stop it.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        loop.add_signal_handler(number, stop)
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, before)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
