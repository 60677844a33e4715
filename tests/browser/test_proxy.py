"""The pages behind a proxy that serves PiSync under a path of its own, and strips that path."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect
from yarl import URL

from tests.browser.conftest import PATIENCE, collect_errors, visit
from tests.browser.dashboard import Dashboard
from tests.browser.test_docs import executed, opened
from tests.conftest import Api
from tests.support.proxies import development_server

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
async def page(browser: Browser, proxied: URL) -> AsyncIterator[Page]:
    """A page of the proxy's origin; in the end it must have done nothing that it should not."""
    expect.set_options(timeout=PATIENCE)
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    errors_seen = collect_errors(page, proxied)
    yield page
    await context.close()
    assert errors_seen == []


async def test_the_dashboard_works(page: Page, proxied: URL, admin: Api) -> None:
    board = Dashboard(page)
    await visit(page, str(proxied))
    await board.use_token(admin)
    await board.is_live()
    await expect(board.rows).to_have_count(10)
    await board.button("Sync now device 1").click()
    await expect(board.notices).to_contain_text("Device 1")
    await page.get_by_role("link", name="Admin").click()
    await expect(board.card("Ledger")).to_contain_text("1 accepted = 1 finished + 0 pending")
    await expect(board.card("Ledger")).to_contain_text(f"'{proxied}admin/fleets/default/ledger'")
    assert await page.locator("img").evaluate_all("all => all.every((one) => one.naturalWidth > 0)")


@pytest.mark.interop
@pytest.mark.timeout(600)  # it may have to install packages
async def test_the_dashboard_is_live_behind_a_development_server(
    api: Api, admin: Api, browser: Browser
) -> None:
    expect.set_options(timeout=PATIENCE)
    server = development_server("express", str(api.client.make_url("")))
    home = await asyncio.to_thread(server.__enter__)
    page = await browser.new_page()
    try:
        board = Dashboard(page)
        await visit(page, f"{home}/api/")
        await board.use_token(admin)
        await board.is_live()
        await board.button("Sync now device 1").click()
        await expect(board.notices).to_contain_text("Device 1")
    finally:
        await page.close()
        await asyncio.to_thread(server.__exit__, None, None, None)


async def test_the_documentation_works(page: Page, proxied: URL) -> None:
    await visit(page, str(proxied))
    await page.get_by_role("link", name="All calls").click()
    assert await executed(await opened(page, "register")) == "201"
    call = await opened(page, "sync_device")
    assert await executed(call) == "202"
    await expect(call.locator(".curl-command")).to_contain_text(f"'{proxied}devices/7/sync'")
