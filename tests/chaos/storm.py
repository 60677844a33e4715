"""A storm: clients that make any calls, and hang up; readers of streams; and what is wrong."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import orjson
from aiohttp import ClientError

from pisync.web.openapi.document import document
from tests.conftest import Api

FAULTY = "faulty"
"""The fleet whose answers faults befall; those of the others must be good."""
LIVING = "living"
"""The fleet whose devices sync by themselves, to begin with."""
FLEETS = ("default", "lab", FAULTY, LIVING)
COPY = "copy"
"""The fleet that is made of the others; no calls of users go to it."""
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
JOURNAL = 500
FLEET_BODY = {"devices": DEVICES, "profile": _PROFILE, "journal": JOURNAL}
_TRAFFIC = {"every": {"distribution": "uniform", "min": 0.2, "max": 1}}
LIVING_BODY = {**FLEET_BODY, "profile": {**_PROFILE, "traffic": _TRAFFIC}}

FAULTS: Sequence[Any] = [
    {"calls": ["sync", "bulk"], "share": 0.1, "fault": {"kind": "reset"}, "when": "after"},
    {"calls": ["sync", "device"], "share": 0.1, "fault": {"kind": "status", "status": 503}},
    {"calls": ["devices"], "share": 0.2, "fault": {"kind": "truncate"}, "when": "after"},
    {"calls": ["errors"], "share": 0.2, "fault": {"kind": "garbage"}},
    {"calls": ["stats"], "share": 0.2, "fault": {"kind": "close"}},
    {"calls": ["events"], "share": 0.5, "fault": {"kind": "truncate", "share": 0.3}},
    {
        "calls": ["device"],
        "share": 0.2,
        "fault": {
            "kind": "delay",
            "delay": {"distribution": "uniform", "min": 0.001, "max": 0.02},
        },
    },
]
_OF_ONE_DEVICE = [
    {
        "calls": ["sync"],
        "device_ids": [1, 2],
        "first": 3,
        "fault": {"kind": "drip", "bytes": 50, "every": 0.001},
    },
    {"calls": ["sync"], "device_ids": [1], "fault": {"kind": "status", "status": 429}},
]


class Call(NamedTuple):
    """A call as the document names it, and one of its kind."""

    method: str
    template: str
    path: str
    body: Any = None


_FLEET = "/admin/fleets/{fleet}"
_FAULTS = f"/admin/fleets/{FAULTY}/faults"
_DOCUMENTED = {_FAULTS: f"{_FLEET}/faults"}
_OPEN_TO_FAULTS = ("/devices", "/errors", "/stats")
_DEVICE = f"{_FLEET}/devices/{{device_id}}"
_SNAPSHOT = f"{_FLEET}/snapshot"
_STEPS = (
    [{"hold": True}],
    [{"polls": 2, "sync_status_code": 404, "error_message": "Server Not Reachable"}],
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
_PHASE = {
    "from": 0.5,
    "until": 1,
    "outcomes": [{**_OUTCOME, "weight": 1}],
    "delay": {"distribution": "constant", "seconds": 0.01},
}
_CHANGES: Sequence[Any] = (
    {"profile": {"seed": 5}},
    {"profile": {"when_pending": "refuse"}},
    {"profile": {"spells": {"mean_length": 4}}},
    {"profile": {"phases": [_PHASE], "repeat_every": 1}},
    {"profile": {"phases": [], "repeat_every": None, "spells": {"mean_length": 1}}},
    {"profile": {"traffic": _TRAFFIC}},
    {"profile": {"traffic": None}},
    {"journal": 20},
    {"journal": JOURNAL},
    {"ttl": 60},
    {"ttl": None},
)
_EXPECTED = {"requests": [{"call": "sync", "device_id": 1}, {"status": 202}], "in_order": True}
_CLOCKS = ({"mode": "manual"}, {"mode": "auto"}, {"mode": "real"}, {"mode": "real", "speed": 50})
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
    ("PUT", _FLEET, [FLEET_BODY, LIVING_BODY]),
    *(("PATCH", _FLEET, _CHANGES),) * 2,
    ("DELETE", _FLEET, [None]),
    ("POST", f"{_FLEET}/reset", [None]),
    ("POST", f"{_FLEET}/advance", [{"seconds": 0.01}, {"seconds": 1}]),
    ("POST", f"{_FLEET}/settle", [None]),
    ("GET", f"{_FLEET}/forecast?device_id=1", [None]),
    ("GET", f"{_FLEET}/ledger", [None]),
    ("GET", _SNAPSHOT, [None]),
    ("PUT", _SNAPSHOT, [None]),
    *(("POST", f"{_FLEET}/copy", [{"to": COPY}, {"to": FAULTY}]),) * 2,
    ("GET", f"{_FLEET}/requests?limit=5&call=sync", [None]),
    ("DELETE", f"{_FLEET}/requests", [None]),
    ("POST", f"{_FLEET}/verify", [_EXPECTED]),
    ("GET", f"{_FLEET}/faults", [None]),
    # Often, since a replacement has none.
    *(("PUT", _FAULTS, [FAULTS, _OF_ONE_DEVICE]),) * 5,
    ("DELETE", _FAULTS, [None]),
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
    template = template.partition("?")[0]
    return Call(method, _DOCUMENTED.get(template, template), path, body)


class Storm:
    """What was answered, and what of that was wrong."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - nothing secret hangs on it
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.flaws: list[str] = []
        self.faults = 0
        """Answers that a fault has befallen."""
        self._paths = document()["paths"]
        self._is_over = False
        self._snapshots: dict[str, bytes] = {}
        """The last one of each fleet, by the path that it was taken from."""

    @property
    def copies(self) -> int:
        """How many fleets were made of what others are or were."""
        made = (("POST", f"{_FLEET}/copy"), ("PUT", _SNAPSHOT))
        return sum(
            n for (*call, status), n in self.answers.items() if tuple(call) in made and status < 300
        )

    async def blow(self, apis: Sequence[Api], clients: int, seconds: float, answers: int) -> None:
        """Let clients make calls, for so long and until there are so many answers, and a fault."""
        seeds = [self.dice.random() for _ in range(clients)]
        callers = [
            self._call_on_and_on(apis[number % len(apis)], random.Random(seed))  # noqa: S311 - as above
            for number, seed in enumerate(seeds)
        ]

        async def end() -> None:
            await asyncio.sleep(seconds)
            # On a machine that is busy, it takes longer.
            while self.answers.total() <= answers or not self.faults:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            self._is_over = True

        await asyncio.gather(end(), *callers)

    async def _call_on_and_on(self, api: Api, dice: random.Random) -> None:
        bound = {fleet: api.as_("devices", "admin", fleet=fleet) for fleet in FLEETS}
        while not self._is_over:
            call, fleet = draw_call(dice), dice.choice(FLEETS)
            if call[:2] == ("PUT", _SNAPSHOT):
                if call.path not in self._snapshots:
                    continue
                # A fleet goes back in time, or another goes on from there.
                path = dice.choice((call.path, _SNAPSHOT.format(fleet=COPY)))
                call = call._replace(path=path, body=self._snapshots[call.path])
            is_open = call.path.startswith(_OPEN_TO_FAULTS)
            patience = dice.uniform(0, 0.02) if dice.random() < 0.1 else _PATIENCE
            caller = dice.choice((api.on(fleet), bound[fleet]))
            if is_open and dice.random() < 0.5:
                caller = caller.on(None)
                call = call._replace(path=f"/fleets/{fleet}{call.path}")
            await self._make(caller, call, patience, may_fail=is_open and fleet == FAULTY)

    async def _make(self, api: Api, call: Call, patience: float, *, may_fail: bool) -> None:
        try:
            async with asyncio.timeout(patience):
                answer = await api.call(call.method, call.path, **_options(call.body))
        except TimeoutError:
            if patience == _PATIENCE:
                self.flaws.append(f"{call}: no answer")
            return
        except ClientError as exc:
            if may_fail:
                self.faults += 1
            else:
                self.flaws.append(f"{call}: {exc!r}")
            return
        if "Pisync-Fault" in answer.headers and may_fail:
            self.faults += 1
            return
        self.answers[call.method, call.template, answer.status] += 1
        # The template as the document has it, whatever the name of a parameter.
        documented = self._paths[call.template][call.method.lower()]["responses"]
        is_refused = isinstance(call.body, bytes) and answer.status == 422
        if answer.status >= 500 or str(answer.status) not in documented or is_refused:
            self.flaws.append(f"{call}: {answer.status} {answer.body[:200]!r}")
        if call[:2] == ("GET", _SNAPSHOT) and answer.status == 200:
            self._snapshots[call.path] = answer.body


def _options(body: Any) -> dict[str, Any]:
    if isinstance(body, bytes):
        return {"data": body, "headers": {"Content-Type": "application/x-ndjson"}}
    return {"json": body}


class StreamReader:
    """Follows a fleet's events: every attempt begins, finishes, and leaves its log, in order.

    A stream that breaks is resumed after its last whole event, so that none may be missing.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._last_event_id = ""
        self.known: dict[int, tuple[int, int]] = {}
        """Attempt and status of each device, as far as the stream has told."""
        self.flaws: list[str] = []
        self.events = 0
        self.resumed = 0
        """Streams that were broken by a fault, and gone on with."""

    async def follow(self) -> None:
        """Read events until cancelled; where the stream ends, take it up again."""
        while True:
            try:
                async for name, data in self._stream():
                    self.events += 1
                    self._take(name, data)
            except ClientError:
                self.resumed += 1
            await asyncio.sleep(0.01)

    async def _stream(self) -> AsyncIterator[tuple[str, Any]]:
        headers = {
            "Authorization": f"Bearer {self._api.token}",
            "Pisync-Fleet": str(self._api.fleet),
        }
        if self._last_event_id:
            headers["Last-Event-ID"] = self._last_event_id
        async with self._api.client.get("/events", headers=headers) as response:
            if response.status != 200:
                self._last_event_id = ""
                self.known.clear()
                return
            fields: dict[str, str] = {}
            async for line in response.content:
                if line != b"\n":
                    field, _, value = line.decode().rstrip("\n").partition(": ")
                    fields[field] = value
                    continue
                self._last_event_id = fields.get("id", self._last_event_id)
                if "data" in fields:
                    yield fields["event"], orjson.loads(fields["data"])
                fields = {}

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
