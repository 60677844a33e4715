"""Every call, in one table: method, path, handler, scope, answers, and schemas."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from marshmallow import Schema

from pisync.auth.accounts import USERNAME
from pisync.model.account import (
    ADMIN,
    DEVICES,
)
from pisync.model.fleet import FLEET_NAME
from pisync.model.parsing.faults import FaultsBody
from pisync.model.parsing.profile import OutcomeSchema
from pisync.web.contract import answers, fleet_answers
from pisync.web.contract.answers import NDJSON, Answer
from pisync.web.contract.fleet_schemas import (
    AdvanceBody,
    ClockBody,
    CopyBody,
    FleetBody,
    FleetChangesBody,
    FleetsQuery,
    ForecastQuery,
    ScriptBody,
)
from pisync.web.contract.request import read_query
from pisync.web.contract.requests import answers as request_answers
from pisync.web.contract.requests.schemas import RequestsQuery, VerifyBody
from pisync.web.contract.schemas import (
    DEVICE_ID,
    AccountBody,
    AccountsQuery,
    DeviceQuery,
    DevicesQuery,
    ErrorsQuery,
    EventsQuery,
    LoginBody,
    NoQuery,
    PasswordBody,
    RegisterBody,
    StatsQuery,
    SyncBody,
)
from pisync.web.handlers import (
    accounts,
    admin_accounts,
    devices,
    error_logs,
    faults,
    fleets,
    health,
    journal,
    pages,
    snapshots,
    stream,
)
from pisync.web.pipeline.auth import ANY_TOKEN
from pisync.web.pipeline.base_url import BaseUrlResource, below_base_url

_ID = f"{{device_id:{DEVICE_ID}}}"
_FLEET = f"/admin/fleets/{{fleet:{FLEET_NAME}}}"
_SNAPSHOT = f"{_FLEET}/snapshot"
_FAULTS = f"{_FLEET}/faults"
_REQUESTS = f"{_FLEET}/requests"
_DEVICE = f"{_FLEET}/devices/{_ID}"
_ACCOUNT = f"/admin/accounts/{{username:{USERNAME.pattern}}}"

_ALSO_BELOW_BASE_URLS = frozenset({"/register", "/login", "/password", "/"})


@dataclass(frozen=True, slots=True)
class Route:
    """A call. `scope` is what a token must have for it; None opens it to everyone, even without.

    `answers` are its own, beside the refusals that follow from the rest; without any, the call is
    not in the documentation. `query` and `body` are the schemas of what it reads; None: it takes no
    query, it reads no body. `document` is the media type of a body that is no JSON.
    """

    method: str
    path: str
    handler: Handler
    scope: str | None
    answers: Sequence[Answer] = ()
    query: type[Schema] | None = None
    body: type[Schema] | None = None
    document: str | None = None

    @property
    def is_below_base_urls(self) -> bool:
        """Whether `/fleets/{fleet}` may stand in front of it."""
        return self.scope == DEVICES or self.path in _ALSO_BELOW_BASE_URLS


ROUTES = (
    Route("POST", "/register", accounts.register, None, answers.REGISTER, body=RegisterBody),
    Route("POST", "/login", accounts.login, None, answers.LOGIN, body=LoginBody),
    Route(
        "POST",
        "/password",
        accounts.change_password,
        ANY_TOKEN,
        answers.CHANGE_PASSWORD,
        body=PasswordBody,
    ),
    Route("GET", "/devices", devices.list_devices, DEVICES, answers.LIST_DEVICES, DevicesQuery),
    Route(
        "POST", "/devices/sync", devices.sync_devices, DEVICES, answers.SYNC_DEVICES, body=SyncBody
    ),
    Route("GET", f"/devices/{_ID}", devices.get_device, DEVICES, answers.GET_DEVICE, DeviceQuery),
    Route("POST", f"/devices/{_ID}/sync", devices.sync_device, DEVICES, answers.SYNC_DEVICE),
    Route("GET", "/errors", error_logs.list_errors, DEVICES, answers.LIST_ERRORS, ErrorsQuery),
    Route("GET", "/stats", devices.get_stats, DEVICES, answers.GET_STATS, StatsQuery),
    Route("GET", "/events", stream.events, DEVICES, answers.EVENTS, EventsQuery),
    Route(
        "GET", "/admin/fleets", fleets.list_fleets, ADMIN, fleet_answers.LIST_FLEETS, FleetsQuery
    ),
    Route("GET", _FLEET, fleets.get_fleet, ADMIN, fleet_answers.GET_FLEET),
    Route("PUT", _FLEET, fleets.put_fleet, ADMIN, fleet_answers.PUT_FLEET, body=FleetBody),
    Route(
        "PATCH", _FLEET, fleets.patch_fleet, ADMIN, fleet_answers.PATCH_FLEET, body=FleetChangesBody
    ),
    Route("DELETE", _FLEET, fleets.delete_fleet, ADMIN, fleet_answers.DELETE_FLEET),
    Route("POST", f"{_FLEET}/reset", fleets.reset_fleet, ADMIN, fleet_answers.RESET_FLEET),
    Route(
        "PUT", f"{_FLEET}/clock", fleets.put_clock, ADMIN, fleet_answers.PUT_CLOCK, body=ClockBody
    ),
    Route(
        "POST", f"{_FLEET}/advance", fleets.advance, ADMIN, fleet_answers.ADVANCE, body=AdvanceBody
    ),
    Route("POST", f"{_FLEET}/settle", fleets.settle, ADMIN, fleet_answers.SETTLE),
    Route(
        "GET",
        f"{_FLEET}/forecast",
        fleets.get_forecast,
        ADMIN,
        fleet_answers.FORECAST,
        ForecastQuery,
    ),
    Route("GET", f"{_FLEET}/ledger", fleets.get_ledger, ADMIN, fleet_answers.GET_LEDGER),
    Route("GET", _SNAPSHOT, snapshots.get_snapshot, ADMIN, fleet_answers.GET_SNAPSHOT),
    Route(
        "PUT",
        _SNAPSHOT,
        snapshots.put_snapshot,
        ADMIN,
        fleet_answers.PUT_SNAPSHOT,
        document=NDJSON,
    ),
    Route(
        "POST",
        f"{_FLEET}/copy",
        snapshots.copy_fleet,
        ADMIN,
        fleet_answers.COPY_FLEET,
        body=CopyBody,
    ),
    Route("PUT", _FAULTS, faults.put_faults, ADMIN, request_answers.PUT_FAULTS, body=FaultsBody),
    Route("GET", _FAULTS, faults.get_faults, ADMIN, request_answers.GET_FAULTS),
    Route("DELETE", _FAULTS, faults.delete_faults, ADMIN, request_answers.DELETE_FAULTS),
    Route(
        "GET",
        _REQUESTS,
        journal.list_requests,
        ADMIN,
        request_answers.LIST_REQUESTS,
        RequestsQuery,
    ),
    Route("DELETE", _REQUESTS, journal.clear_requests, ADMIN, request_answers.CLEAR_REQUESTS),
    Route(
        "POST",
        f"{_FLEET}/verify",
        journal.verify_requests,
        ADMIN,
        request_answers.VERIFY_REQUESTS,
        body=VerifyBody,
    ),
    Route(
        "PUT", f"{_DEVICE}/script", fleets.put_script, ADMIN, fleet_answers.SCRIPT, body=ScriptBody
    ),
    Route("DELETE", f"{_DEVICE}/script", fleets.delete_script, ADMIN, fleet_answers.SCRIPT),
    Route(
        "POST",
        f"{_DEVICE}/release",
        fleets.release,
        ADMIN,
        fleet_answers.RELEASE,
        body=OutcomeSchema,
    ),
    Route(
        "GET",
        "/admin/accounts",
        admin_accounts.list_accounts,
        ADMIN,
        answers.LIST_ACCOUNTS,
        AccountsQuery,
    ),
    Route("GET", _ACCOUNT, admin_accounts.get_account, ADMIN, answers.GET_ACCOUNT),
    Route(
        "PATCH",
        _ACCOUNT,
        admin_accounts.patch_account,
        ADMIN,
        answers.PATCH_ACCOUNT,
        body=AccountBody,
    ),
    Route("DELETE", _ACCOUNT, admin_accounts.delete_account, ADMIN, answers.DELETE_ACCOUNT),
    Route("GET", "/", pages.get_dashboard, None, answers.HOME),
    Route("GET", "/docs", pages.get_docs, None, answers.DOCS),
    *(Route("GET", path, file, None) for path, file in pages.FILES.items()),
    Route("GET", "/openapi.json", pages.get_openapi, None, answers.OPENAPI),
    Route("GET", "/fleets.schema.json", pages.get_fleets_schema, None, answers.FLEETS_SCHEMA),
    Route("GET", "/livez", health.livez, None, answers.LIVEZ),
    Route("GET", "/readyz", health.readyz, None, answers.READYZ),
    Route("GET", "/metrics", health.metrics, None, answers.METRICS),
)


def add_routes(app: web.Application) -> Mapping[Handler, str | None]:
    """Give the application every call; return who may make it, by handler."""
    access: dict[Handler, str | None] = {}
    for route in ROUTES:
        resource = app.router.add_resource(route.path)
        for method, handler in _handlers(route).items():
            access[resource.add_route(method, handler).handler] = route.scope
        if route.is_below_base_urls:
            below = BaseUrlResource(route.path)
            app.router.register_resource(below)
            for method, handler in _handlers(route).items():
                of_fleet = below_base_url(handler, route.path, reads_fleet=route.scope == DEVICES)
                access[below.add_route(method, of_fleet).handler] = route.scope
    return access


def _handlers(route: Route) -> Mapping[str, Handler]:
    """Return what answers a call, by method."""
    handler = route.handler if route.query else _without_query(route.handler)
    handlers = {route.method: handler}
    if route.method == hdrs.METH_GET:
        handlers[hdrs.METH_HEAD] = handler
    if route.scope is None:
        handlers[hdrs.METH_OPTIONS] = _options({*handlers, hdrs.METH_OPTIONS})
    return handlers


def _options(methods: Collection[str]) -> Handler:
    """Return the handler that answers OPTIONS of an open call."""
    allow = ", ".join(sorted(methods))

    async def options(_: web.Request) -> web.Response:
        return web.Response(status=HTTPStatus.NO_CONTENT, headers={hdrs.ALLOW: allow})

    return options


def _without_query(handler: Handler) -> Handler:
    @wraps(handler)
    async def checked(request: web.Request) -> web.StreamResponse:
        if request.rel_url.raw_query_string:
            read_query(request, NoQuery)
        return await handler(request)

    return checked
