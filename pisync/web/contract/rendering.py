"""Values as clients see them, and the answers that carry them."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import orjson
from aiohttp import hdrs, web

from pisync.model import timestamp
from pisync.model.account import Account
from pisync.model.clock import ClockView
from pisync.model.device import Device, ErrorLog
from pisync.model.fleet import FleetView, Ledger, Stats
from pisync.model.outcome import PENDING
from pisync.model.plans.draw import Draw
from pisync.model.plans.phases import Phase
from pisync.model.plans.profile import Profile
from pisync.model.plans.traffic import Traffic
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.requests.expectation import VerifyProblem
from pisync.model.requests.fault import FaultRule, delay_as_json
from pisync.model.requests.journal import JournaledRequest
from pisync.model.sync import ClockAdvance
from pisync.model.timestamp import SECOND
from pisync.simulation.bulk import BulkResult
from pisync.simulation.lateness import LatenessView
from pisync.simulation.rates import RateHistory
from pisync.web.contract.problems import (
    JSON_TYPE,
    Problem,
)

Json = Mapping[str, object]
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_PENDING_DEVICE: Final = (
    b'{"device_id":%d,"last_sync_at":%b,"sync_status_code":%d,"error_message":null,'
    b'"last_attempt_at":%b}'
)
Headers = Mapping[str, str]
REFERENCES: Final = (hdrs.LINK, hdrs.LOCATION)
"""The headers that refer to calls."""


def answer(
    value: object, status: int = HTTPStatus.OK, headers: Headers | None = None
) -> web.Response:
    """Return a value as JSON."""
    return _answer(to_json(value), status, headers)


class Rendered:
    """An answer: its body and headers, and the ETag of the body if it has one."""

    __slots__ = ("_below_base_url", "_head", "body", "content_type", "headers", "status", "tag")

    def __init__(
        self,
        body: bytes,
        tag: str | None = None,
        content_type: str = JSON_TYPE,
        headers: Headers | None = None,
        status: int = HTTPStatus.OK,
    ) -> None:
        self.body = body
        self.tag = tag
        self.content_type = content_type
        self.headers = headers
        self.status = status
        self._head = b""
        self._below_base_url: Rendered | None = None

    @classmethod
    def of(
        cls, value: object, headers: Headers | None = None, status: int = HTTPStatus.OK
    ) -> "Rendered":
        """Return a value as JSON."""
        return cls(to_json(value), headers=headers, status=status)

    @classmethod
    def tagged(cls, value: object, headers: Headers | None = None) -> "Rendered":
        """Return a value as JSON, with an ETag of the body and these headers."""
        body = to_json(value)
        return cls(body, tag_of(body, headers), headers=headers)

    @classmethod
    def problem(cls, problem: Problem, headers: Headers | None = None) -> "Rendered":
        """Return the answer to a request that has a problem, with more headers if need be."""
        merged = {**problem.headers, **headers} if headers else problem.headers
        return cls(problem.body, headers=merged, status=problem.status)

    @property
    def head(self) -> bytes:
        """The lines of the answer's head that are the same whenever it is sent."""
        if not self._head:
            headers = tag = ""
            if self.headers:
                headers = "".join([f"{name}: {text}\r\n" for name, text in self.headers.items()])
            if self.tag is not None:
                tag = f'{hdrs.ETAG}: "{self.tag}"\r\n'
            self._head = (
                f"{_STATUS_LINES[self.status]}{headers}Content-Type: {self.content_type}\r\n"
                f"{tag}Content-Length: {len(self.body)}\r\n"
            ).encode()
        return self._head

    def below_base_url(self, path: str) -> "Rendered":
        """Return the same as an answer to the call at `path` below a fleet's base URL."""
        if self._below_base_url is None:
            headers = {**(self.headers or {})}
            for name in REFERENCES:
                if name in headers:
                    headers[name] = relative(headers[name], path)
            self._below_base_url = Rendered(
                self.body, self.tag, self.content_type, headers, self.status
            )
        return self._below_base_url

    def answer(self, request: web.Request) -> web.Response:
        """Return the answer, or 304 if the client's `If-None-Match` has the tag."""
        if self.tag is None:
            return _answer(self.body, self.status, self.headers, self.content_type)
        if self.is_known(request):
            response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=self.headers)
        else:
            response = _answer(self.body, HTTPStatus.OK, self.headers, self.content_type)
        response.headers[hdrs.ETAG] = f'"{self.tag}"'
        return response

    def is_known(self, request: web.Request) -> bool:
        """Say whether a client's `If-None-Match`, over all its lines, has the tag."""
        # aiohttp reads the first line alone, and takes an asterisk in quotes for one without.
        known = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
        return known.strip() == "*" or self.tag in _TAG.findall(known)


def tag_of(body: bytes, headers: Headers | None = None) -> str:
    """Return the ETag of a body, and of the headers that change with it."""
    digest = blake2b(body, digest_size=12)
    for name, value in (headers or {}).items():
        digest.update(f"\n{name}: {value}".encode())
    return digest.hexdigest()


def to_json(value: object) -> bytes:
    """Return a value as JSON."""
    # Status codes are keys where counts are by status.
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def _answer(
    body: bytes, status: int, headers: Headers | None, content_type: str = JSON_TYPE
) -> web.Response:
    response = web.Response(status=status, body=body, headers=headers)
    response.headers[hdrs.CONTENT_TYPE] = content_type
    return response


def relative(reference: str, path: str) -> str:
    """Return a reference to a call (`/devices/7`, `</devices?after=7>; …`), relative to `path`.

    So it stays below a fleet's base URL, whatever a proxy strips from that or puts in front of it.
    """
    return reference.replace("/", "../" * (path.count("/") - 1), 1)


def next_page(path: str, query: Mapping[str, object]) -> str:
    """Return a `Link` to the page that follows; parts of the query that are None are left out."""
    present = {name: value for name, value in query.items() if value is not None}
    return f'<{path}?{urlencode(present, safe=",:")}>; rel="next"'


def device(of: Device) -> Json:
    """Return the five fields of a device."""
    device_id, synced, code, message, attempted, _, _ = of
    return {
        "device_id": device_id,
        "last_sync_at": None if synced is None else timestamp.render(synced),
        "sync_status_code": code,
        "error_message": message,
        "last_attempt_at": timestamp.render(attempted),
    }


def pending_device(of: Device) -> bytes:
    """Return a device with an attempt under way as JSON, as `device` has it, but sooner."""
    device_id, synced, _, _, attempted, _, _ = of
    return _PENDING_DEVICE % (device_id, _quoted(synced), PENDING, _quoted(attempted))


# Attempts that begin together have one moment, and so have devices that nobody has touched.
@lru_cache(maxsize=64)
def _quoted(moment: int | None) -> bytes:
    return b"null" if moment is None else b'"%b"' % timestamp.render_once(moment).encode()


def account(of: Account) -> Json:
    """Return an account, without its password and its revocation."""
    return {"username": of.name, "scopes": of.scopes, "disabled": of.disabled}


def devices(of: Sequence[Device]) -> list[Json]:
    """Return devices."""
    return [device(one) for one in of]


def error_log(of: ErrorLog) -> Json:
    """Return an error log."""
    return {**of._asdict(), "occurred_at": timestamp.render(of.occurred_at)}


def stats(of: Stats) -> Json:
    """Return a fleet's counts."""
    return {
        "devices": of.devices,
        "pending": of.pending,
        "by_status": of.by_status,
        "attempts": of.attempts,
        "succeeded": of.succeeded,
        "failed": of.failed,
        "error_logs": of.error_logs,
    }


def history(of: RateHistory) -> Json:
    """Return a fleet's rates."""
    return {
        "from": timestamp.render(of.start * SECOND),
        "started": of.started,
        "succeeded": of.succeeded,
        "failed": of.failed,
    }


def bulk_result(of: BulkResult) -> Json:
    """Return the result of a bulk sync."""
    return of._asdict()


def profile(of: Profile) -> Json:
    """Return a profile, the seed that was drawn for it included.

    Spells and what comes after them are there only where they do something.
    """
    spells = {"spells": {"mean_length": of.mean_length}} if of.mean_length != 1 else {}
    phases = {"phases": [_phase(phase) for phase in of.phases]} if of.phases else {}
    cycle = {"repeat_every": of.repeat_every} if of.repeat_every is not None else {}
    traffic = {"traffic": _traffic(of.traffic)} if of.traffic is not None else {}
    return {
        "seed": of.seed,
        "outcomes": _outcomes(of.outcomes),
        "delay": delay_as_json(of.delay),
        "when_pending": "refuse" if of.refuse_pending else "join",
        "max_pending": of.max_pending,
        **spells,
        **phases,
        **cycle,
        **traffic,
    }


def _traffic(of: Traffic) -> Json:
    return {"every": delay_as_json(of.every), "share": of.share}


def _phase(of: Phase) -> Json:
    return {
        "from": of.start,
        "until": of.end,
        **({} if of.outcomes is None else {"outcomes": _outcomes(of.outcomes)}),
        **({} if of.delay is None else {"delay": delay_as_json(of.delay)}),
    }


def _outcomes(of: Sequence[WeightedOutcome]) -> list[Json]:
    return [{**weighted.outcome._asdict(), "weight": weighted.weight} for weighted in of]


def clock(of: ClockView) -> Json:
    """Return a fleet's clock."""
    return {"mode": of.mode, "speed": of.speed, "now": timestamp.render(of.now)}


def fleet(of: FleetView) -> Json:
    """Return a fleet."""
    return _fleet(of, profile=profile(of.profile))


def fleet_summary(of: FleetView) -> Json:
    """Return a fleet without its profile; `seed` is the effective one."""
    return _fleet(of)


def _fleet(of: FleetView, **details: object) -> Json:
    return {
        "name": of.name,
        "devices": of.devices,
        "seed": of.profile.seed,
        **details,
        "journal": of.journal,
        "clock": clock(of.clock),
        "ttl": of.ttl,
        "expires_at": None if of.expires_at is None else timestamp.render(of.expires_at),
    }


def moved(of: ClockAdvance) -> Json:
    """Return a fleet's time after it was advanced."""
    return {"now": timestamp.render(of.now), "finished": of.finished}


def forecast(of: Sequence[tuple[int, Draw]]) -> list[Json]:
    """Return the outcomes of attempts to come."""
    return [
        {"attempt": attempt, **drawn.outcome._asdict(), "delay": drawn.delay / SECOND}
        for attempt, drawn in of
    ]


def ledger(of: Ledger, lateness: LatenessView) -> Json:
    """Return a fleet's ledger."""
    return {
        "accepted": of.accepted,
        "joined": of.joined,
        "refused": of.refused,
        "succeeded": of.succeeded,
        "failed": of.failed,
        "pending": of.pending,
        "held": of.held,
        "error_logs": of.error_logs,
        "lateness": lateness._asdict(),
        "faults": of.faults,
        "balanced": of.balanced,
    }


def faults(of: Sequence[tuple[FaultRule, int]]) -> list[Json]:
    """Return rules for faults, with how many requests each has hit."""
    return [{**rule.as_json(), "hits": hits} for rule, hits in of]


def journaled(of: JournaledRequest) -> Json:
    """Return a request of a journal."""
    entry = of.entry._asdict()
    received = timestamp.render(of.entry.received_at)
    return {"number": of.number, **entry, "received_at": received}


def verification(of: Sequence[VerifyProblem]) -> Json:
    """Return whether requests are as expected, and if not, what is wrong."""
    if not of:
        return {"verified": True}
    return {
        "verified": False,
        "problems": [
            {
                "index": problem.place,
                "found": problem.found,
                "wanted": problem.expectation.wanted(),
                "message": problem.message,
                "nearest": [journaled(request) for request in problem.nearest],
            }
            for problem in of
        ],
    }
