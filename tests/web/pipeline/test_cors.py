import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from pisync.web.pipeline.cors import Cors
from tests.conftest import Api, MakeApi

PAGE = "https://app.example"
OTHER = "https://evil.example"
EXPOSED = {
    "Link",
    "X-Total-Count",
    "Location",
    "Pisync-Attempt",
    "ETag",
    "Retry-After",
    "X-Request-ID",
    "WWW-Authenticate",
    "Allow",
    "Idempotency-Replayed",
}


def names(value: str) -> set[str]:
    return set(value.split(", "))


def asking(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }


def assert_no_page_may_read(headers: dict[str, str]) -> None:
    assert [name for name in headers if name.startswith("Access-Control-")] == []


@pytest.mark.parametrize("path", ["/devices", "/devices/7/sync", "/admin/fleets", "/nowhere"])
async def test_a_preflight_needs_no_token(path: str, make_api: MakeApi) -> None:
    api = await make_api(cors_origins=(PAGE,))
    answer = await api.call("OPTIONS", path, headers=asking(PAGE))
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert names(answer.headers["Access-Control-Allow-Methods"]) >= {
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
    }
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "X-Request-ID" in answer.headers


@pytest.mark.parametrize(
    "asked",
    ["authorization", "x-pisync-suite, traceparent, baggage, sentry-trace", "cache-control"],
)
async def test_a_preflight_grants_whatever_headers_it_asks_for(
    asked: str, make_api: MakeApi
) -> None:
    api = await make_api(cors_origins=(PAGE,))
    headers = {**asking(PAGE), "Access-Control-Request-Headers": asked}
    answer = await api.call("OPTIONS", "/devices", headers=headers)
    assert answer.headers["Access-Control-Allow-Headers"] == asked


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:5173", True),
        ("http://localhost", True),
        ("https://localhost:5173", False),
        ("http://localhost.evil.example:5173", False),
        ("http://localhost:5173.evil.example", False),
        ("http://127.0.0.1:3000", False),
        ("http://[::1]:3000", True),
    ],
)
def test_an_origin_may_stand_for_any_port(origin: str, *, allowed: bool) -> None:
    headers = Cors(("http://localhost:*", "http://[::1]:*")).headers(origin)
    assert headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)


async def test_a_preflight_of_another_page_is_a_request_like_any(make_api: MakeApi) -> None:
    api = await make_api(cors_origins=(PAGE,))
    answer = await api.call("OPTIONS", "/devices", headers=asking(OTHER))
    answer.assert_problem(401)
    assert_no_page_may_read(answer.headers)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": PAGE}, {"Access-Control-Request-Method": "GET"}],
    ids=["plain", "origin alone", "method alone"],
)
async def test_options_that_is_no_preflight_needs_a_token(
    headers: dict[str, str], make_api: MakeApi
) -> None:
    api = await make_api(cors_origins=(PAGE,))
    (await api.call("OPTIONS", "/devices", headers=headers)).assert_problem(401)


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/devices", 401)])
async def test_an_allowed_page_reads_answers_and_errors(
    path: str, status: int, make_api: MakeApi
) -> None:
    api = await make_api(cors_origins=("https://first.example", PAGE))
    answer = await api.get(path, headers={"Origin": PAGE})
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert names(answer.headers["Access-Control-Expose-Headers"]) == EXPOSED
    assert "Origin" in answer.headers.getall("Vary")
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_an_allowed_page_reads_what_the_router_does_not_know(make_api: MakeApi) -> None:
    user = (await make_api(cors_origins=(PAGE,))).as_("devices")
    answer = await user.get("/nowhere", headers={"Origin": PAGE})
    answer.assert_problem(404)
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


@pytest.mark.parametrize(
    "origin", [OTHER, "https://app.example.evil.example", "http://app.example", "null"]
)
async def test_another_page_reads_nothing(origin: str, make_api: MakeApi) -> None:
    api = await make_api(cors_origins=(PAGE,))
    answer = await api.get("/livez", headers={"Origin": origin})
    assert answer.status == 200
    assert_no_page_may_read(answer.headers)


async def test_caches_learn_that_answers_differ_by_origin(make_api: MakeApi) -> None:
    api = await make_api(cors_origins=(PAGE,))
    assert "Origin" in (await api.get("/livez")).headers.getall("Vary")


async def test_with_a_star_every_page_reads_the_same(make_api: MakeApi) -> None:
    api = await make_api(cors_origins=("*",))
    answer = await api.get("/livez", headers={"Origin": OTHER})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert names(answer.headers["Access-Control-Expose-Headers"]) == EXPOSED
    assert "Vary" not in answer.headers
    assert (await api.call("OPTIONS", "/devices", headers=asking(OTHER))).status == 204


async def test_without_the_setting_there_is_nothing_of_it(api: Api) -> None:
    answer = await api.get("/livez", headers={"Origin": PAGE})
    assert_no_page_may_read(answer.headers)
    assert "Vary" not in answer.headers
    (await api.call("OPTIONS", "/devices", headers=asking(PAGE))).assert_problem(401)


async def test_vary_of_a_handler_stays(aiohttp_client: AiohttpClient) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(headers={"Vary": "Accept"})

    app = web.Application()
    app.add_routes([web.get("/", handler)])
    app.on_response_prepare.append(Cors([PAGE]).add)
    client = await aiohttp_client(app)
    async with client.get("/", headers={"Origin": PAGE}) as response:
        assert response.headers.getall("Vary") == ["Accept", "Origin"]
