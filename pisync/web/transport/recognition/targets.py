"""The calls that load is made of, and what a request line asks of them."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web

from pisync.model.fleet import FLEET_NAME
from pisync.model.requests.call import DEVICE, SYNC
from pisync.web.contract.rendering import Rendered
from pisync.web.contract.schemas import DEVICE_ID
from pisync.web.handlers import devices, error_logs


class Call(NamedTuple):
    """A call: its method, its route, and what answers it, given application, fleet and an argument.

    The argument is the query of a list, or the id of a device.
    """

    method: str
    route: str
    name: str
    answer: Callable[[web.Application, str, Any], Awaitable[Rendered]]
    has_usual_query: Callable[[str], object] = bool
    """Whether a query is one that `answer` takes; all others, which may wait, are left alone."""


_is_history = re.compile(r"history=[0-9]+").fullmatch

LISTS: Final = {
    "/devices": Call("GET", "/devices", "devices", devices.page_of),
    "/errors": Call("GET", "/errors", "errors", error_logs.page_of),
    "/stats": Call("GET", "/stats", "stats", devices.stats_of, _is_history),
}
GET_DEVICE: Final = Call("GET", "/devices/{device_id}", DEVICE, devices.device_at)
SYNC_DEVICE: Final = Call("POST", "/devices/{device_id}/sync", SYNC, devices.start_sync)

_device_line = re.compile(
    rb"(GET|POST) ((?:/fleets/(%b))?/devices/(%b)(/sync)?) HTTP/1\.1"
    % (FLEET_NAME.encode(), DEVICE_ID.encode())
).fullmatch
_below_base_url = re.compile(rf"/fleets/({FLEET_NAME})(/.*)").fullmatch


class Target(NamedTuple):
    """What a request line asks for: a call, its argument, and the path as it was sent."""

    call: Call
    argument: Any
    called: tuple[str, str, str]
    """The call's name, its method, and the path as it was sent."""
    base_fleet: str | None
    """The fleet whose base URL the path is below."""


def target_of(request: web.BaseRequest) -> Target | None:
    """Return what a request asks for; None if it is none of the five calls."""
    method, url = request.method, request.rel_url
    path, query = url.raw_path, url.raw_query_string
    below = None if path in LISTS else _below_base_url(path)
    base_fleet, call_path = below.groups() if below else (None, path)
    if method == hdrs.METH_GET and call_path in LISTS:
        call = LISTS[call_path]
        usual = not query or call.has_usual_query(query)
        called = call.name, call.method, path
        return Target(call, query, called, base_fleet) if usual else None
    return None if query else device_target(line_of(method, path, query))


def line_of(method: str, path: str, query: str) -> bytes:
    """Return the request line of HTTP/1.1 with these parts."""
    target = f"{path}?{query}" if query else path
    return f"{method} {target} HTTP/1.1".encode("utf-8", "surrogateescape")


def device_target(line: bytes) -> Target | None:
    """Return what a request line asks of one device; None if it does not."""
    found = _device_line(line)
    if found is None:
        return None
    method, path, base_fleet, device_id, sync = found.groups()
    if (method == b"POST") is not (sync is not None):
        return None
    call = GET_DEVICE if sync is None else SYNC_DEVICE
    fleet = None if base_fleet is None else base_fleet.decode()
    return Target(call, int(device_id), (call.name, call.method, path.decode()), fleet)
