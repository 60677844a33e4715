"""The documentation's page in a real browser."""

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import collect_errors, visit
from tests.conftest import Api
from tests.support.documented import DOCUMENT

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CALLS = [call for methods in DOCUMENT["paths"].values() for call in methods.values()]


async def opened(page: Page, operation: str) -> Locator:
    """Unfold a call, to try it."""
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


async def test_it_shows_the_responses_of_a_call(page: Page) -> None:
    await visit(page, "/docs")
    call = await opened(page, "put_fleet")
    answers = DOCUMENT["paths"]["/admin/fleets/{fleet}"]["put"]["responses"]
    await expect(call.locator("tr.response")).to_have_count(len(answers))


async def test_registering_on_it_authorizes(page: Page) -> None:
    await visit(page, "/docs")
    assert await executed(await opened(page, "register")) == "201"
    sync = await opened(page, "sync_device")
    assert await executed(sync) == "202"
    await expect(sync.locator(".live-responses-table")).to_contain_text("pisync-attempt: 1")
    assert await executed(await opened(page, "login")) == "200"
    assert await executed(await opened(page, "list_errors")) == "200"


async def test_a_changed_password_keeps_the_authorization(page: Page) -> None:
    await visit(page, "/docs")
    assert await executed(await opened(page, "register")) == "201"
    assert await executed(await opened(page, "change_password")) == "200"
    assert await executed(await opened(page, "get_stats")) == "200"


async def test_a_token_from_elsewhere_authorizes(page: Page, admin: Api) -> None:
    assert admin.token
    await visit(page, "/docs")
    await page.locator(".auth-wrapper button.authorize").click()
    await page.locator(".modal-ux input").fill(admin.token)
    await page.locator(".modal-ux button.authorize").click()
    await page.locator(".modal-ux button.btn-done").click()
    assert await executed(await opened(page, "put_fleet")) == "200"
    assert await executed(await opened(page, "get_ledger")) == "200"


async def test_a_script_of_another_host_is_blocked_and_reported(
    unchecked_page: Page, api: Api
) -> None:
    errors_seen = collect_errors(unchecked_page, api.client.make_url("/"))
    await visit(unchecked_page, "/docs")
    async with unchecked_page.expect_console_message():
        await unchecked_page.evaluate(
            "document.head.append("
            "Object.assign(document.createElement('script'), {src: 'http://127.0.0.1:9/x.js'}))"
        )
    assert "requests http://127.0.0.1:9/x.js" in errors_seen
    assert any("violates the following Content Security Policy" in error for error in errors_seen)
