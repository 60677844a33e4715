"""The documentation's page in a real browser."""

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import visit, watch
from tests.conftest import Api
from tests.support.documented import DOCUMENT

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CALLS = [said for methods in DOCUMENT["paths"].values() for said in methods.values()]


async def opened(page: Page, operation: str) -> Locator:
    """Unfold a call, as one who wants to try it does."""
    call = page.locator(f"[id$='-{operation}'].opblock")
    await call.locator(".opblock-summary-control").click()
    await expect(call.locator("button.execute")).to_be_visible()
    return call


async def executed(call: Locator) -> str:
    """Execute an unfolded call; return the status that the page shows then."""
    await call.locator("button.execute").click()
    status = call.locator(".live-responses-table tbody .response-col_status").first
    return (await status.inner_text()).split()[0]


async def test_it_shows_every_call(page: Page) -> None:
    await visit(page, "/docs")
    await expect(page.locator(".opblock")).to_have_count(len(CALLS))
    await expect(page.locator(".info .title")).to_contain_text("PiSync")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark_follow_the_system(page: Page, scheme: str) -> None:
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await visit(page, "/docs")
    await expect(page.locator(".opblock").first).to_be_visible()
    shown = "getComputedStyle(document.documentElement).colorScheme"
    assert (await page.evaluate(shown) == "dark") == (scheme == "dark")


async def test_it_shows_how_a_call_can_be_answered(page: Page) -> None:
    await visit(page, "/docs")
    call = await opened(page, "put_fleet")
    answers = DOCUMENT["paths"]["/admin/fleets/{fleet}"]["put"]["responses"]
    await expect(call.locator("tr.response")).to_have_count(len(answers))


async def test_who_registers_on_it_is_authorized_and_can_try_calls(page: Page) -> None:
    await visit(page, "/docs")
    assert await executed(await opened(page, "register")) == "201"
    sync = await opened(page, "sync_device")
    assert await executed(sync) == "202"
    await expect(sync.locator(".live-responses-table")).to_contain_text("pisync-attempt: 1")
    assert await executed(await opened(page, "login")) == "200"
    assert await executed(await opened(page, "list_errors")) == "200"


async def test_who_changes_the_password_on_it_stays_authorized(page: Page) -> None:
    await visit(page, "/docs")
    assert await executed(await opened(page, "register")) == "201"
    assert await executed(await opened(page, "change_password")) == "200"
    assert await executed(await opened(page, "get_stats")) == "200"


async def test_who_brings_a_token_can_try_calls(page: Page, admin: Api) -> None:
    assert admin.token
    await visit(page, "/docs")
    await page.locator(".auth-wrapper button.authorize").click()
    await page.locator(".modal-ux input").fill(admin.token)
    await page.locator(".modal-ux button.authorize").click()
    await page.locator(".modal-ux button.btn-done").click()
    assert await executed(await opened(page, "put_fleet")) == "200"
    assert await executed(await opened(page, "get_ledger")) == "200"


async def test_a_script_from_elsewhere_is_stopped_and_seen(unwatched_page: Page, api: Api) -> None:
    complaints = watch(unwatched_page, api.client.make_url("/"))
    await visit(unwatched_page, "/docs")
    async with unwatched_page.expect_console_message():
        await unwatched_page.evaluate(
            "document.head.append("
            "Object.assign(document.createElement('script'), {src: 'http://127.0.0.1:9/x.js'}))"
        )
    assert "asks for http://127.0.0.1:9/x.js" in complaints
    assert any("violates the following Content Security Policy" in each for each in complaints)
