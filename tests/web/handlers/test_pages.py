"""The pages and their files, as a browser gets them."""

import re
from pathlib import Path

import pytest

import pisync
from pisync.web.handlers.pages import (
    DOCS,
    FILES,
)
from tests.conftest import Api

WEB = Path(pisync.__file__).parent / "web"
PAGES = {"/": WEB / "dashboard/index.html", "/docs": WEB / "docs/index.html"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CONTENT_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_may_load_from_its_own_host_alone(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.body == PAGES[path].read_bytes()


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_names_no_other_host_and_has_no_script_or_style_of_its_own(path: Path) -> None:
    page = path.read_text()
    assert "//" not in page
    assert "<style" not in page
    assert "style=" not in page
    assert re.findall(r"<script(?! (?:type=\"module\" )?src=)", page) == []


def test_the_documentation_loads_what_there_is_and_nothing_else() -> None:
    page = PAGES["/docs"].read_text()
    assert [path for path in DOCS if f'"{path.removeprefix("/")}"' not in page] == []
    assert page.count('"docs/') == len(DOCS)


@pytest.mark.parametrize("path", FILES)
async def test_a_file_has_its_content_type(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == CONTENT_TYPES[Path(path).suffix]
    assert answer.body


@pytest.mark.parametrize("path", [*PAGES, *FILES])
async def test_a_browser_asks_each_time_and_gets_only_what_is_new(api: Api, path: str) -> None:
    first = await api.get(path)
    assert first.headers["Cache-Control"] == "no-cache"
    again = await api.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json", *FILES])
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
        "/dashboard",
        "/dashboard/",
        "/dashboard/index.html",
        "/dashboard/../pages.py",
        "/dashboard/views/%2e%2e/%2e%2e/pages.py",
        "/dashboard/vendor/htm/LICENSE",
    ],
)
async def test_no_other_file_can_be_had(api: Api, path: str) -> None:
    (await api.get(path)).assert_problem(401)
    (await api.as_("devices").get(path)).assert_problem(404)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_takes_no_query(api: Api, path: str) -> None:
    (await api.get(f"{path}?theme=dark")).assert_problem(422, "theme")
