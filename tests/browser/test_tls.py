"""The dashboard over HTTPS, with a certificate that Chromium believes."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import ClientSession, TCPConnector
from playwright.async_api import Page, async_playwright, expect
from yarl import URL

from pisync import keys
from pisync.app import create_app
from tests.browser.conftest import ARGUMENTS, PATIENCE, chromium, collect_errors, visit
from tests.browser.dashboard import Dashboard
from tests.conftest import SETTINGS
from tests.support.certificates import shared_certificate
from tests.support.raw_connection import Serving, serving

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    slow = {"seed": 7, "delay": {"distribution": "constant", "seconds": 60}}
    async with serving(create_app(replace(SETTINGS, profile=slow)), tls=True) as running:
        yield running


@pytest.fixture
def home(server: Serving) -> URL:
    return URL(f"https://localhost:{server.port}/")


@pytest.fixture
async def page(home: URL) -> AsyncIterator[Page]:
    """A page of a browser that believes the server; in the end there must be no errors."""
    expect.set_options(timeout=PATIENCE)
    believed = f"--ignore-certificate-errors-spki-list={shared_certificate().public_key_hash}"
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(
            executable_path=chromium(), args=[*ARGUMENTS, believed]
        ) as browser,
    ):
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE)
        errors_seen = collect_errors(page, home)
        yield page
        assert errors_seen == []


async def test_it_syncs_and_follows_what_others_do(page: Page, home: URL, server: Serving) -> None:
    token = server.app[keys.TOKENS].issue("tester", ("devices",))
    board = Dashboard(page)
    await visit(page, str(home))
    assert await page.evaluate("isSecureContext")
    await board.enter_token(token)
    await board.is_live()
    await expect(board.rows).to_have_count(10)
    await board.button("Sync now device 1").click()
    await expect(board.row(1)).to_contain_text("Pending")
    async with (
        ClientSession(
            home,
            headers={"Authorization": f"Bearer {token}"},
            connector=TCPConnector(ssl=shared_certificate().client_context),
        ) as client,
        client.post("/devices/2/sync") as answer,
    ):
        assert answer.status == 202
    await expect(board.row(2)).to_contain_text("Pending")
