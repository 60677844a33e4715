"""The dashboard at a fleet's base URL, and for a token that is bound to a fleet."""

import re

import pytest
from playwright.async_api import Page, Request, expect
from yarl import URL

from tests.browser.conftest import visit
from tests.browser.dashboard import Dashboard, ignore_errors
from tests.conftest import Api
from tests.support.fleet_lab import FULL, FleetLab, make_lab

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def board(page: Page) -> Dashboard:
    return Dashboard(page)


@pytest.fixture
async def suite(admin: Api) -> FleetLab:
    """Three devices on a manual clock; their attempts succeed after 10 s."""
    return await make_lab(admin, "suite", 3)


def paths_called(page: Page) -> list[str]:
    """Return a list to which the paths of the page's calls are added."""
    paths: list[str] = []

    def note(request: Request) -> None:
        if request.resource_type == "fetch":
            paths.append(URL(request.url).path)

    page.on("request", note)
    return paths


async def test_a_user_registers_and_syncs_there_and_follows_what_others_do(
    board: Dashboard, suite: FleetLab, user: Api
) -> None:
    page = board.page
    called = paths_called(page)
    await visit(page, "/fleets/suite/")
    await board.button("Register").first.click()
    await page.get_by_label("User name").fill("alice")
    await page.get_by_label("Password").fill("correct horse")
    await page.locator("form").get_by_role("button", name="Register").click()
    await board.is_live()
    await expect(board.rows).to_have_count(3)
    await expect(page.locator(".fleet")).to_have_text("Fleet suite")

    await board.button("Sync now device 2").click()
    await expect(board.row(2)).to_contain_text("Pending")
    await suite.settle()
    await expect(board.row(2)).to_contain_text("Synced")
    await suite.script(3, FULL)
    await suite.sync(3)
    await expect(board.row(3)).to_contain_text("Pending")

    await page.reload()
    await board.is_live()
    await expect(board.rows).to_have_count(3)
    await suite.settle()
    await expect(board.row(3)).to_contain_text("Failed 400")
    await page.get_by_role("link", name="3", exact=True).click()
    await expect(page.get_by_role("heading", name="Device 3")).to_be_visible()
    assert URL(page.url).path == "/fleets/suite/"
    assert (await suite.stats())["attempts"] == 2
    assert (await user.get("/stats")).json["attempts"] == 0
    assert [path for path in called if not path.startswith("/fleets/suite/")] == []
    assert "/fleets/suite/events" in called


async def test_an_admin_controls_that_fleet_and_goes_to_another_by_its_base_url(
    board: Dashboard, suite: FleetLab
) -> None:
    page = board.page
    await visit(page, "/fleets/suite/")
    await board.use_token(suite.api)
    await page.get_by_role("link", name="Admin").click()
    await expect(page.get_by_role("heading", name="Fleet suite")).to_be_visible()
    home = URL(page.url).origin()
    await expect(board.card("Ledger")).to_contain_text(f"'{home}/admin/fleets/suite/ledger'")
    await page.get_by_label("Fleet", exact=True).select_option("default")
    await expect(page.get_by_role("heading", name="Fleet default")).to_be_visible()
    assert URL(page.url).path == "/fleets/default/"
    await page.get_by_role("link", name="Devices", exact=True).click()
    await expect(board.rows).to_have_count(10)


async def test_the_address_can_name_no_other_fleet_behind_its_hash(
    board: Dashboard, suite: FleetLab
) -> None:
    await visit(board.page, "/fleets/suite/#/?fleet=default")
    await board.use_token(suite.api.as_("devices"))
    await expect(board.rows).to_have_count(3)


async def test_it_works_behind_a_proxy_that_strips_a_path(
    board: Dashboard, suite: FleetLab, proxied: URL, errors_seen: list[str]
) -> None:
    await visit(board.page, f"{proxied}fleets/suite/")
    await board.use_token(suite.api)
    await board.is_live()
    await board.button("Sync now device 1").click()
    await expect(board.row(1)).to_contain_text("Pending")
    await board.page.get_by_role("link", name="API").click()
    await expect(board.page.get_by_role("heading", name=re.compile("PiSync"))).to_be_visible()
    ignore_errors(errors_seen, "requests http://127.0.0.1")  # the proxy has another port


async def test_a_bound_token_sees_and_controls_its_own_fleet(
    board: Dashboard, suite: FleetLab, errors_seen: list[str]
) -> None:
    bound = suite.api.as_("devices", "admin", fleet="suite")
    page = board.page
    await visit(page, "/")
    await board.use_token(bound)
    await board.is_live()
    await expect(board.rows).to_have_count(3)
    await page.get_by_role("link", name="Admin").click()
    await expect(page.get_by_role("heading", name="Fleet suite")).to_be_visible()
    await expect(board.card("Fleets").get_by_role("link")).to_have_text(["suite"])
    assert errors_seen == []
    await board.go("/", fleet="default")
    await expect(board.alert.first).to_have_text("The token is for the fleet suite alone.")
    ignore_errors(errors_seen, "status of 403")
