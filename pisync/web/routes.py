"""Every call, in one table: method, path, handler, who may, and what it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import wraps

from aiohttp import web
from aiohttp.typedefs import Handler
from marshmallow import Schema

from pisync.web import accounts, devices, errors, fleet_schemas, fleets, health, pages, schemas
from pisync.web.parsing import read_query

DEVICES = "devices"
ADMIN = "admin"

_ID = "{device_id:[1-9][0-9]{0,15}}"
_FLEET = "/admin/fleets/{fleet:[a-z0-9][a-z0-9-]{0,62}}"
_DEVICE = f"{_FLEET}/devices/{_ID}"


@dataclass(frozen=True, slots=True)
class Route:
    """A call. `scope` is what a token must have for it; None opens it to everyone.

    `query` and `body` are the schemas of what it reads; None: it takes no query, it reads no body.
    """

    method: str
    path: str
    handler: Handler
    scope: str | None
    query: type[Schema] | None = None
    body: type[Schema] | None = None


ROUTES = (
    Route("GET", "/", pages.home, None),
    Route("GET", "/livez", health.livez, None),
    Route("GET", "/readyz", health.readyz, None),
    Route("GET", "/metrics", health.metrics, None),
    Route("POST", "/register", accounts.register, None, body=schemas.RegisterBody),
    Route("POST", "/login", accounts.login, None, body=schemas.LoginBody),
    Route("GET", "/devices", devices.list_devices, DEVICES, query=schemas.DevicesQuery),
    Route("POST", "/devices/sync", devices.sync_devices, DEVICES, body=schemas.SyncBody),
    Route("GET", f"/devices/{_ID}", devices.get_device, DEVICES),
    Route("POST", f"/devices/{_ID}/sync", devices.sync_device, DEVICES),
    Route("GET", "/errors", errors.list_errors, DEVICES, query=schemas.ErrorsQuery),
    Route("GET", "/stats", devices.get_stats, DEVICES),
    Route("GET", "/admin/fleets", fleets.list_fleets, ADMIN),
    Route("GET", _FLEET, fleets.get_fleet, ADMIN),
    Route("PUT", _FLEET, fleets.put_fleet, ADMIN, body=fleet_schemas.FleetBody),
    Route("PATCH", _FLEET, fleets.patch_fleet, ADMIN, body=fleet_schemas.ProfileBody),
    Route("DELETE", _FLEET, fleets.delete_fleet, ADMIN),
    Route("POST", f"{_FLEET}/reset", fleets.reset_fleet, ADMIN),
    Route("PUT", f"{_FLEET}/clock", fleets.put_clock, ADMIN, body=fleet_schemas.ClockBody),
    Route("POST", f"{_FLEET}/advance", fleets.advance, ADMIN, body=fleet_schemas.AdvanceBody),
    Route("POST", f"{_FLEET}/settle", fleets.settle, ADMIN),
    Route("GET", f"{_FLEET}/forecast", fleets.forecast, ADMIN, query=fleet_schemas.ForecastQuery),
    Route("GET", f"{_FLEET}/ledger", fleets.get_ledger, ADMIN),
    Route("PUT", f"{_DEVICE}/script", fleets.put_script, ADMIN, body=fleet_schemas.ScriptBody),
    Route("DELETE", f"{_DEVICE}/script", fleets.delete_script, ADMIN),
    Route("POST", f"{_DEVICE}/release", fleets.release, ADMIN, body=fleet_schemas.OutcomeSchema),
)


def add_routes(app: web.Application) -> Mapping[Handler, str | None]:
    """Give the application every call; return who may make it, by handler."""
    access: dict[Handler, str | None] = {}
    for route in ROUTES:
        handler = route.handler if route.query else _without_query(route.handler)
        added = app.router.add_route(route.method, route.path, handler)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, handler)
        access[added.handler] = route.scope
    return access


def _without_query(handler: Handler) -> Handler:
    @wraps(handler)
    async def checked(request: web.Request) -> web.StreamResponse:
        if request.rel_url.raw_query_string:
            read_query(request, schemas.NoQuery)
        return await handler(request)

    return checked
