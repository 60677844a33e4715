"""The dashboard as its user sees it: where things are, and actions that many tests share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import visit
from tests.conftest import Api

# A preload would make style elements, which the page's policy forbids.
AXE_RUN = "axe.run({ preload: false, rules: { 'target-size': { enabled: true } } })"
SMALL_TARGETS = """[...document.querySelectorAll("a, button, input, select, summary, textarea")]
  .filter((part) => part.checkVisibility() && !part.closest("p.small-print"))
  .map((part) => [part, part.getBoundingClientRect()])
  .filter(([_, { width, height }]) => width < 24 || height < 24)
  .map(([part, { width, height }]) => `${part.outerHTML.slice(0, 60)}: ${width} by ${height}`)"""
AXE = (Path(__file__).parent / "vendor/axe-core/axe.min.js").read_text()


@dataclass(frozen=True)
class Dashboard:
    """A page that shows the dashboard."""

    page: Page

    async def open(self, api: Api, path: str = "/") -> None:
        """Log in with somebody's token, and go to a page of their fleet."""
        await visit(self.page, "/")
        await self.use_token(api)
        await self.go(path, fleet=api.fleet)
        await self.is_live()

    async def use_token(self, api: Api) -> None:
        """Log in with somebody's token."""
        assert api.token
        await self.enter_token(api.token)

    async def enter_token(self, token: str) -> None:
        """Log in with a token."""
        await self.button("Use a token").click()
        await self.page.get_by_label("Token").fill(token)
        await self.page.locator("form").get_by_role("button", name="Log in").click()
        await expect(self.button("Log out")).to_be_visible()

    async def go(self, path: str, *, fleet: str | None = None) -> None:
        """Go to a page by its address, as a link from elsewhere would."""
        query = f"{'&' if '?' in path else '?'}fleet={fleet}" if fleet else ""
        await self.page.evaluate("to => { location.hash = to; }", path + query)

    async def is_live(self) -> None:
        await expect(self.page.locator(".connection")).to_contain_text("Live")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def card(self, name: str) -> Locator:
        """Return a part of the page by its heading."""
        return self.page.get_by_role("region", name=name, exact=True)

    @property
    def rows(self) -> Locator:
        """The table's devices."""
        return self.page.locator(".devices tbody tr")

    def row(self, device_id: int) -> Locator:
        header = self.page.get_by_role("rowheader", name=str(device_id), exact=True)
        return self.rows.filter(has=header)

    def figure(self, name: str) -> Locator:
        """Return a figure of the summary."""
        named = self.page.get_by_text(name, exact=True)
        return self.page.locator(".figures div").filter(has=named).locator("dd")

    @property
    def alert(self) -> Locator:
        """The error message on the page."""
        return self.page.get_by_role("alert").filter(has_text=re.compile(r"\S"))

    @property
    def notices(self) -> Locator:
        return self.page.locator(".notices")

    @property
    def errors(self) -> Locator:
        """The error logs that are shown."""
        return self.page.locator(".log li")

    async def ids(self) -> list[int]:
        """Return the ids of the devices that the table shows."""
        return [int(text) for text in await self.rows.locator("th").all_inner_texts()]

    async def confirm(self, answer: str) -> None:
        """Answer the dialog."""
        await self.page.get_by_role("dialog").get_by_role("button", name=answer).click()

    async def accessibility_violations(self) -> list[str]:
        """Return the rules of axe that the page violates now."""
        await expect(self.page.locator(".reading")).to_have_count(0)
        await self.page.evaluate(AXE)
        results = await self.page.evaluate(AXE_RUN)
        return [_violation(result) for result in results["violations"]]

    async def small_targets(self) -> list[str]:
        """Return the targets smaller than 24 pixels, whatever the space around them."""
        return list(await self.page.evaluate(SMALL_TARGETS))

    async def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        width = "document.documentElement.scrollWidth - innerWidth"
        return max(0, int(await self.page.evaluate(width)))


def _violation(found: Mapping[str, Any]) -> str:
    places = ", ".join(str(node["target"][0]) for node in found["nodes"][:3])
    return f"{found['id']}: {found['help']} ({places})"


def ignore_errors(errors_seen: list[str], *texts: str) -> None:
    """Remove the errors with one of these texts, which the test has provoked."""
    errors_seen[:] = [error for error in errors_seen if not any(text in error for text in texts)]
