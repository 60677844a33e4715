"""A whole application for each test, on a real socket, and short ways to talk to it."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import hypothesis
import jwt
import orjson
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import BaseRunner
from pytest_aiohttp.plugin import AiohttpClient

from pisync import keys
from pisync.app import create_app
from pisync.clocks import SYSTEM_CLOCKS
from pisync.config.settings import Settings
from pisync.stores.postgres import (
    begin_queue,
    database,
)
from pisync.stores.postgres.connection import connect
from pisync.web.transport.admission import NORMAL
from pisync.web.transport.fast_path import FAST_PATH
from pisync.web.transport.server import make_runner
from pisync.web.transport.timeouts import Timeouts
from tests.support import reaper

# Every run tries the same examples, and none fails because the machine is busy.
hypothesis.settings.register_profile("pisync", derandomize=True, deadline=None)
hypothesis.settings.register_profile(
    "fast", hypothesis.settings.get_profile("pisync"), max_examples=10
)

NOT_FAST = {"hot", "postgres", "sqlite", "tls"}
"""Parameters that `--fast` leaves out: the second way through the server, and the databases."""
NOT_FAST_MARKERS = ("browser", "container", "slow")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="run the subset that answers in seconds")


def pytest_configure(config: pytest.Config) -> None:
    reaper.start()
    hypothesis.settings.load_profile("fast" if config.getoption("--fast") else "pisync")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if not is_needless(item)]
    if config.getoption("--fast"):
        slow = [item for item in items if is_slow(item)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not is_slow(item)]


def pytest_collection_finish() -> None:
    # To look for cycles through all that tests have imported took a seventh of the time.
    gc.collect()
    gc.freeze()


def goes_one_way(item: pytest.Item) -> bool:
    """Whether a test is about what is the same on the hot path and without it."""
    return any(item.get_closest_marker(marker) for marker in ("browser", "one_way"))


def is_needless(item: pytest.Item) -> bool:
    """Whether a test would only prove once more what its twin on the hot path proves."""
    return goes_one_way(item) and "ordinary" in parameters(item)


def parameters(item: pytest.Item) -> list[str]:
    return item.name.partition("[")[2].rstrip("]").split("-")


def is_slow(item: pytest.Item) -> bool:
    """Whether `--fast` leaves a test out."""
    left_out = NOT_FAST - {"hot"} if goes_one_way(item) else NOT_FAST
    return not left_out.isdisjoint(parameters(item)) or any(
        item.get_closest_marker(marker) for marker in NOT_FAST_MARKERS
    )


SETTINGS = Settings(
    jwt_secret="a secret that only tests know, long enough",
    bcrypt_cost=4,
    admin_password="the admin's password",
    profile={"seed": 7, "delay": {"distribution": "constant", "seconds": 0.05}},
)


@pytest.fixture(autouse=True)
def patient_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a database on a busy machine for none that is away; where it is away, override this."""
    for module, name in (
        (database, "PATIENCE"),
        (connect, "CONNECT_SECONDS"),
        (begin_queue, "_CALLERS_PATIENCE"),
    ):
        monkeypatch.setattr(module, name, 30.0)
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        monkeypatch.setitem(connect.SESSION, name, "30000")


class ManualTime:
    """Both of the machine's clocks, in microseconds, moved by hand."""

    def __init__(self, wall: int = 1_763_800_000_000_000) -> None:
        self.wall_time = wall
        self.monotonic_time = 1_000_000

    def wall(self) -> int:
        return self.wall_time

    def monotonic(self) -> int:
        return self.monotonic_time

    def pass_seconds(self, seconds: float) -> None:
        """Let time go by on both clocks."""
        self.wall_time += round(seconds * 1e6)
        self.monotonic_time += round(seconds * 1e6)


@dataclass(frozen=True)
class Answer:
    """What a call was answered."""

    response: ClientResponse
    body: bytes

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> Any:
        return self.response.headers

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def assert_problem(self, status: int, *fields: str) -> "Answer":
        """Assert that this is an error answer in the one shape, with just these fields at fault."""
        assert self.status == status, self.body
        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        assert set(self.json) == ({"message", "errors"} if fields else {"message"}), self.body
        assert self.json["message"]
        assert set(self.json.get("errors", ())) == set(fields)
        return self


@dataclass(frozen=True)
class Api:
    """Calls the application as somebody: with their token, and on a fleet."""

    client: "TestClient[Any, Any]"
    token: str | None = None
    fleet: str | None = None

    def as_(self, *scopes: str, name: str = "tester", fleet: str | None = None) -> "Api":
        """Return the same with a token that has these scopes, and is bound to `fleet`."""
        assert self.client.app is not None
        tokens = self.client.app[keys.TOKENS]
        token = tokens.issue(name, scopes, fleet=fleet)
        # As if it had been seen before: the fast path takes no other.
        tokens.accept(token, jwt.decode(token, options={"verify_signature": False}))
        return replace(self, token=token)

    def on(self, fleet: str | None) -> "Api":
        """Return the same on a fleet."""
        return replace(self, fleet=fleet)

    async def call(self, method: str, path: str, **options: Any) -> "Answer":
        """Make a call and read its answer."""
        headers = dict(options.pop("headers", {}))
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if self.fleet is not None:
            headers.setdefault("Pisync-Fleet", self.fleet)
        async with self.client.request(
            method, path, headers=headers, allow_redirects=False, **options
        ) as response:
            return Answer(response, await response.read())

    async def get(self, path: str, **options: Any) -> "Answer":
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> "Answer":
        return await self.call("POST", path, json=json, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> "Answer":
        return await self.call("PUT", path, json=json, **options)

    async def patch(self, path: str, json: Any = None, **options: Any) -> "Answer":
        return await self.call("PATCH", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> "Answer":
        return await self.call("DELETE", path, **options)


MakeApi = Callable[..., Awaitable[Api]]


class ShippedServer(TestServer):
    """Serves as PiSync does: with the fast path in front of the application."""

    async def _make_runner(self, **_: Any) -> BaseRunner:
        return make_runner(self.app, asyncio.Event(), Timeouts(grace=0.0, under_way=0.5), NORMAL)


class OrdinaryServer(ShippedServer):
    """Serves without the fast path, as PiSync does where traces are wanted."""

    async def _make_runner(self, **options: Any) -> BaseRunner:
        self.app._state.pop(FAST_PATH, None)  # noqa: SLF001 - applications let no key go
        return await super()._make_runner(**options)


@pytest.fixture(params=[ShippedServer, OrdinaryServer], ids=["hot", "ordinary"])
def server_type(request: pytest.FixtureRequest) -> type[TestServer]:
    """What serves: every test of an application is run on its fast path and on its ordinary one."""
    served: type[TestServer] = request.param
    return served


@pytest.fixture
async def make_api(aiohttp_client: AiohttpClient, server_type: type[TestServer]) -> MakeApi:
    """Start an application with settings that differ so from those of all tests."""

    async def make(*, time: ManualTime | None = None, **settings: Any) -> Api:
        app: web.Application = create_app(
            replace(SETTINGS, **settings), clocks=time or SYSTEM_CLOCKS
        )
        return Api(await aiohttp_client(server_type(app)))

    return make


@pytest.fixture
async def api(make_api: MakeApi) -> Api:
    """An application, called without a token."""
    return await make_api()


@pytest.fixture
def user(api: Api) -> Api:
    """The application, called by a registered user."""
    return api.as_("devices")


@pytest.fixture
def admin(api: Api) -> Api:
    """The application, called by one who may do everything."""
    return api.as_("devices", "admin", name="admin")
