"""A real browser, and the errors that it reports."""

import os
import shutil
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import hdrs, web
from aiohttp.test_utils import TestServer
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    Request,
    async_playwright,
    expect,
)
from yarl import URL

from tests.conftest import Api

# No sandbox, since root has none; no calls of the browser's own.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PREFIX = "/tools/api/"
HOP_BY_HOP = {hdrs.CONNECTION, hdrs.TRANSFER_ENCODING, hdrs.CONTENT_LENGTH, hdrs.HOST}
PATIENCE = 20_000  # milliseconds; a busy machine renders slowly


def chromium() -> str:
    """Return where Chromium is; skip the test where there is none, or fail it in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path:
        return path
    reason = "needs Chromium: apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    executable = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        await browser.close()


CUT_OFF = "net::ERR_NETWORK_CHANGED"


async def visit(page: Page, path: str) -> None:
    """Open a path.

    Try again if the machine's network has changed meanwhile, as it does when containers start and
    stop: the browser then aborts its requests.
    """
    cut_off: list[Request] = []

    def on_failure(request: Request) -> None:
        if request.failure == CUT_OFF:
            cut_off.append(request)

    page.on("requestfailed", on_failure)
    for _ in range(5):
        cut_off.clear()
        try:
            await page.goto(path)
        except Error as exc:
            if CUT_OFF not in exc.message:
                raise
        else:
            if not cut_off:
                return
    pytest.fail("the machine's network keeps changing")


def collect_errors(page: Page, home: URL) -> list[str]:
    """Return a list to which the errors of a page are added as they occur.

    They are: errors in the console, such as violations of the content security policy; uncaught
    exceptions; requests to a host other than its own.
    """
    errors_seen: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and CUT_OFF not in message.text:
            errors_seen.append(message.text)

    def on_request(request: Request) -> None:
        url = URL(request.url)
        if url.scheme != "data" and url.origin() != home.origin():
            errors_seen.append(f"requests {url}")

    page.on("console", on_console)
    page.on("request", on_request)
    page.on("pageerror", lambda error: errors_seen.append(str(error)))
    return errors_seen


@pytest.fixture
async def unchecked_page(browser: Browser, api: Api) -> AsyncIterator[Page]:
    """A page that opens the application's paths."""
    expect.set_options(timeout=PATIENCE)
    home = str(api.client.make_url("/"))
    context = await browser.new_context(base_url=home, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    yield page
    await context.close()


@pytest.fixture
def errors_seen(unchecked_page: Page, api: Api) -> list[str]:
    """The errors of the page; a test removes those that it provokes."""
    return collect_errors(unchecked_page, api.client.make_url("/"))


@pytest.fixture
async def page(unchecked_page: Page, errors_seen: list[str]) -> AsyncIterator[Page]:
    """The same; at the end of the test there must be no errors."""
    yield unchecked_page
    assert errors_seen == []


@pytest.fixture
async def proxied(api: Api) -> AsyncIterator[URL]:
    """Where a proxy serves the application; elsewhere on it there is nothing."""
    upstream = api.client.make_url("/")

    async def forward(request: web.Request) -> web.StreamResponse:
        target = upstream.join(URL(request.raw_path.removeprefix(PREFIX), encoded=True))
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        async with session.request(
            request.method, target, headers=headers, data=await request.read()
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name not in HOP_BY_HOP:
                    response.headers.add(name, value)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
        return response

    app = web.Application()
    app.router.add_route("*", f"{PREFIX}{{path:.*}}", forward)
    async with aiohttp.ClientSession(auto_decompress=False) as session, TestServer(app) as proxy:
        yield proxy.make_url(PREFIX)
