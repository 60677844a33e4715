"""A storm: clients that make any calls, and hang up; readers of streams; and what is wrong."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson
from aiohttp import ClientError

from pisync.web.openapi.document import document
from tests.conftest import Api

FLEETS = ("default", "lab")
DEVICES = 10
NAMES = ("alice", "bob", "carol")
_PATIENCE = 60.0
"""Seconds that any call may take."""

_PROFILE = {
    "outcomes": [
        {"sync_status_code": 200, "error_message": None, "weight": 1},
        {"sync_status_code": 400, "error_message": "Storage Full", "weight": 1},
    ],
    "delay": {"distribution": "uniform", "min": 0, "max": 0.02},
}
FLEET_BODY = {"devices": DEVICES, "profile": _PROFILE}


class Call(NamedTuple):
    """A call as the document names it, and one of its kind."""

    method: str
    template: str
    path: str
    body: Any = None


_FLEET = "/admin/fleets/{fleet}"
_DEVICE = f"{_FLEET}/devices/{{device_id}}"
_STEPS = (
    [{"hold": True}],
    [{"sync_status_code": 500, "error_message": "Connection Timeout", "delay": 0.001}],
    [{"sync_status_code": 200, "error_message": None, "sticky": True}],
)
_BULKS: Sequence[Any] = (
    {"all": True},
    {"status": [400, 500]},
    {"device_ids": [*range(1, DEVICES + 3)]},
    {},
)
_OUTCOME = {"sync_status_code": 404, "error_message": "Server Not Reachable"}
_CLOCKS = ({"mode": "manual"}, {"mode": "real"}, {"mode": "real", "speed": 50})
_TEMPLATES: Sequence[tuple[str, str, Sequence[Any]]] = (
    *(("POST", "/devices/{device_id}/sync", [None]),) * 12,
    *(("POST", "/devices/sync", _BULKS),) * 2,
    *(("PUT", f"{_FLEET}/clock", _CLOCKS),) * 3,
    ("GET", "/devices", [None]),
    ("GET", "/devices/{device_id}", [None]),
    ("GET", "/errors", [None]),
    ("GET", "/stats", [None]),
    ("GET", "/admin/fleets", [None]),
    ("GET", _FLEET, [None]),
    ("PUT", _FLEET, [FLEET_BODY]),
    ("PATCH", _FLEET, [{"profile": {"seed": 5}}, {"profile": {"when_pending": "refuse"}}]),
    ("DELETE", _FLEET, [None]),
    ("POST", f"{_FLEET}/reset", [None]),
    ("POST", f"{_FLEET}/advance", [{"seconds": 0.01}, {"seconds": 1}]),
    ("POST", f"{_FLEET}/settle", [None]),
    ("GET", f"{_FLEET}/forecast?device_id=1", [None]),
    ("GET", f"{_FLEET}/ledger", [None]),
    ("PUT", f"{_DEVICE}/script", _STEPS),
    ("DELETE", f"{_DEVICE}/script", [None]),
    ("POST", f"{_DEVICE}/release", [_OUTCOME]),
    ("POST", "/register", [None]),
    ("POST", "/login", [None]),
    ("GET", "/admin/accounts", [None]),
    ("PATCH", "/admin/accounts/{username}", [{"disabled": True}, {"disabled": False}]),
    ("DELETE", "/admin/accounts/{username}", [None]),
    ("GET", "/livez", [None]),
    ("GET", "/readyz", [None]),
    ("GET", "/metrics", [None]),
    ("GET", "/openapi.json", [None]),
)


def draw_call(dice: random.Random) -> Call:
    """Return any call."""
    method, template, bodies = dice.choice(_TEMPLATES)
    name = dice.choice(NAMES)
    path = template.format(
        fleet=dice.choice(FLEETS), device_id=dice.randint(1, DEVICES + 1), username=name
    )
    body = dice.choice(bodies)
    if path in {"/register", "/login"}:
        password = dice.choice(("correct horse", "wrong battery"))
        body = {"username": name, "password": password}
    return Call(method, template.partition("?")[0], path, body)


class Storm:
    """What was answered, and what of that was wrong."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - nothing secret hangs on it
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.flaws: list[str] = []
        self._paths = document()["paths"]
        self._is_over = False

    async def blow(self, apis: Sequence[Api], clients: int, seconds: float, answers: int) -> None:
        """Let so many clients make calls, for so long and until there are so many answers."""
        seeds = [self.dice.random() for _ in range(clients)]
        callers = [
            self._call_on_and_on(apis[number % len(apis)], random.Random(seed))  # noqa: S311 - as above
            for number, seed in enumerate(seeds)
        ]

        async def end() -> None:
            await asyncio.sleep(seconds)
            while self.answers.total() <= answers:  # noqa: ASYNC110 - on a machine that is busy
                await asyncio.sleep(0.1)
            self._is_over = True

        await asyncio.gather(end(), *callers)

    async def _call_on_and_on(self, api: Api, dice: random.Random) -> None:
        while not self._is_over:
            call = draw_call(dice)
            patience = dice.uniform(0, 0.02) if dice.random() < 0.1 else _PATIENCE
            await self._make(api.on(dice.choice(FLEETS)), call, patience)

    async def _make(self, api: Api, call: Call, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                answer = await api.call(call.method, call.path, json=call.body)
        except TimeoutError:
            if patience == _PATIENCE:
                self.flaws.append(f"{call}: no answer")
            return
        except ClientError as exc:
            self.flaws.append(f"{call}: {exc!r}")
            return
        self.answers[call.method, call.template, answer.status] += 1
        # The template as the document has it, whatever the name of a parameter.
        documented = self._paths[call.template][call.method.lower()]["responses"]
        if answer.status >= 500 or str(answer.status) not in documented:
            self.flaws.append(f"{call}: {answer.status} {answer.body[:200]!r}")


class StreamReader:
    """Follows a fleet's events: every attempt begins, finishes, and leaves its log, in order."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.known: dict[int, tuple[int, int]] = {}
        """Attempt and status of each device, as far as the stream has told."""
        self.flaws: list[str] = []
        self.events = 0

    async def follow(self) -> None:
        """Read events until cancelled; where the stream ends, take it up again."""
        while True:
            with suppress(ClientError):
                async for name, data in self._stream():
                    self.events += 1
                    self._take(name, data)
            self.known.clear()
            await asyncio.sleep(0.01)

    async def _stream(self) -> AsyncIterator[tuple[str, Any]]:
        headers = {
            "Authorization": f"Bearer {self._api.token}",
            "Pisync-Fleet": str(self._api.fleet),
        }
        async with self._api.client.get("/events", headers=headers) as response:
            if response.status != 200:
                return
            name = ""
            async for line in response.content:
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, orjson.loads(value)

    def _take(self, name: str, data: Any) -> None:
        if name == "resync":
            self.known.clear()
        elif name == "sync":
            device = data["device"]
            device_id, now = device["device_id"], (data["attempt"], device["sync_status_code"])
            before = self.known.get(device_id)
            if before is not None and not _follows(before, now):
                self.flaws.append(f"device {device_id}: {now} after {before}")
            self.known[device_id] = now
        else:
            logged = data["attempt"], data["sync_status_code"]
            if self.known.get(data["device_id"], logged) != logged:
                self.flaws.append(f"{data} after {self.known[data['device_id']]}")


def _follows(before: tuple[int, int], now: tuple[int, int]) -> bool:
    if now[1] == 202:
        return before[1] != 202 and now[0] == before[0] + 1
    return before[1] == 202 and now[0] == before[0]
