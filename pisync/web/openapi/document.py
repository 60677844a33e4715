"""The OpenAPI document, made from the table of calls and the schemas of what they read and answer.

A handler's name is the operation's, its docstring describes it, its module is the operation's tag.
"""

import re
import sys
from collections.abc import Iterator
from http import HTTPStatus
from types import ModuleType
from typing import Any

from aiohttp.typedefs import Handler
from apispec import APISpec
from apispec.core import Components
from marshmallow import Schema

import pisync
from pisync.model.account import (
    ADMIN,
    DEVICES,
)
from pisync.model.fleet import DEFAULT_FLEET
from pisync.web.contract.answers import (
    EVENT_STREAM,
    JSON,
    SHARED,
    Answer,
)
from pisync.web.contract.headers import (
    FLEET_HEADER,
    HEADERS,
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    LAST_EVENT_ID,
    PARAMETERS,
    REPLAYED_HEADER,
    REQUEST_ID,
)
from pisync.web.openapi.docstrings import docstring
from pisync.web.openapi.examples import BODIES
from pisync.web.openapi.json_schema import ENUMS, Plugin
from pisync.web.openapi.links import LINKS
from pisync.web.pipeline import base_url
from pisync.web.routes import ROUTES, Route

Json = dict[str, Any]

_DESCRIPTION = """\
A device-sync backend to test against: accounts, simulated devices, their failures and their
history.

`register` and `login` return a token. Calls that name a scope need it, in the header
`Authorization: Bearer …`.

- Timestamps are UTC, with six digits of fraction and `Z`: `2026-11-22T07:40:12.000000Z`. Those that
  are sent may have any form of RFC 3339, with up to nine digits of fraction and an offset.
- Every error answer is `{"message": "…"}`, with `"errors": {"field": ["…"]}` where fields are at
  fault: the first 20 of them. It is at most 8 KiB long.
- Unknown body fields and query parameters are refused (422), except `_`, which is ignored.
- A list in a query is written with commas, or its parameter is repeated, or both. Another parameter
  that comes twice is refused (422).
- Integers may come as any JSON number whose value is whole, such as `7.0`. In a query they have no
  sign and no leading zero. `NaN` and `Infinity` are not JSON (400).
- A body may have up to 64 KiB, unless the call says otherwise. It may be compressed with gzip or
  deflate; answers to calls are not compressed, which is a proxy's job.
- Every GET works as HEAD, too.
- A call acts on the fleet `default`, or on the one that the header `Pisync-Fleet`, the base URL or
  the token's claim `fleet` names.
"""

_SERVERS = [
    {"url": ".", "description": "Everything; a header may name the fleet."},
    {
        "url": f".{base_url.TEMPLATE}",
        "description": (
            "The base URL of a fleet, for clients that can set nothing else: for `/` and for the"
            " calls tagged `accounts`, `devices`, `error_logs` and `stream`."
        ),
        "variables": {"fleet": {"default": DEFAULT_FLEET, "description": "The name of the fleet."}},
    },
]

_SCOPES = {
    DEVICES: "devices and their syncs; every registered user has it",
    ADMIN: "fleets, the simulator and accounts",
}


def document() -> Json:
    """Return the OpenAPI 3.1 document of all calls."""
    documented = [route for route in ROUTES if route.answers]
    spec = APISpec(
        "PiSync",
        pisync.__version__,
        "3.1.0",
        plugins=[Plugin()],
        info={
            "description": _DESCRIPTION,
            "contact": {"name": "The PiSync authors"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        servers=_SERVERS,
        tags=list(_tags(documented)),
    )
    _add_components(spec.components)
    for route in documented:
        spec.path(_path(route), operations={route.method.lower(): _operation(route)})
    return spec.to_dict()


def _tags(routes: list[Route]) -> Iterator[Json]:
    for module in dict.fromkeys(_module(route) for route in routes):
        yield {"name": _tag(module), "description": docstring(module)}


def _module(route: Route) -> ModuleType:
    return sys.modules[route.handler.__module__]


def _tag(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _add_components(components: Components) -> None:
    scopes = "; ".join(f"`{name}`: {meaning}" for name, meaning in _SCOPES.items())
    components.security_scheme(
        "token",
        {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": f"A token has scopes. {scopes}.",
        },
    )
    for name, schema in ENUMS.items():
        components.schema(name, schema)
    for name, header in HEADERS.items():
        components.header(name, header)
    for name, parameter in PARAMETERS.items():
        components.parameter(name, parameter["in"], parameter)
    for name, refusal in SHARED.items():
        components.response(name, _response(refusal))


def _path(route: Route) -> str:
    return re.sub(r"{(\w+):[^/]+}", r"{\1}", route.path)


def _operation(route: Route) -> Json:
    summary, description = _sentences(route.handler)
    operation = {
        "operationId": route.handler.__name__,
        "tags": [_tag(_module(route))],
        "summary": summary,
        "description": description,
        "parameters": list(_parameters(route)),
        "responses": dict(_responses(route)),
    }
    if route.scope is None:
        operation["security"] = []
    else:
        operation["security"] = [{"token": [route.scope] if route.scope else []}]
        scope = f"`{route.scope}`" if route.scope else "any token will do"
        operation["description"] = f"{description}\n\nScope: {scope}."
    if route.body:
        operation["requestBody"] = _body(route.body)
    if route.document:
        content = {route.document: {"schema": {"type": "string"}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _sentences(handler: Handler) -> tuple[str, str]:
    """Return the first sentence of a handler's docstring, and all of it."""
    text = docstring(handler)
    return " ".join(re.split(r"\.(?:\s|$)", text, maxsplit=1)[0].split()), text


def _parameters(route: Route) -> Iterator[Json | str]:
    yield from re.findall(r"{(\w+)}", _path(route))
    if route.scope == DEVICES:
        yield FLEET_HEADER
    if any(answer.status == HTTPStatus.NOT_MODIFIED for answer in route.answers):
        yield IF_NONE_MATCH
    if any(answer.media_type == EVENT_STREAM for answer in route.answers):
        yield LAST_EVENT_ID
    if any(REPLAYED_HEADER in answer.headers for answer in route.answers):
        yield IDEMPOTENCY_KEY
    if route.query:
        yield {"in": "query", "schema": route.query}


def _body(schema: type[Schema]) -> Json:
    examples = {summary: {"value": value} for summary, value in BODIES[schema].items()}
    return {"required": True, "content": {JSON: {"schema": schema, "examples": examples}}}


def _responses(route: Route) -> Iterator[tuple[str, Json | str]]:
    found: dict[int, Json | str] = {SHARED[name].status: name for name in _refusals(route)}
    for answer in route.answers:
        links = LINKS.get((route.handler.__name__, answer.status))
        found[answer.status] = _response(answer) | ({"links": links} if links else {})
    return ((str(status), found[status]) for status in sorted(found))


def _refusals(route: Route) -> Iterator[str]:
    """Yield the names of the shared refusals that a route implies."""
    yield "Invalid"  # every call refuses a query that it does not know
    if route.scope is not None:
        yield from ("Unauthorized", "Forbidden")
    if route.scope is not None or route.is_below_base_urls:
        yield "Unavailable"
    if route.is_below_base_urls or "{" in route.path:
        yield "NotFound"
    if route.body or route.document:
        yield from ("NotJson", "TooSlow", "TooLarge", "WrongType")


def _response(answer: Answer) -> Json:
    response: Json = {
        "description": answer.description,
        # apispec takes a name for a reference.
        "headers": {name: name for name in (*answer.headers, REQUEST_ID)},
    }
    if answer.example is not None:
        content = {"schema": answer.schema or {"type": "string"}, "example": answer.example}
        response["content"] = {answer.media_type: content}
    return response
