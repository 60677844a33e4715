"""A web page whose name is made to point to this machine (DNS rebinding), in a real browser."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from tests.browser.conftest import ARGUMENTS, PATIENCE, chromium
from tests.conftest import Api, MakeApi

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.one_way]

STRANGER = "rebound.example"
ATTACK = """async () => {
  const account = { username: "mallory", password: "correct horse" };
  const answers = [];
  for (const [method, path, body] of [
    ["POST", "/register", account],
    ["POST", "/login", account],
    ["GET", "/metrics"],
    ["GET", "/devices"],
    ["GET", "/"],
  ]) {
    const headers = body ? { "Content-Type": "application/json" } : {};
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    answers.push([answer.status, await answer.text()]);
  }
  return answers;
}"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page of a browser for which the stranger's name, like localhost, is this machine."""
    rules = f"--host-resolver-rules=MAP {STRANGER} 127.0.0.1"
    # What newer browsers do against pages that call this machine: others have nothing of it.
    unchecked = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=[*ARGUMENTS, rules, unchecked]
        )
        context = await browser.new_context()
        context.set_default_timeout(PATIENCE)
        yield await context.new_page()
        await browser.close()


async def attack(page: Page, origin: str) -> list[tuple[int, str]]:
    """Run the attack on a page of an origin, which was served before its name pointed here."""
    await page.route(
        f"{origin}/page", lambda route: route.fulfill(content_type="text/html", body="<p>Hello.")
    )
    await page.goto(f"{origin}/page")
    answers: list[Any] = await page.evaluate(ATTACK)
    return [(status, text) for status, text in answers]


async def test_a_page_whose_name_points_here_gets_421_for_everything(api: Api, page: Page) -> None:
    port = api.client.port
    answers = await attack(page, f"http://{STRANGER}:{port}")
    assert [status for status, _ in answers] == [421] * 5
    assert all("PISYNC_ALLOWED_HOSTS" in text for _, text in answers)
    answer = await api.post("/login", {"username": "mallory", "password": "correct horse"})
    answer.assert_problem(401)
    # The same page at a name of this machine is served.
    answers = await attack(page, f"http://localhost:{port}")
    assert [status for status, _ in answers] == [201, 200, 200, 401, 200]


async def test_a_name_that_is_allowed_is_served(make_api: MakeApi, page: Page) -> None:
    api = await make_api(allowed_hosts=(STRANGER,))
    answers = await attack(page, f"http://{STRANGER}:{api.client.port}")
    assert [status for status, _ in answers] == [201, 200, 200, 401, 200]
