"""A real browser, and what it has to complain about."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
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
PATIENCE = 20_000  # milliseconds: a busy machine draws slowly


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

    Once more if the machine's network has changed meanwhile, as it does when containers come and
    go: the browser then breaks off what it is loading.
    """
    cut_off: list[Request] = []

    def see_failure(request: Request) -> None:
        if request.failure == CUT_OFF:
            cut_off.append(request)

    page.on("requestfailed", see_failure)
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
    pytest.fail("the machine's network does not come to rest")


def watch(page: Page, home: URL) -> list[str]:
    """Return a list that grows by all that the page does and should not do.

    That is: an error in the console, where a breach of the content security policy shows too; one
    that nobody caught; a request to another host than its home.
    """
    complaints: list[str] = []

    def see_console(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning") and CUT_OFF not in said.text:
            complaints.append(said.text)

    def see_request(request: Request) -> None:
        url = URL(request.url)
        if url.scheme != "data" and url.origin() != home.origin():
            complaints.append(f"asks for {url}")

    page.on("console", see_console)
    page.on("request", see_request)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


@pytest.fixture
async def unwatched_page(browser: Browser, api: Api) -> AsyncIterator[Page]:
    """A page that opens the application's paths."""
    expect.set_options(timeout=PATIENCE)
    home = str(api.client.make_url("/"))
    context = await browser.new_context(base_url=home, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    yield page
    await context.close()


@pytest.fixture
def complaints(unwatched_page: Page, api: Api) -> list[str]:
    """What the page did that it should not; what a test means to happen, it takes out."""
    return watch(unwatched_page, api.client.make_url("/"))


@pytest.fixture
async def page(unwatched_page: Page, complaints: list[str]) -> AsyncIterator[Page]:
    """The same; in the end it must have done nothing that it should not."""
    yield unwatched_page
    assert complaints == []
