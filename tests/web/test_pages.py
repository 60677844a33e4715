"""The documentation's page and its files, as a browser gets them."""

from pathlib import Path

import pytest

import pisync
from pisync.web.pages import FILES
from tests.conftest import Api

PAGE = Path(pisync.__file__).parent / "web/docs/index.html"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CONTENT_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".png": "image/png",
}


async def test_the_root_leads_to_the_documentation(api: Api) -> None:
    answer = await api.get("/")
    assert (answer.status, answer.headers["Location"]) == (302, "/docs")


async def test_the_page_may_load_from_its_own_host_alone(api: Api) -> None:
    answer = await api.get("/docs")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_names_no_other_host_and_has_no_script_or_style_of_its_own() -> None:
    page = PAGE.read_text()
    assert "//" not in page
    assert "<style" not in page
    assert "style=" not in page
    assert page.count("<script") == page.count("<script src=")


def test_the_page_loads_what_there_is_and_nothing_else() -> None:
    page = PAGE.read_text()
    assert [path for path in FILES if f'"{path}"' not in page] == []
    assert page.count('"/docs/') == len(FILES)


@pytest.mark.parametrize("path", FILES)
async def test_a_file_has_its_content_type(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == CONTENT_TYPES[Path(path).suffix]
    assert answer.body


@pytest.mark.parametrize("path", ["/docs", *FILES])
async def test_a_browser_asks_each_time_and_gets_only_what_is_new(api: Api, path: str) -> None:
    first = await api.get(path)
    assert first.headers["Cache-Control"] == "no-cache"
    again = await api.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", *FILES])
async def test_head_has_the_headers_of_get(api: Api, path: str) -> None:
    get, head = await api.get(path), await api.call("HEAD", path)
    assert (head.status, head.body) == (get.status, b"")
    own = {"Date", "X-Request-ID"}
    assert {*head.headers.items()} - {*get.headers.items()} <= {
        (name, value) for name, value in head.headers.items() if name in own
    }
    assert set(head.headers) == set(get.headers)


@pytest.mark.parametrize(
    "path",
    [
        "/docs/",
        "/docs/index.html",
        "/docs/../pisync.py",
        "/docs/%2e%2e/%2e%2e/app.py",
        "/docs/..%2fapp.py",
        "/docs/vendor/swagger-ui/LICENSE",
        "/docs/swagger-ui.js/",
        "/docs//swagger-ui.js",
    ],
)
async def test_no_other_file_can_be_had(api: Api, path: str) -> None:
    (await api.get(path)).assert_problem(401)
    (await api.as_("devices").get(path)).assert_problem(404)


async def test_the_page_takes_no_query(api: Api) -> None:
    (await api.get("/docs?theme=dark")).assert_problem(422, "theme")
