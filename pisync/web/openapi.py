"""The OpenAPI document, made from the table of calls and the schemas of what they read and answer.

A handler's name is the operation's, its docstring describes it, its module is the operation's tag.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import ModuleType
from typing import Any

from aiohttp import hdrs
from aiohttp.typedefs import Handler
from apispec import APISpec
from apispec.core import Components
from marshmallow import Schema

import pisync
from pisync.web.answer_schemas import ErrorSchema
from pisync.web.answers import ETAG, EVENT_STREAM, JSON, Answer
from pisync.web.devices import ATTEMPT_HEADER, FLEET_HEADER, TOTAL_HEADER
from pisync.web.examples import BODIES
from pisync.web.json_schema import DEVICE_ID, Plugin
from pisync.web.links import LINKS
from pisync.web.routes import ADMIN, DEVICES, ROUTES, Route
from pisync.web.schemas import FLEET_NAME

Json = dict[str, Any]

_DESCRIPTION = """\
A device-sync backend to test against: accounts, a fleet of simulated devices, their failures and
their history.

`register` or `login` answers with a token. All calls but the open ones take it:
`Authorization: Bearer …`.

- A timestamp is UTC, always with six digits of fraction and `Z`: `2026-11-22T07:40:12.000000Z`.
- Every error answer is `{"message": "…"}`, with `"errors": {"field": ["…"]}` beside it where fields
  are at fault.
- Unknown body fields and query parameters are refused (422).
- A body may have up to 64 KiB, unless the call says otherwise.
- Every GET is there as HEAD, too.
"""

_SCOPES = {
    DEVICES: "every registered user has it",
    ADMIN: "fleets and the simulator",
}

_HEADERS: Mapping[str, Json] = {
    hdrs.X_REQUEST_ID: {
        "description": "The request's own, if it is 1 to 128 of A-Z a-z 0-9 . _ -, else a new one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        "required": True,
    },
    ETAG: {
        "description": "Changes with the answer; `If-None-Match` takes it.",
        "schema": {"type": "string"},
        "required": True,
    },
    hdrs.LINK: {
        "description": '`<…>; rel="next"`: the next page. There while one follows.',
        "schema": {"type": "string"},
    },
    hdrs.LOCATION: {
        "description": "Where it is.",
        "schema": {"type": "string", "format": "uri-reference"},
        "required": True,
    },
    hdrs.RETRY_AFTER: {
        "description": "Seconds until another try makes sense.",
        "schema": {"type": "integer", "minimum": 1},
        "required": True,
    },
    hdrs.WWW_AUTHENTICATE: {
        "description": "What is wrong with the token, as RFC 6750 has it.",
        "schema": {"type": "string"},
        "required": True,
    },
    TOTAL_HEADER: {
        "description": "How many there are on all pages.",
        "schema": {"type": "integer", "minimum": 0},
        "required": True,
    },
    ATTEMPT_HEADER: {
        "description": "The number of the attempt under way.",
        "schema": {"type": "integer", "minimum": 1},
        "required": True,
    },
}

_PARAMETERS: Mapping[str, Json] = {
    "device_id": {"in": "path", "schema": DEVICE_ID, "example": 7},
    "fleet": {
        "in": "path",
        "schema": {"type": "string", "pattern": f"^{FLEET_NAME}$"},
        "examples": {
            "The one that is always there": {"value": "default"},
            "A suite's own": {"value": "suite-1"},
        },
    },
    FLEET_HEADER: {
        "in": "header",
        "description": "The fleet to act on; `default` if left out.",
        "schema": {"type": "string", "pattern": f"^{FLEET_NAME}$", "default": "default"},
    },
    hdrs.IF_NONE_MATCH: {
        "in": "header",
        "description": "The `ETag` of what the client has: 304 if it is still that.",
        "schema": {"type": "string"},
    },
    hdrs.LAST_EVENT_ID: {
        "in": "header",
        "description": "The `id` of the last event seen: the stream goes on after it.",
        "schema": {"type": "string"},
    },
}

# Refusals that many calls share: description, message, header.
_REFUSALS: Mapping[int, tuple[str, str, str | None]] = {
    HTTPStatus.BAD_REQUEST: ("The body is not JSON.", "The body is not JSON.", None),
    HTTPStatus.UNAUTHORIZED: (
        "No token, or a bad one.",
        "The token is not valid.",
        hdrs.WWW_AUTHENTICATE,
    ),
    HTTPStatus.FORBIDDEN: (
        "The token lacks the scope.",
        "The token lacks the scope admin.",
        hdrs.WWW_AUTHENTICATE,
    ),
    HTTPStatus.NOT_FOUND: (
        "There is no such device or fleet.",
        "There is no such device in this fleet.",
        None,
    ),
    HTTPStatus.REQUEST_TIMEOUT: ("The body took too long.", "The body took too long.", None),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        "The body is too large.",
        "The body is larger than 64 KiB.",
        None,
    ),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        "The body is not `application/json`.",
        "The body must be application/json.",
        None,
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        "The body or the query is not as it should be.",
        "Some fields are not valid.",
        None,
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "A limit is reached, or the store can't be reached. Try again.",
        "The store can't be reached now. Try again.",
        hdrs.RETRY_AFTER,
    ),
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
            "license": {"name": "MIT"},
        },
        servers=[{"url": "/"}],
        tags=list(_tags(documented)),
    )
    _add_components(spec.components)
    for route in documented:
        spec.path(_path(route), operations={route.method.lower(): _operation(route)})
    return spec.to_dict()


def _tags(routes: list[Route]) -> Iterator[Json]:
    for module in dict.fromkeys(_module(route) for route in routes):
        yield {"name": _tag(module), "description": inspect.getdoc(module)}


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
    for name, header in _HEADERS.items():
        components.header(str(name), header)
    for name, parameter in _PARAMETERS.items():
        components.parameter(str(name), parameter["in"], parameter)
    for status, (description, message, header_name) in _REFUSALS.items():
        headers = () if header_name is None else (header_name,)
        shared = Answer(status, description, ErrorSchema(), {"message": message}, headers)
        components.response(_name(status), _response(shared))


def _name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


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
    if route.scope:
        operation["security"] = [{"token": [route.scope]}]
        operation["description"] = f"{description}\n\nScope: `{route.scope}`".strip()
    if route.body:
        operation["requestBody"] = _body(route.body)
    return operation


def _sentences(handler: Handler) -> tuple[str, str]:
    """Return what a handler's docstring says: its first sentence, and the rest."""
    first, *rest = re.split(r"\.(?:\s+|$)", inspect.getdoc(handler) or "", maxsplit=1)
    return " ".join(first.split()), "".join(rest)


def _parameters(route: Route) -> Iterator[Json | str]:
    yield from re.findall(r"{(\w+)}", _path(route))
    if route.scope == DEVICES:
        yield FLEET_HEADER
    if any(answer.status == HTTPStatus.NOT_MODIFIED for answer in route.answers):
        yield str(hdrs.IF_NONE_MATCH)
    if any(answer.media_type == EVENT_STREAM for answer in route.answers):
        yield str(hdrs.LAST_EVENT_ID)
    if route.query:
        yield {"in": "query", "schema": route.query}


def _body(schema: type[Schema]) -> Json:
    examples = {summary: {"value": value} for summary, value in BODIES[schema].items()}
    return {"required": True, "content": {JSON: {"schema": schema, "examples": examples}}}


def _responses(route: Route) -> Iterator[tuple[str, Json | str]]:
    own = {answer.status: answer for answer in route.answers}
    for status in sorted(own.keys() | _shared_refusals(route)):
        if status in own:
            links = LINKS.get((route.handler.__name__, status))
            yield str(status), _response(own[status]) | ({"links": links} if links else {})
        else:
            yield str(status), _name(status)


def _shared_refusals(route: Route) -> set[int]:
    """Return the statuses that follow from what a call is."""
    statuses = {HTTPStatus.UNPROCESSABLE_ENTITY}  # every call refuses a query it does not know
    if route.scope:
        statuses |= {
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.FORBIDDEN,
            HTTPStatus.SERVICE_UNAVAILABLE,
        }
    if route.scope == DEVICES or "{" in route.path:
        statuses.add(HTTPStatus.NOT_FOUND)
    if route.body:
        statuses |= {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        }
    return {int(status) for status in statuses}


def _response(answer: Answer) -> Json:
    response: Json = {
        "description": answer.description,
        # apispec takes a name for a reference; aiohttp's names are of a type of their own.
        "headers": {str(name): str(name) for name in (*answer.headers, hdrs.X_REQUEST_ID)},
    }
    if answer.example is not None:
        content = {"schema": answer.schema or {"type": "string"}, "example": answer.example}
        response["content"] = {answer.media_type: content}
    return response
