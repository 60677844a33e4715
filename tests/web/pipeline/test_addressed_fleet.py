"""Who may do what on which fleet: claim, header, base URL, path and scope, cell by cell."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from enum import Enum
from itertools import product
from typing import NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from aiohttp.typedefs import Handler

from pisync import keys
from pisync.app import create_app
from pisync.model.fleet import Generated
from pisync.model.plans.profile import Profile
from pisync.web import routes
from pisync.web.routes import ROUTES, Route
from tests.conftest import SETTINGS, Answer, Api, OrdinaryServer


class Kind(Enum):
    """What a call has to do with fleets."""

    ON_A_FLEET = "acts on the fleet that a base URL, a header or the token names"
    OF_A_CLIENT = "has nothing to do with fleets, but clients call it at their base URL"
    CONTROLS_A_FLEET = "controls the fleet that its path names"
    CONTROLS_ALL = "controls what belongs to no fleet"
    OPEN = "is open, and at one place alone"


KINDS = {
    "POST /register": Kind.OF_A_CLIENT,
    "POST /login": Kind.OF_A_CLIENT,
    "POST /password": Kind.OF_A_CLIENT,
    "GET /devices": Kind.ON_A_FLEET,
    "POST /devices/sync": Kind.ON_A_FLEET,
    "GET /devices/{device_id}": Kind.ON_A_FLEET,
    "POST /devices/{device_id}/sync": Kind.ON_A_FLEET,
    "GET /errors": Kind.ON_A_FLEET,
    "GET /stats": Kind.ON_A_FLEET,
    "GET /events": Kind.ON_A_FLEET,
    "GET /admin/fleets": Kind.CONTROLS_ALL,
    "GET /admin/fleets/{fleet}": Kind.CONTROLS_A_FLEET,
    "PUT /admin/fleets/{fleet}": Kind.CONTROLS_A_FLEET,
    "PATCH /admin/fleets/{fleet}": Kind.CONTROLS_A_FLEET,
    "DELETE /admin/fleets/{fleet}": Kind.CONTROLS_A_FLEET,
    "POST /admin/fleets/{fleet}/reset": Kind.CONTROLS_A_FLEET,
    "PUT /admin/fleets/{fleet}/clock": Kind.CONTROLS_A_FLEET,
    "POST /admin/fleets/{fleet}/advance": Kind.CONTROLS_A_FLEET,
    "POST /admin/fleets/{fleet}/settle": Kind.CONTROLS_A_FLEET,
    "GET /admin/fleets/{fleet}/forecast": Kind.CONTROLS_A_FLEET,
    "GET /admin/fleets/{fleet}/ledger": Kind.CONTROLS_A_FLEET,
    "GET /admin/fleets/{fleet}/snapshot": Kind.CONTROLS_A_FLEET,
    "PUT /admin/fleets/{fleet}/snapshot": Kind.CONTROLS_A_FLEET,
    "POST /admin/fleets/{fleet}/copy": Kind.CONTROLS_A_FLEET,
    "PUT /admin/fleets/{fleet}/faults": Kind.CONTROLS_A_FLEET,
    "GET /admin/fleets/{fleet}/faults": Kind.CONTROLS_A_FLEET,
    "DELETE /admin/fleets/{fleet}/faults": Kind.CONTROLS_A_FLEET,
    "GET /admin/fleets/{fleet}/requests": Kind.CONTROLS_A_FLEET,
    "DELETE /admin/fleets/{fleet}/requests": Kind.CONTROLS_A_FLEET,
    "POST /admin/fleets/{fleet}/verify": Kind.CONTROLS_A_FLEET,
    "PUT /admin/fleets/{fleet}/devices/{device_id}/script": Kind.CONTROLS_A_FLEET,
    "DELETE /admin/fleets/{fleet}/devices/{device_id}/script": Kind.CONTROLS_A_FLEET,
    "POST /admin/fleets/{fleet}/devices/{device_id}/release": Kind.CONTROLS_A_FLEET,
    "GET /admin/accounts": Kind.CONTROLS_ALL,
    "GET /admin/accounts/{username}": Kind.CONTROLS_ALL,
    "PATCH /admin/accounts/{username}": Kind.CONTROLS_ALL,
    "DELETE /admin/accounts/{username}": Kind.CONTROLS_ALL,
    "GET /": Kind.OF_A_CLIENT,
    "GET /docs": Kind.OPEN,
    "GET /openapi.json": Kind.OPEN,
    "GET /fleets.schema.json": Kind.OPEN,
    "GET /livez": Kind.OPEN,
    "GET /readyz": Kind.OPEN,
    "GET /metrics": Kind.OPEN,
}
"""The decision for each call. A new call needs one: if it names a fleet in its body, too, the
token's claim has to be held against that."""

BELOW_BASE_URLS = {Kind.ON_A_FLEET, Kind.OF_A_CLIENT}


def name_of(route: Route) -> str:
    path = re.sub(r"{(\w+):(?:[^{}]|{[^{}]*})*}", r"{\1}", route.path)
    return f"{route.method} {path}"


BY_NAME = {name_of(route): route for route in ROUTES if route.answers}


def test_there_is_a_decision_for_each_call_and_no_other() -> None:
    assert set(KINDS) == set(BY_NAME)


def test_the_files_of_pages_are_at_one_place_alone() -> None:
    files = [route for route in ROUTES if not route.answers]
    assert [route.path for route in files if route.is_below_base_urls or route.scope] == []


class Cell(NamedTuple):
    """A request, by what decides it."""

    claim: str | None
    header: str | None
    base_url: str | None
    path_fleet: str | None
    scopes: tuple[str, ...] | None

    def path(self, name: str) -> str:
        path = name.partition(" ")[2].format(device_id=1, username="alice", fleet=self.path_fleet)
        return path if self.base_url is None else f"/fleets/{self.base_url}{path}"


def cells(kind: Kind) -> Iterator[Cell]:
    yield from map(
        Cell._make,
        product(
            (None, "left"),
            (None, "left", "right", "missing"),
            (None, "left", "right", "missing"),
            ("left", "right") if kind is Kind.CONTROLS_A_FLEET else (None,),
            (None, (), ("devices",), ("admin",), ("admin", "devices")),
        ),
    )


def expected(route: Route, kind: Kind, cell: Cell) -> tuple[int, str | None]:
    """Return the status of the answer, and the fleet that the call acts on."""
    is_known = cell.base_url is None or kind in BELOW_BASE_URLS
    takes_token = not is_known or route.scope is not None
    named = {
        cell.header,
        cell.base_url if is_known else None,
        cell.path_fleet if is_known else None,
    }
    named -= {None}
    claim = cell.claim if takes_token else None
    if takes_token and cell.scopes is None:
        return 401, None
    lacks_scope = is_known and route.scope and route.scope not in (cell.scopes or ())
    is_elsewhere = claim and (named - {claim} or (is_known and kind is Kind.CONTROLS_ALL))
    if lacks_scope or is_elsewhere:
        return 403, None
    is_missing = cell.base_url == "missing" and kind is Kind.OF_A_CLIENT and len(named) == 1
    if not is_known or is_missing:
        return 404, None
    if cell.base_url is not None and len(named) > 1:
        return 422, None
    return 200, cell.path_fleet or claim or cell.base_url or cell.header or "default"


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The application, in which every call does nothing but answer which fleet it would act on."""

    def telling() -> Handler:
        async def tell(request: web.Request) -> web.Response:
            return web.json_response(request[keys.FLEET])

        return tell

    monkeypatch.setattr(routes, "ROUTES", [replace(route, handler=telling()) for route in ROUTES])
    app = create_app(SETTINGS)
    async with TestClient(OrdinaryServer(app)) as client:
        for name in ("left", "right"):
            await app[keys.SIMULATOR].fleets.put(name, Generated(1), Profile(seed=1))
        yield Api(client)


@pytest.mark.parametrize("name", KINDS)
async def test_a_request_acts_on_the_fleet_that_it_may_or_on_none(api: Api, name: str) -> None:
    route, kind = BY_NAME[name], KINDS[name]
    wrong = {}
    for cell in cells(kind):
        caller = api if cell.scopes is None else api.as_(*cell.scopes, fleet=cell.claim)
        answer = await caller.on(cell.header).call(route.method, cell.path(name))
        wanted = expected(route, kind, cell)
        if (answer.status, fleet_in(answer)) != wanted:
            wrong[cell] = (answer.status, answer.body, wanted)
    assert wrong == {}


def fleet_in(answer: Answer) -> str | None:
    return answer.json if answer.status == 200 else None


async def test_a_refusal_says_which_fleet_the_token_is_for(api: Api) -> None:
    answer = await api.as_("devices", fleet="left").on("right").get("/stats")
    answer.assert_problem(403)
    assert answer.json == {"message": "The token is for the fleet left alone."}
    assert answer.headers["WWW-Authenticate"] == (
        'Bearer error="insufficient_scope",'
        ' error_description="The token is for the fleet left alone."'
    )


async def test_a_header_beside_a_base_url_is_named_as_the_fault(api: Api) -> None:
    answer = await api.as_("devices").on("right").get("/fleets/left/stats")
    answer.assert_problem(422, "Pisync-Fleet")
