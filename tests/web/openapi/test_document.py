"""The OpenAPI document: valid, complete, true to the schemas, and made when somebody asks."""

import re
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
import pytest
from marshmallow import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from pisync.model.parsing import profile
from pisync.web.contract import fleet_schemas
from pisync.web.handlers import pages
from pisync.web.openapi.document import document
from pisync.web.openapi.json_schema import name_of
from pisync.web.pipeline.base_url import call_of
from pisync.web.routes import ROUTES, Route
from tests.conftest import Api
from tests.support.documented import (
    DOCUMENT,
    faults,
)

SCHEMAS = DOCUMENT["components"]["schemas"]
BODY_REFUSALS = {400, 408, 413, 415}
TOKEN_REFUSALS = {401, 403, 503}


class Operation(NamedTuple):
    method: str
    path: str
    said: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def answers(self) -> dict[int, dict[str, Any]]:
        return {int(status): resolved(said) for status, said in self.said["responses"].items()}

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        return {said["name"]: said for said in map(resolved, self.said["parameters"])}

    @property
    def body(self) -> dict[str, Any] | None:
        return self.said.get("requestBody")


def resolved(said: dict[str, Any]) -> dict[str, Any]:
    found: Any = DOCUMENT
    if "$ref" not in said:
        return said
    for step in said["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def operations() -> Iterator[Operation]:
    for path, methods in DOCUMENT["paths"].items():
        for method, said in methods.items():
            yield Operation(method.upper(), path, said)


OPERATIONS = {operation.name: operation for operation in operations()}
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
WITH_BODY = [route for route in ROUTES if route.body]


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_call_but_a_pages_files_is_in_the_document() -> None:
    left_out = {route.path for route in ROUTES if not route.answers}
    assert left_out == set(pages.FILES)
    assert len(OPERATIONS) == len(ROUTES) - len(left_out)


async def test_the_document_names_every_path_that_the_server_routes(api: Api) -> None:
    assert api.client.app
    routed = {call_of(resource.canonical) for resource in api.client.app.router.resources()}
    assert routed - set(pages.FILES) == set(DOCUMENT["paths"])


def test_the_document_says_the_contracts_codes() -> None:
    expected = {
        "POST /register": {201, 404, 409, 422, 503} | BODY_REFUSALS,
        "POST /login": {200, 401, 404, 422, 429, 503} | BODY_REFUSALS,
        "POST /password": {200, 401, 403, 404, 409, 422, 429, 503} | BODY_REFUSALS,
        "GET /admin/accounts": {200, 422} | TOKEN_REFUSALS,
        "PATCH /admin/accounts/{username}": {200, 404, 409, 422} | TOKEN_REFUSALS | BODY_REFUSALS,
        "DELETE /admin/accounts/{username}": {204, 404, 409, 422} | TOKEN_REFUSALS,
        "GET /devices": {200, 304, 404, 422} | TOKEN_REFUSALS,
        "GET /devices/{device_id}": {200, 304, 404, 422} | TOKEN_REFUSALS,
        "POST /devices/{device_id}/sync": {202, 404, 409, 422} | TOKEN_REFUSALS,
        "POST /devices/sync": {202, 404, 409, 422} | TOKEN_REFUSALS | BODY_REFUSALS,
        "GET /errors": {200, 404, 422} | TOKEN_REFUSALS,
        "GET /stats": {200, 404, 422} | TOKEN_REFUSALS,
        "GET /events": {200, 404, 422} | TOKEN_REFUSALS,
        "GET /admin/fleets": {200, 422} | TOKEN_REFUSALS,
        "PUT /admin/fleets/{fleet}": {200, 201, 404, 422} | TOKEN_REFUSALS | BODY_REFUSALS,
        "DELETE /admin/fleets/{fleet}": {204, 404, 409, 422} | TOKEN_REFUSALS,
        "POST /admin/fleets/{fleet}/advance": {200, 404, 409, 422} | TOKEN_REFUSALS | BODY_REFUSALS,
        "POST /admin/fleets/{fleet}/devices/{device_id}/release": {200, 404, 409, 422}
        | TOKEN_REFUSALS
        | BODY_REFUSALS,
        "GET /": {200, 304, 404, 422, 503},
        "GET /livez": {200, 422},
        "GET /readyz": {200, 422, 503},
    }
    assert {name: set(OPERATIONS[name].answers) for name in expected} == expected


@each_operation
def test_a_call_needs_the_scope_that_it_says(operation: Operation) -> None:
    opened = operation.path.startswith(
        ("/docs", "/openapi", "/fleets.schema", "/livez", "/readyz", "/metrics")
    ) or operation.path in ("/", "/register", "/login")
    scopes = ["admin"] if operation.path.startswith("/admin/") else ["devices"]
    if operation.path == "/password":
        scopes = []
    assert operation.said["security"] == ([] if opened else [{"token": scopes}])
    told = f"`{scopes[0]}`" if scopes else "any token"
    assert opened or told in operation.said["description"]


def test_the_token_is_a_jwt_whose_scopes_are_told() -> None:
    scheme = DOCUMENT["components"]["securitySchemes"]["token"]
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
    assert "`devices`" in scheme["description"]
    assert "`admin`" in scheme["description"]


@each_operation
def test_a_call_is_named_summed_up_and_tagged(operation: Operation) -> None:
    names = [each.said["operationId"] for each in OPERATIONS.values()]
    assert names.count(operation.said["operationId"]) == 1
    assert 0 < len(operation.said["summary"]) <= 100
    assert operation.said["description"]
    assert "\n" not in operation.said["summary"]
    assert set(operation.said["tags"]) <= {tag["name"] for tag in DOCUMENT["tags"]}


@each_operation
def test_each_parameter_is_described(operation: Operation) -> None:
    assert all(said.get("description") for said in operation.parameters.values())


@each_operation
def test_an_error_answer_has_the_one_shape(operation: Operation) -> None:
    errors = {code: said for code, said in operation.answers.items() if code >= 400}
    assert errors
    for said in errors.values():
        content = said["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


@each_operation
def test_an_answer_has_the_headers_that_its_code_asks_for(operation: Operation) -> None:
    asked = {
        201: "Location" if operation.method == "PUT" else None,
        304: "ETag",
        401: "WWW-Authenticate",
        403: "WWW-Authenticate",
        429: "Retry-After",
        503: "Retry-After",
    }
    for code, said in operation.answers.items():
        assert {"X-Request-ID", asked.get(code)} - {None} <= set(said["headers"]), code
        assert all(resolved(header)["schema"] for header in said["headers"].values())


@pytest.mark.parametrize(
    ("name", "code", "headers"),
    [
        ("GET /devices", 200, {"Link", "X-Total-Count", "ETag"}),
        ("GET /devices/{device_id}", 200, {"ETag"}),
        (
            "POST /devices/{device_id}/sync",
            202,
            {"Location", "Pisync-Attempt", "Idempotency-Replayed"},
        ),
        ("GET /errors", 200, {"Link"}),
        ("GET /", 200, {"ETag"}),
    ],
)
def test_an_answer_has_its_own_headers(name: str, code: int, headers: set[str]) -> None:
    assert set(OPERATIONS[name].answers[code]["headers"]) == headers | {"X-Request-ID"}


@each_operation
def test_a_call_on_devices_takes_the_fleets_header(operation: Operation) -> None:
    on_devices = operation.said.get("security") == [{"token": ["devices"]}]
    assert ("Pisync-Fleet" in operation.parameters) is on_devices


@each_operation
def test_a_call_takes_if_none_match_where_it_may_answer_not_modified(operation: Operation) -> None:
    assert ("If-None-Match" in operation.parameters) is (304 in operation.answers)


@each_operation
def test_an_answer_with_a_body_has_an_example_that_its_schema_takes(operation: Operation) -> None:
    for code, said in operation.answers.items():
        assert bool(said.get("content")) is (code not in (204, 304))
        for content in said.get("content", {}).values():
            assert examples_that_do_not_fit(content, [content["example"]]) == {}


@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.handler.__name__)
def test_a_body_has_examples_that_its_schema_takes(route: Route) -> None:
    assert route.body
    (operation,) = (
        each for each in OPERATIONS.values() if each.said["operationId"] == route.handler.__name__
    )
    assert operation.body
    content = operation.body["content"]["application/json"]
    examples = [example["value"] for example in content["examples"].values()]
    assert examples
    assert examples_that_do_not_fit(content, examples) == {}
    for example in examples:
        route.body().load(example)


def examples_that_do_not_fit(content: dict[str, Any], examples: list[Any]) -> dict[str, Any]:
    """By example, what is wrong with it; those of texts and of lists included."""
    schema = content["schema"]
    if "$ref" not in schema and "items" not in schema:
        return {str(each): type(each) for each in examples if not isinstance(each, (str, dict))}
    if "items" in schema:
        schema, examples = schema["items"], [each for example in examples for each in example]
    name = schema["$ref"].rpartition("/")[2]
    wrong = {str(each): faults(each, name) for each in examples}
    return {example: messages for example, messages in wrong.items() if messages}


def test_every_link_leads_to_a_call_that_takes_its_parameters() -> None:
    by_id = {each.said["operationId"]: each for each in OPERATIONS.values()}
    links = [
        link
        for operation in OPERATIONS.values()
        for answer in operation.answers.values()
        for link in answer.get("links", {}).values()
    ]
    assert len(links) > 20
    for link in links:
        target = by_id[link["operationId"]]
        given = set(link.get("parameters", ()))
        assert given <= set(target.parameters)
        required = {name for name, said in target.parameters.items() if said.get("required")}
        assert required <= given


@pytest.mark.parametrize("name", [n for n, said in SCHEMAS.items() if said.get("type") == "object"])
def test_an_object_has_no_other_fields_than_those_said(name: str) -> None:
    assert SCHEMAS[name]["additionalProperties"] is False


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_described_in_a_sentence(name: str) -> None:
    assert SCHEMAS[name]["description"].endswith(".")


TIME = "2026-11-22T07:40:12.000000Z"
FAILURE = {"sync_status_code": 500, "error_message": "Storage Full"}
SUCCESS = {"sync_status_code": 200}


@pytest.mark.parametrize(
    ("schema", "allowed", "refused"),
    [
        (
            "RegisterBody",
            [{"username": "alice", "password": "12345678"}],
            [
                {"username": "alice", "password": "1234567"},
                {"username": "ali ce", "password": "12345678"},
                {"username": ".alice", "password": "12345678"},
                {"username": "alice", "password": "1234\u00005678"},
                {"username": "alice", "password": "12345678", "email": "a@b"},
                {"username": "alice"},
            ],
        ),
        (
            "SyncBody",
            [{"device_ids": []}, {"device_ids": [1, 2**53 - 1]}, {"status": [202]}, {"all": True}],
            [
                {},
                {"all": False},
                {"all": True, "status": [400]},
                {"device_ids": [0]},
                {"device_ids": [2**53]},
                {"device_ids": list(range(1, 10_002))},
                {"status": [201]},
            ],
        ),
        (
            "Outcome",
            [SUCCESS, {**SUCCESS, "error_message": None}, FAILURE],
            [
                {**SUCCESS, "error_message": "Storage Full"},
                {"sync_status_code": 500},
                {**FAILURE, "error_message": None},
                {**FAILURE, "error_message": ""},
                {**FAILURE, "error_message": "x" * 201},
                {**FAILURE, "sync_status_code": 202},
            ],
        ),
        (
            "Step",
            [
                SUCCESS,
                {**FAILURE, "delay": 1.5, "sticky": True},
                {**FAILURE, "polls": 3, "sticky": True},
                {"hold": True, "sticky": True},
            ],
            [
                {},
                {**SUCCESS, "polls": 0},
                {**SUCCESS, "polls": 1001},
                {**SUCCESS, "polls": 3, "delay": 1.5},
                {"hold": True, "polls": 3},
                {"hold": False},
                {"hold": True, "delay": 1},
                {**SUCCESS, "hold": True},
                {**SUCCESS, "delay": 86_401},
                {**SUCCESS, "delay": -1},
            ],
        ),
        ("ScriptBody", [[SUCCESS], [SUCCESS] * 1000], [[], [SUCCESS] * 1001, SUCCESS]),
        (
            "DeviceSpec",
            [
                {"device_id": 1},
                {"device_id": 1, "last_sync_at": TIME, "last_attempt_at": TIME},
                {"device_id": 1, "last_sync_at": TIME.replace(".000000", "")},
                {"device_id": 1, "last_sync_at": TIME.replace("Z", "+00:00")},
                {"device_id": 1, **FAILURE, "last_sync_at": None},
            ],
            [
                {"device_id": 1, "last_sync_at": None},
                {"device_id": 1, "sync_status_code": 202},
                {"device_id": 1, "last_sync_at": TIME.replace("T", " ")},
                {"device_id": 1, "last_sync_at": TIME.replace("Z", "")},
                {"device_id": 1, "last_attempt_at": None},
            ],
        ),
        ("FleetBody", [{"devices": 0}, {"devices": []}], [{}, {"devices": -1}, {"devices": "1"}]),
        (
            "PartialProfile",
            [
                {},
                {"outcomes": [{**SUCCESS, "weight": 0}, {**FAILURE, "weight": 1}]},
                {"delay": {"distribution": "constant", "seconds": 0}},
                {"delay": {"distribution": "lognormal", "median": 2, "sigma": 0, "max": 10}},
                {"seed": 2**53 - 1, "when_pending": "refuse", "max_pending": 0},
            ],
            [
                {"outcomes": []},
                {"outcomes": [{**SUCCESS, "weight": 0}]},
                {"outcomes": [{**SUCCESS, "weight": -1}]},
                {"delay": {"distribution": "constant", "min": 0, "max": 1}},
                {"delay": {"distribution": "normal"}},
                {"delay": {"seconds": 1}},
                {"seed": 2**53},
                {"when_pending": "wait"},
            ],
        ),
        (
            "ClockBody",
            [{"mode": "real"}, {"mode": "real", "speed": 100_000}, {"mode": "manual"}],
            [
                {"mode": "real", "speed": 0},
                {"mode": "real", "speed": 100_001},
                {"mode": "manual", "speed": 1},
                {"speed": 1},
            ],
        ),
        ("AdvanceBody", [{"seconds": 0}, {"seconds": 3600.5}], [{"seconds": -1}, {}]),
    ],
)
def test_a_body_is_allowed_by_the_document_exactly_if_it_is_by_its_schema(
    schema: str, allowed: list[Any], refused: list[Any]
) -> None:
    load = {name_of(each): each for each in marshmallow_schemas()}[schema]().load
    for value in allowed:
        assert faults(value, schema) == []
        load(value)
    for value in refused:
        assert faults(value, schema), value
        with pytest.raises(ValidationError):
            load(value)


def marshmallow_schemas() -> Iterator[Any]:
    yield from (route.body for route in WITH_BODY)
    for module in (fleet_schemas, profile):
        yield from (schema for name, schema in vars(module).items() if name.endswith("Schema"))


def test_a_query_says_its_limits_and_defaults() -> None:
    parameters = OPERATIONS["GET /devices"].parameters
    assert parameters["limit"]["schema"] == {
        "type": "integer",
        "default": 100,
        "minimum": 1,
        "maximum": 1000,
    }
    assert parameters["status"]["explode"] is False
    assert resolved(parameters["status"]["schema"]["items"])["enum"] == [200, 202, 400, 404, 500]
    assert parameters["status"]["schema"]["type"] == "array"
    assert "default" not in parameters["status"]["schema"]
    assert OPERATIONS["GET /errors"].parameters["limit"]["schema"]["default"] == 50
    assert OPERATIONS["GET /admin/fleets/{fleet}/forecast"].parameters["device_id"]["required"]


async def test_everyone_can_read_the_document(api: Api) -> None:
    answer = await api.get("/openapi.json")
    assert answer.status == HTTPStatus.OK
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json == document()


def test_a_base_url_of_a_fleet_is_a_server_and_no_path_stands_twice() -> None:
    everything, of_fleet = DOCUMENT["servers"]
    assert everything["url"] == "."  # where generators and proxies expect all calls
    assert of_fleet["url"] == "./fleets/{fleet}"
    assert of_fleet["variables"]["fleet"]["default"] == "default"
    assert [path for path in DOCUMENT["paths"] if path.startswith("/fleets/")] == []


def test_the_server_of_a_fleet_names_the_tags_of_the_calls_that_it_has() -> None:
    below = {route.handler.__name__ for route in ROUTES if route.is_below_base_urls}
    tags = {
        operation.said["tags"][0]
        for operation in OPERATIONS.values()
        if operation.said["operationId"] in below and operation.path != "/"
    }
    assert tags == set(re.findall(r"`(\w+)`", DOCUMENT["servers"][1]["description"]))


async def test_a_known_document_is_not_sent_again(api: Api) -> None:
    tag = (await api.get("/openapi.json")).headers["ETag"]
    again = await api.get("/openapi.json", headers={"If-None-Match": tag})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)


def test_a_start_does_not_wait_for_what_makes_the_document() -> None:
    code = "import sys, pisync.app; print('apispec' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout == "False\n"


def test_the_document_is_json() -> None:
    assert orjson.loads(orjson.dumps(document())) == document()


def test_the_document_says_who_made_it_and_under_which_licence() -> None:
    assert DOCUMENT["info"]["contact"]["name"]
    assert DOCUMENT["info"]["license"] == {"name": "MIT", "identifier": "MIT"}


def schemas_within(value: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
        for name, nested in value.items():
            yield from schemas_within(nested, f"{path}/{name}")
    elif isinstance(value, list):
        for index, nested in enumerate(value):
            yield from schemas_within(nested, f"{path}/{index}")


def test_no_schema_is_written_in_a_way_that_generators_stumble_over() -> None:
    found = [*schemas_within(SCHEMAS), *schemas_within(DOCUMENT["paths"])]
    assert len(found) > 1000
    for path, said in found:
        assert said.get("type") not in ("null", ["null"]), path
        if "properties" in said or "$ref" in said:
            assert not {"anyOf", "allOf", "oneOf"} & said.keys(), path
        codes = said.get("enum", ())
        assert said.get("type") != "boolean" or not codes, path
        is_named = path.strip("/") in SCHEMAS
        assert is_named or not (500 in codes or 200 in codes), path
        parameter = said.get("schema", {}) if said.get("in") == "query" else {}
        assert not isinstance(parameter.get("type"), list), path


def test_an_integer_that_may_be_large_says_so() -> None:
    for path, said in schemas_within(DOCUMENT):
        if said.get("type") == "integer" and said.get("maximum", 2**53) >= 2**31:
            named = "enum" in said or "propertyNames" in path or "/headers/" in path
            assert named or said.get("format") == "int64", path


def test_the_document_is_the_same_where_python_drops_docstrings() -> None:
    code = "from pisync.web.openapi.document import document; print(document())"
    shown = [
        subprocess.run([sys.executable, *flags, "-c", code], check=True, capture_output=True).stdout
        for flags in ([], ["-OO"])
    ]
    assert shown[0] == shown[1]
