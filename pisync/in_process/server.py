"""A server within this process: in a thread of its own, with an event loop of its own."""

import asyncio
import atexit
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeVar

from pisync import keys
from pisync.app import create_app
from pisync.auth.accounts import ADMIN_NAME, Accounts
from pisync.auth.tokens import Tokens
from pisync.client import (
    CallFailed,
    FleetClient,
    Object,
)
from pisync.clocks import SteadyClocks
from pisync.concurrency.event_loop import fastest_loop
from pisync.config.settings import Settings
from pisync.model.account import (
    DEVICES,
    SCOPES,
)
from pisync.stores.errors import NoSuchAccount
from pisync.web.transport.addresses import url
from pisync.web.transport.admission import Limits
from pisync.web.transport.serve import serve
from pisync.web.transport.timeouts import Timeouts

# A free port, hashes that cost a millisecond, and tokens that outlive a day in the debugger.
SETTINGS: Final = Settings(port=0, bcrypt_cost=4, token_ttl=86_400)
SEED: Final = 1
"""The seed of a fleet that names none: so that a test that passes today passes tomorrow."""

# Nobody routes new callers here, so there is nobody to wait for.
_TIMEOUTS = Timeouts(grace=0)

_STOP_SECONDS = 10.0
TTL: Final = 3600
"""Seconds after which a server forgets the fleet of a test run that has died."""
_PAGE = 1000

_Result = TypeVar("_Result")

_fleet_numbers = count(1)


@dataclass(frozen=True)
class RunningServer:
    """A server at `url`, and what it takes to be let in."""

    url: str
    _tokens: Tokens = field(repr=False)
    _accounts: Accounts = field(repr=False)
    _loop: asyncio.AbstractEventLoop = field(repr=False)

    def token(
        self,
        *scopes: str,
        name: str = "tester",
        ttl: int | None = None,
        fleet: str | None = None,
    ) -> str:
        """Return a token with these scopes (`devices`, `admin`), for `ttl` seconds or a day.

        With a `fleet`, it is good for that one alone.
        """
        return self._tokens.issue(name, scopes, ttl, fleet=fleet)

    def client(self, fleet: str = "default") -> FleetClient:
        """Return a client for a fleet, whether it is there already or not."""
        return FleetClient(
            self.url,
            fleet,
            token=self.token(DEVICES),
            admin_token=self.token(*SCOPES, name="admin"),
        )

    @contextmanager
    def own_accounts(self) -> Iterator[None]:
        """Delete at the end of the `with` block what accounts were registered in it.

        Failed logins are forgotten, too, so that those of one block are not counted in the next.
        """
        before = self._run(_account_names(self._accounts))
        try:
            yield
        finally:
            self._run(_delete_accounts(self._accounts, keep=before))

    def _run(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    @contextmanager
    def new_fleet(
        self,
        devices: int | Sequence[Object] = 10,
        profile: Object | None = None,
        ttl: int | None = TTL,
    ) -> Iterator[FleetClient]:
        """Make a fleet, as `FleetClient.replace` does, for as long as the `with` block runs."""
        client = self.client(f"test-{next(_fleet_numbers)}")
        client.replace(devices, {"seed": SEED, **(profile or {})}, ttl=ttl)
        try:
            yield client
        finally:
            try:
                client.delete()
            except CallFailed as failure:
                if failure.status != 404:  # it may have been deleted already
                    raise


async def _account_names(accounts: Accounts) -> set[str]:
    names, after, more = set[str](), "", True
    while more:
        page = await accounts.page(after, _PAGE)
        names |= {account.key for account in page.accounts}
        after, more = max(names, default=""), page.more
    return names


async def _delete_accounts(accounts: Accounts, *, keep: set[str]) -> None:
    for name in await _account_names(accounts) - keep - {ADMIN_NAME}:
        with suppress(NoSuchAccount):
            await accounts.delete(name)
    accounts.forget_failures()


@contextmanager
def running_server(settings: Settings = SETTINGS) -> Iterator[RunningServer]:
    """Run a server until the end of the `with` block, or of the process.

    Raises:
        Exception: What its start raises, and at the end what its stop does.
    """
    app = create_app(settings, clocks=SteadyClocks())
    listening: Future[tuple[asyncio.AbstractEventLoop, str]] = Future()
    stopped: Future[None] = Future()

    def started(addresses: Sequence[tuple[str, int]]) -> None:
        listening.set_result((asyncio.get_running_loop(), url(*addresses[0])))

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=fastest_loop()) as runner:
                runner.run(
                    serve(
                        app,
                        host=settings.host,
                        port=settings.port,
                        started=started,
                        timeouts=_TIMEOUTS,
                        limits=Limits(settings.max_connections, settings.max_requests),
                    )
                )
        except BaseException as exc:  # noqa: BLE001 - whoever waits for the thread raises it
            stopped.set_exception(exc)
        else:
            stopped.set_result(None)

    # Where nobody ends the `with` block, the thread must not keep the process.
    thread = threading.Thread(target=run, name="pisync", daemon=True)
    thread.start()
    either: tuple[Future[Any], ...] = (listening, stopped)
    wait(either, return_when=FIRST_COMPLETED)
    if not listening.done():
        stopped.result()
    loop, address = listening.result()

    def stop() -> None:
        with suppress(RuntimeError):  # it has stopped by itself, and says below why
            loop.call_soon_threadsafe(app[keys.DRAINING].set)
        thread.join(_STOP_SECONDS)

    # Later, the interpreter freezes threads, and nobody could wait for one.
    atexit.register(stop)
    try:
        yield RunningServer(address, app[keys.TOKENS], app[keys.ACCOUNTS], loop)
    finally:
        atexit.unregister(stop)
        stop()
        if stopped.done():
            stopped.result()
