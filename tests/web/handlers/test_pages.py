"""The pages and their files, as a browser gets them."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

import pisync
from pisync.web.contract.compression import accepts_gzip
from pisync.web.handlers.pages import (
    DOCS,
    FILES,
)
from tests.conftest import Answer, Api

pytestmark = pytest.mark.one_way

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
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
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


async def raw(api: Api, path: str, accepted: str | None, **headers: str) -> Answer:
    """Get a path, and leave the body as it came."""
    sent = {} if accepted is None else {"Accept-Encoding": accepted}
    async with ClientSession(
        auto_decompress=False, skip_auto_headers=["Accept-Encoding"]
    ) as session:
        url = api.client.make_url(path)
        async with session.get(url, headers={**sent, **headers}) as response:
            return Answer(response, await response.read())


# One is too short to gain, another is compressed already.
TEXTS = sorted({*PAGES, "/openapi.json", *FILES} - {"/docs/docs.css", "/docs/icon.png"})


@pytest.mark.parametrize("path", TEXTS)
async def test_what_pages_load_is_compressed_for_those_who_take_it(api: Api, path: str) -> None:
    plain, packed = await raw(api, path, None), await raw(api, path, "gzip, deflate, br, zstd")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    assert packed.headers["ETag"] != plain.headers["ETag"]
    for answer in (plain, packed):
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert int(answer.headers["Content-Length"]) == len(answer.body)
    tag = packed.headers["ETag"]
    again = await raw(api, path, "gzip", **{"If-None-Match": tag})
    assert (again.status, again.headers["ETag"], again.headers["Vary"]) == (
        304,
        tag,
        "Accept-Encoding",
    )
    assert (await raw(api, path, None, **{"If-None-Match": tag})).status == 200


async def test_the_largest_file_is_a_third_of_its_size(api: Api) -> None:
    assert len((await raw(api, "/docs/swagger-ui.js", "gzip")).body) < 600_000


async def test_an_image_is_compressed_already(api: Api) -> None:
    answer = await raw(api, "/docs/icon.png", "gzip")
    assert "Content-Encoding" not in answer.headers


async def test_calls_are_left_to_a_proxy_to_compress(api: Api) -> None:
    for path in ("/livez", "/devices"):
        assert "Content-Encoding" not in (await raw(api, path, "gzip")).headers


@pytest.mark.parametrize(
    ("accepted", "is_accepted"),
    [
        ("gzip", True),
        ("GZIP;q=1.0", True),
        ("deflate, gzip;q=0.001", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("x-gzip-like, br", False),
    ],
)
def test_gzip_is_accepted_where_the_header_says_so(accepted: str, *, is_accepted: bool) -> None:
    assert accepts_gzip(accepted) is is_accepted


async def test_files_that_change_while_it_runs_change_nothing_that_is_served(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: Path) -> bytes:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_bytes", gone)
    for path in (*PAGES, *FILES):
        assert (await api.get(path)).status == 200


def test_a_server_has_made_its_document_before_anybody_asks_for_it() -> None:
    code = """
import asyncio, sys
from aiohttp import web
from pisync.app import create_app
from pisync.config.settings import Settings

async def main():
    runner = web.AppRunner(create_app(Settings(bcrypt_cost=4)))
    await runner.setup()
    await runner.cleanup()
    print("pisync.web.openapi.document" in sys.modules)

asyncio.run(main())
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout == "True\n"
