"""A small client for one fleet: what its devices do, and what an admin may do to it.

It needs nothing but the standard library, may be shared by threads, and blocks until the answer is
there. What it returns is what the HTTP API says, with datetimes (UTC) for timestamps.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.client import HTTPMessage
from time import monotonic
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, urlencode

from pisync.client.exchange import exchange, waits
from pisync.client.requests import ExpectedRequest, NotVerified, Request, request_of
from pisync.client.values import (
    Accepted,
    BulkResult,
    ClockView,
    Device,
    ErrorLog,
    FleetView,
    Forecast,
    Lateness,
    Ledger,
    Moved,
    Stats,
    by_code,
    clock_of,
    datetime_of,
    device_of,
    fleet_of,
    make,
    moved_of,
    stats_of,
    timestamp_of,
)

Object = Mapping[str, object]
"""A JSON object to send: a profile, a device, a step of a script. Datetimes become timestamps."""

_MAX_PAGE = 1000
_SET_AFTERWARDS = ("clock", "scripts", "faults")
"""What a fleet file has beside what makes a fleet."""


class _Answer(NamedTuple):
    headers: HTTPMessage
    value: Any


@dataclass(frozen=True)
class FleetClient:
    """Calls a server at `url` on behalf of one fleet.

    Every call raises CallFailed for an error answer, and OSError or HTTPException where there is no
    answer.

    Attributes:
        url: Where the server is, without a slash at the end.
        fleet: The fleet's name.
        token: A token with the scope `devices`; with `admin`, too, if there is no `admin_token`.
        admin_token: A token with the scope `admin`, for the calls under `/admin`.
        timeout: Seconds, for a connection and for each wait on it.
    """

    url: str
    fleet: str = "default"
    token: str = field(repr=False, kw_only=True)
    admin_token: str | None = field(default=None, repr=False, kw_only=True)
    timeout: float = field(default=60, repr=False, kw_only=True)

    @property
    def headers(self) -> dict[str, str]:
        """What the code under test has to send, so that it works on this fleet."""
        return {"Authorization": f"Bearer {self.token}", "Pisync-Fleet": self.fleet}

    @property
    def base_url(self) -> str:
        """The fleet's own base URL, for code under test that can set nothing else."""
        return f"{self.url}/fleets/{quote(self.fleet, safe='')}"

    # Devices

    def devices(self, *, status: Collection[int] = ()) -> list[Device]:
        """Return all devices, or those that have one of these status codes, by id."""
        query = {"status": ",".join(map(str, status))} if status else {}
        return [device_of(body) for body in self._pages("/devices", query)]

    def device(self, device_id: int, *, wait: float | None = None) -> Device:
        """Return a device; with `wait`, once it is not pending, or after so many seconds."""
        return device_of(self._waiting(f"/devices/{device_id}", wait=wait))

    def wait_for(self, device_id: int, timeout: float = 60) -> Device:
        """Return a device once it is no longer pending: the server tells when.

        Args:
            device_id: The device.
            timeout: Seconds that it may take.

        Raises:
            TimeoutError: It is still pending.
        """
        for wait in waits(timeout):
            device = self.device(device_id, wait=wait)
            if not device.is_pending:
                return device
        raise TimeoutError(f"device {device_id} is still pending after {timeout} seconds")

    def wait_for_all(self, timeout: float = 60) -> Stats:
        """Return the fleet's counts once nothing is pending that would finish by itself.

        Args:
            timeout: Seconds that it may take.

        Raises:
            TimeoutError: Something still is.
        """
        for wait in waits(timeout):
            began = monotonic()
            stats = self.stats(wait=wait)
            # An answer before its time says that the rest is held.
            if not stats.pending or monotonic() - began < wait:
                return stats
        raise TimeoutError(f"{stats.pending} syncs are still pending after {timeout} seconds")

    def sync(self, device_id: int, *, idempotency_key: str | None = None) -> Accepted:
        """Begin a sync of a device, or join the one that is pending.

        A call with the `idempotency_key` of an earlier one returns what that one did, and begins
        nothing.
        """
        headers, value = self._call("POST", f"/devices/{device_id}/sync", key=idempotency_key)
        return Accepted(int(headers["Pisync-Attempt"]), device_of(value))

    def sync_all(
        self, *, status: Collection[int] = (), idempotency_key: str | None = None
    ) -> BulkResult:
        """Begin a sync of every device, or of those that have one of these status codes.

        For the `idempotency_key` see `sync`.
        """
        chosen = {"status": list(status)} if status else {"all": True}
        return self._sync_many(chosen, idempotency_key)

    def sync_listed(
        self, device_ids: Sequence[int], *, idempotency_key: str | None = None
    ) -> BulkResult:
        """Begin a sync of each of these devices, at most 10,000.

        For the `idempotency_key` see `sync`.
        """
        return self._sync_many({"device_ids": list(device_ids)}, idempotency_key)

    def _sync_many(self, chosen: Object, key: str | None) -> BulkResult:
        return make(BulkResult, self._call("POST", "/devices/sync", chosen, key=key).value)

    def errors(
        self,
        *,
        device_id: int | None = None,
        status: int | None = None,
        since: datetime | None = None,
    ) -> list[ErrorLog]:
        """Return all error logs, newest first, or those of a device, of a code, from a time on."""
        wanted = {
            "device_id": device_id,
            "status": status,
            "since": None if since is None else timestamp_of(since),
        }
        query = {name: value for name, value in wanted.items() if value is not None}
        return [
            make(ErrorLog, body, occurred_at=datetime_of(body["occurred_at"]))
            for body in self._pages("/errors", query)
        ]

    def stats(self, *, history: int | None = None, wait: float | None = None) -> Stats:
        """Return the fleet's counts.

        Args:
            history: Of how many of the last seconds to return those of each, too.
            wait: Seconds for which to wait until nothing is pending that would finish by itself.
        """
        return stats_of(self._waiting("/stats", history=history, wait=wait))

    def _waiting(self, path: str, **query: float | None) -> Any:
        """Return what a call that may wait in the server answers; its wait is not lost time."""
        asked = {name: value for name, value in query.items() if value is not None}
        address = f"{path}?{urlencode(asked)}" if asked else path
        patient = replace(self, timeout=self.timeout + asked.get("wait", 0))
        return patient._call("GET", address).value  # noqa: SLF001 - its own

    # The fleet

    def view(self) -> FleetView:
        """Return the fleet, with its profile, effective seed and clock."""
        return fleet_of(self._admin("GET", "").value)

    def replace(
        self,
        devices: int | Sequence[Object] = 10,
        profile: Object | None = None,
        *,
        ttl: int | None = None,
    ) -> FleetView:
        """Make the fleet, or make it anew; what `profile` leaves out has its default.

        Args:
            devices: A count, or a list of devices with at least their `device_id`. Their times may
                be relative (`now-2h`), so that they do not age.
            profile: What differs from the default profile.
            ttl: Seconds without a request or an open stream after which the server deletes the
                fleet, or None for never.
        """
        body = {"devices": devices, "profile": profile or {}, "ttl": ttl}
        return fleet_of(self._admin("PUT", "", body).value)

    def define(self, definition: Object) -> None:
        """Make the fleet, or make it anew, as a fleet file describes one.

        That is what `replace` sends, and perhaps a `"clock"`, `"scripts"` by device id, `"faults"`.
        """
        self._admin("PUT", "", {k: v for k, v in definition.items() if k not in _SET_AFTERWARDS})
        if "clock" in definition:
            self._admin("PUT", "/clock", definition["clock"])
        scripts: Any = definition.get("scripts", {})
        for device_id, steps in scripts.items():
            self._admin("PUT", f"/devices/{device_id}/script", steps)
        if "faults" in definition:
            self._admin("PUT", "/faults", definition["faults"])

    def change_profile(self, profile: Object) -> FleetView:
        """Change what `profile` names, for attempts that begin from now on."""
        return fleet_of(self._admin("PATCH", "", {"profile": profile}).value)

    def change_ttl(self, ttl: int | None) -> FleetView:
        """Have the server delete the fleet after so many seconds without use, or (None) never."""
        return fleet_of(self._admin("PATCH", "", {"ttl": ttl}).value)

    def delete(self) -> None:
        """Delete the fleet, its pending syncs with it."""
        self._admin("DELETE", "")

    def reset(self) -> None:
        """Take the fleet back to its first state: data, error logs, clock. The profile stays."""
        self._admin("POST", "/reset")

    # Snapshots

    def snapshot(self) -> bytes:
        """Return all that the fleet is at this moment, as a document."""
        received, _ = self._exchange("GET", self._path("/snapshot"), None, self._admin_headers())
        return received

    def restore(self, document: bytes | BinaryIO) -> FleetView:
        """Make the fleet by a snapshot of any fleet, or replace it: it goes on from there.

        Args:
            document: The snapshot, or a file that has it, opened for reading bytes.
        """
        headers = {**self._admin_headers(), "Content-Type": "application/x-ndjson"}
        received, _ = self._exchange("PUT", self._path("/snapshot"), document, headers)
        return fleet_of(json.loads(received))

    def copy(self, to: str) -> FleetView:
        """Make another fleet by what this one is now, or replace it; return that."""
        return fleet_of(self._admin("POST", "/copy", {"to": to}).value)

    # Its time

    def auto_clock(self) -> ClockView:
        """Let time pass as somebody looks, and not by itself: no test has to wait for it.

        A read in which a sync is pending that would finish by itself is answered; then time moves
        to when the fleet's next one is due, and that finishes.
        """
        return self._set_clock({"mode": "auto"})

    def manual_clock(self) -> ClockView:
        """Stop the fleet's time: from now on it moves by `advance` and `settle` alone."""
        return self._set_clock({"mode": "manual"})

    def real_clock(self, speed: float = 1) -> ClockView:
        """Let the fleet's time run on by itself, so many times as fast as real time."""
        return self._set_clock({"mode": "real", "speed": speed})

    def _set_clock(self, body: Object) -> ClockView:
        return clock_of(self._admin("PUT", "/clock", body).value)

    def advance(self, seconds: float) -> Moved:
        """Move a clock that is not real, and finish all that falls due on the way."""
        return moved_of(self._admin("POST", "/advance", {"seconds": seconds}).value)

    def settle(self) -> Moved:
        """Finish every pending sync that is not held; time that stands still moves to the last."""
        return moved_of(self._admin("POST", "/settle").value)

    # Its attempts

    def script(self, device_id: int, steps: Sequence[Object]) -> None:
        """Let a device's next attempts follow these steps; after them the profile decides again.

        A step is `{"sync_status_code": 500, "error_message": "Storage Full"}`, perhaps with a
        `"delay"` in seconds or a number of `"polls"`, the reads that show the attempt as pending;
        or `{"hold": True}`. `"sticky": True` in the last one repeats it for ever.
        """
        self._admin("PUT", f"/devices/{device_id}/script", steps)

    def end_script(self, device_id: int) -> None:
        """Let the profile decide a device's next attempts again."""
        self._admin("DELETE", f"/devices/{device_id}/script")

    def release(
        self, device_id: int, sync_status_code: int = 200, error_message: str | None = None
    ) -> Device:
        """Finish a held sync with this outcome; a failure needs a message."""
        outcome = {"sync_status_code": sync_status_code, "error_message": error_message}
        return device_of(self._admin("POST", f"/devices/{device_id}/release", outcome).value)

    def forecast(
        self,
        device_id: int,
        attempts: int = 20,
        first: int | None = None,
        *,
        at: datetime | None = None,
    ) -> list[Forecast]:
        """Return what attempts will do or did by seed and profile, from `first` (default: next).

        In the phase of fleet time `at`, with a time zone; by default, of the present.
        """
        query: dict[str, object] = {"device_id": device_id, "attempts": attempts}
        if first is not None:
            query["from"] = first
        if at is not None:
            query["at"] = at.isoformat()
        answer = self._admin("GET", f"/forecast?{urlencode(query)}")
        return [make(Forecast, body) for body in answer.value]

    def ledger(self) -> Ledger:
        """Return what became of the fleet's syncs."""
        value = self._admin("GET", "/ledger").value
        return make(
            Ledger,
            value,
            failed=by_code(value["failed"]),
            lateness=make(Lateness, value["lateness"]),
        )

    # What its clients meet, and what they did

    def set_faults(self, rules: Sequence[Object]) -> None:
        """Let answers to the fleet's clients be late, lost or broken, as these rules say.

        A rule is `{"calls": ["sync"], "first": 2, "fault": {"kind": "status", "status": 429}}`.
        """
        self._admin("PUT", "/faults", rules)

    def faults(self) -> list[Mapping[str, Any]]:
        """Return the rules for faults, each with its `hits`."""
        rules: list[Mapping[str, Any]] = self._admin("GET", "/faults").value
        return rules

    def end_faults(self) -> None:
        """Let all requests be answered as they should be again."""
        self._admin("DELETE", "/faults")

    def requests(self, limit: int = 100, **which: object) -> list[Request]:
        """Return the newest requests of the journal, newest first.

        `which` filters them: by `call`, `device_id`, `user`, `status`, `fault`.
        """
        query = urlencode({"limit": limit, **which})
        return [request_of(body) for body in self._admin("GET", f"/requests?{query}").value]

    def clear_requests(self) -> None:
        """Empty the journal."""
        self._admin("DELETE", "/requests")

    def verify(
        self,
        *expected: ExpectedRequest,
        at_least: int | None = None,
        at_most: int | None = None,
        in_order: bool = False,
    ) -> None:
        """Check that the fleet's clients made these requests, each so many times.

        Without bounds: at least once.

        Raises:
            NotVerified: They did not; its text has the requests that come closest.
        """
        given = {"at_least": at_least, "at_most": at_most}
        bounds = {name: value for name, value in given.items() if value is not None}
        requests = [each.as_json() | bounds for each in expected]
        body = {"requests": requests, "in_order": in_order}
        answer = self._admin("POST", "/verify", body).value
        if not answer["verified"]:
            raise NotVerified(answer["problems"])

    # HTTP

    def _pages(self, path: str, query: Mapping[str, object]) -> Iterator[Any]:
        """Yield the elements of a list, page by page."""
        page: str | None = f"{path}?{urlencode({'limit': _MAX_PAGE, **query})}"
        while page:
            headers, value = self._call("GET", page)
            yield from value
            link = headers.get("Link")
            page = link and link.partition("<")[2].partition(">")[0]

    def _admin(self, method: str, path: str, body: object = None) -> _Answer:
        return self._send(method, self._path(path), body, self._admin_headers())

    def _path(self, path: str) -> str:
        return f"/admin/fleets/{quote(self.fleet, safe='')}{path}"

    def _admin_headers(self) -> dict[str, str]:
        token = self.token if self.admin_token is None else self.admin_token
        return {"Authorization": f"Bearer {token}"}

    def _call(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> _Answer:
        keyed = {} if key is None else {"Idempotency-Key": key}
        return self._send(method, path, body, {**self.headers, **keyed})

    def _send(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> _Answer:
        content = None if body is None else json.dumps(body, default=timestamp_of).encode()
        sent = headers if content is None else {**headers, "Content-Type": "application/json"}
        received, answered = self._exchange(method, path, content, sent)
        return _Answer(answered, json.loads(received) if received else None)

    def _exchange(
        self,
        method: str,
        path: str,
        content: bytes | BinaryIO | None,
        headers: Mapping[str, str],
    ) -> tuple[bytes, HTTPMessage]:
        """Send a request; return the body and the headers of the answer."""
        return exchange(self.url, self.timeout, method, path, content, headers)
