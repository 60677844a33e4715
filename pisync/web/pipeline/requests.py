"""What requests of clients meet and leave behind: faults, and a line in the journal."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from pisync import keys
from pisync.clocks import MachineClocks
from pisync.model.requests.call import BULK, DEVICE, EVENTS, SYNC
from pisync.model.requests.fault import DripFault, Fault, TruncateFault
from pisync.model.requests.fault_draw import CallOfUser, MetFault
from pisync.model.requests.journal import MAX_AGENT, MAX_PATH, JournalEntry
from pisync.model.timestamp import from_seconds
from pisync.stores.base import RequestStore
from pisync.web.contract.headers import ATTEMPT_HEADER
from pisync.web.contract.rendering import Rendered
from pisync.web.pipeline.base_url import is_below_base_url
from pisync.web.pipeline.injection import delay, inject, is_for_streams
from pisync.web.pipeline.middleware import AnsweredCall, route_of

_NAMES: Final[Mapping[tuple[str, str], str]] = {
    ("POST", "/devices/{device_id}/sync"): SYNC,
    ("GET", "/devices/{device_id}"): DEVICE,
    ("GET", "/devices"): "devices",
    ("GET", "/errors"): "errors",
    ("GET", "/stats"): "stats",
    ("GET", "/events"): EVENTS,
    ("POST", "/devices/sync"): BULK,
}
"""The calls that faults and journals are about, by method and route."""

_READING_SECONDS = 0.05
"""How long the reader of a stream has to read an event before the stream is cut off."""
_IS_NOTED = web.RequestKey("_IS_NOTED", bool)


def call_named(method: str, route: str) -> str | None:
    """Return the name of a call; None if it is none that faults and journals are about."""
    return _NAMES.get((hdrs.METH_GET if method == hdrs.METH_HEAD else method, route))


def user_agent_of(headers: Mapping[str, str]) -> str | None:
    """Return the header `User-Agent` as journals keep it: text, whatever bytes were sent."""
    agent = headers.get(hdrs.USER_AGENT)
    if agent is None or agent.isascii():
        return agent and agent[:MAX_AGENT]
    # What is no UTF-8 comes as lone surrogates, which neither JSON nor a database can hold.
    return agent[:MAX_AGENT].encode(errors="surrogateescape").decode(errors="replace")


class FaultBeforeEffect(Exception):
    """A request has met a fault before the call did anything.

    `instead` is what the answer would have been, as far as it is known.
    """

    def __init__(self, instead: Rendered | None) -> None:
        super().__init__()
        self.instead = instead


class FaultGate:
    """Decides once whether a request meets a fault: when it is sure of a good answer."""

    def __init__(self, requests: RequestStore, fleet: str, call: CallOfUser) -> None:
        self._requests = requests
        self._fleet = fleet
        self._call = call
        self._is_decided = False
        self.met: MetFault | None = None
        self.attempt: str | None = None
        """The attempt that a call has begun or joined, though its answer may not say so."""

    async def decide(self) -> MetFault | None:
        """Return the fault that the request meets."""
        if not self._is_decided:
            self._is_decided = True
            self.met = await self._requests.meet_fault(self._fleet, self._call)
        return self.met

    async def before_effect(self, instead: Rendered) -> None:
        """Decide before the call does what it does.

        Raises:
            FaultBeforeEffect: It must not.
        """
        met = await self.decide()
        if met is not None and not met.is_after:
            raise FaultBeforeEffect(instead)


GATE = web.RequestKey("GATE", FaultGate)


class Journalist:
    """Writes requests down in the journals of their fleets."""

    def __init__(self, requests: RequestStore, clocks: MachineClocks) -> None:
        self._requests = requests
        self._clocks = clocks
        self.journal_of = requests.journal_in_memory
        """Returns the journal of a fleet that is not watched, if notes of it need not wait."""
        self.now = clocks.wall
        """Returns when a note is made."""

    def note_all(self, fleet: str, calls: Iterable[AnsweredCall]) -> None:
        """Note requests of a fleet that is not watched, answered just now."""
        journal = self.journal_of(fleet)
        if journal is None:
            return
        counter, now = perf_counter(), self.now()
        for request_id, began, call, device_id, caller, status, attempt in calls:
            seconds = counter - began
            journal.append((request_id, now, seconds, call, device_id, caller, status, attempt))

    async def note(
        self, request: web.Request, began: float, status: int | None, attempt: str | None
    ) -> None:
        """Note a request, if its token was good and its fleet has a journal; once.

        `began` is of `perf_counter`, `attempt` as in the header of the answer.

        Raises:
            StoreError: It could not be written: its answer must be held back.
        """
        claims = request.get(keys.CLAIMS)
        call = call_named(request.method, route_of(request))
        if claims is None or call is None or _IS_NOTED in request:
            return
        fleet = request.get(keys.FLEET)
        if fleet is None:
            return
        request[_IS_NOTED] = True
        seconds = perf_counter() - began
        gate = request.get(GATE)
        if gate is not None:
            attempt = gate.attempt or attempt
        device_id = request.match_info.get("device_id")
        entry = JournalEntry(
            request[keys.REQUEST_ID],
            self._clocks.wall() - from_seconds(seconds),
            call,
            request.method,
            request.rel_url.raw_path[:MAX_PATH],
            None if device_id is None else int(device_id),
            claims.subject,
            user_agent_of(request.headers),
            status,
            gate.met.fault.kind if gate is not None and gate.met is not None else None,
            None if attempt is None else int(attempt),
            round(seconds, 6),
        )
        await self._requests.record(fleet, entry)


JOURNALIST = web.AppKey("JOURNALIST", Journalist)


def meeting_faults(requests: RequestStore) -> Middleware:
    """Return the middleware in which requests meet the faults of their fleets."""

    @web.middleware
    async def meeting(request: web.Request, handler: Handler) -> web.StreamResponse:
        fleet = request.get(keys.FLEET)
        if fleet is None or not requests.is_watched(fleet) or keys.CLAIMS not in request:
            return await handler(request)
        call = call_named(request.method, route_of(request))
        if call is None:
            return await handler(request)
        device_id = int(request.match_info.get("device_id", 0))
        user = request[keys.CLAIMS].subject
        gate = request[GATE] = FaultGate(requests, fleet, CallOfUser(call, device_id, user))
        try:
            response = await handler(request)
        except FaultBeforeEffect as before:
            instead = before.instead
            if instead is not None and is_below_base_url(request):
                instead = instead.below_base_url(route_of(request))
            response = web.Response() if instead is None else instead.answer(request)
        if gate.met is None and _is_good(response) and isinstance(response, web.Response):
            await gate.decide()
        met = gate.met
        if met is None or not isinstance(response, web.Response) or not _is_good(response):
            return response
        note = request[keys.NOTE]
        if met.is_after:
            gate.attempt = response.headers.get(ATTEMPT_HEADER)
        return await inject(request, met, response, lambda status: note(status, None))

    return meeting


def _is_good(response: web.StreamResponse) -> bool:
    return response.status < 300 or response.status == HTTPStatus.NOT_MODIFIED


async def before_effect(
    request: web.Request, instead: Callable[[], Awaitable[Rendered | None]]
) -> None:
    """Let a request meet a fault, if its fleet has any, before the call does what it does.

    Args:
        request: A request that would get a good answer, as far as `instead` does not know better.
        instead: Returns what the answer would be; None, or an exception, if not a good one. With
            None the call goes on: what it refuses, it counts.

    Raises:
        FaultBeforeEffect: The call must do nothing.
        Exception: What `instead` raises.
    """
    gate = request.get(GATE)
    if gate is not None and (answer := await instead()) is not None:
        await gate.before_effect(answer)


async def stream_fault(request: web.Request) -> Fault | None:
    """Return the fault that a stream meets as it goes on; a delay has passed then.

    Raises:
        FaultBeforeEffect: The stream must not begin.
    """
    gate: FaultGate | None = request.get(GATE)
    met = None if gate is None else await gate.decide()
    if met is None:
        return None
    if not is_for_streams(met.fault):
        raise FaultBeforeEffect(None)
    await delay(request, met.delay)
    return met.fault


def sending(
    request: web.Request, response: web.StreamResponse, fault: Fault | None
) -> Callable[[bytes], Awaitable[None]]:
    """Return what sends the events of a stream, as a fault leaves them.

    A stream that is truncated has one event whole, so that whoever reads it has an id to resume
    from, and gets on however often it is cut off.
    """
    has_sent = False

    async def drip(events: bytes) -> None:
        assert isinstance(fault, DripFault)  # noqa: S101 - chosen below
        for start in range(0, len(events), fault.bytes):
            await response.write(events[start : start + fault.bytes])
            await asyncio.sleep(fault.every)

    async def truncate(events: bytes) -> None:
        nonlocal has_sent
        assert isinstance(fault, TruncateFault)  # noqa: S101 - chosen below
        if not has_sent:
            end = events.index(b"\n\n") + 2
            await response.write(events[:end])
            has_sent, events = True, events[end:]
            if not events:
                return
            # Some clients lose what they have not read yet when a connection breaks.
            await asyncio.sleep(_READING_SECONDS)
        await response.write(events[: int(len(events) * fault.share)])
        if request.transport is not None:
            request.transport.close()
        raise ConnectionError

    match fault:
        case DripFault():
            return drip
        case TruncateFault():
            return truncate
    return response.write
