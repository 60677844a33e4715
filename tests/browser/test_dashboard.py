"""The dashboard in a real browser, for users and for admins."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Locator, Page, Request, expect
from yarl import URL

from pisync import keys
from pisync.app import create_app
from tests.browser.conftest import visit
from tests.browser.dashboard import Dashboard, ignore_errors
from tests.conftest import SETTINGS, Api
from tests.support.fleet_lab import (
    FULL,
    HOLD,
    TIMEOUT,
    FleetLab,
    Json,
    make_lab,
)

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

BEGAN = "2026-01-01T00:00:00.000000Z"
PASSWORD = "correct horse"


@pytest.fixture
def board(page: Page) -> Dashboard:
    return Dashboard(page)


@pytest.fixture
async def lab(admin: Api) -> FleetLab:
    """Ten devices on a manual clock; their attempts succeed after 10 s."""
    return await make_lab(admin)


def failed(device_id: int, code: int = 500, message: str = "Connection Timeout") -> Json:
    """A device whose last attempt failed."""
    return {
        "device_id": device_id,
        "sync_status_code": code,
        "error_message": message,
        "last_sync_at": None,
        "last_attempt_at": BEGAN,
    }


Box = Mapping[str, float]


async def box(of: Locator) -> Box:
    """Return the place of something on the page."""
    found = await of.bounding_box()
    assert found
    return {"x": found["x"], "y": found["y"], "width": found["width"], "height": found["height"]}


def overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share more than an edge."""
    return all(
        one[start] + one[size] > other[start] + 1 and other[start] + other[size] > one[start] + 1
        for start, size in (("x", "width"), ("y", "height"))
    )


def paged(first: int, last: int) -> re.Pattern[str]:
    """Return the table's text about the ids on its page."""
    return re.compile(rf"120 devices · ids {first}\W{last}(?!\d)")


# Accounts


async def fill_in(board: Dashboard, way: str, username: str, password: str) -> None:
    await board.button(way).first.click()
    await board.page.get_by_label("User name").fill(username)
    await board.page.get_by_label("Password").fill(password)
    await board.page.locator("form").get_by_role("button", name=way).click()


async def test_a_new_user_sees_the_fleet_until_logging_out(board: Dashboard) -> None:
    await visit(board.page, "/")
    await fill_in(board, "Register", "alice", PASSWORD)
    await expect(board.rows).to_have_count(10)
    await expect(board.page.locator(".who")).to_contain_text("alice")
    await expect(board.page.get_by_role("link", name="Admin")).to_have_count(0)

    await board.page.reload()
    await expect(board.rows).to_have_count(10)
    assert await board.page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]
    assert await board.page.evaluate("document.cookie") == ""

    await board.button("Log out").click()
    await expect(board.page.get_by_label("Password")).to_be_visible()
    assert await board.page.evaluate("sessionStorage.length") == 0
    await fill_in(board, "Log in", "alice", PASSWORD)
    await expect(board.rows).to_have_count(10)


async def test_a_refused_registration_marks_the_wrong_fields(
    board: Dashboard, errors_seen: list[str]
) -> None:
    await visit(board.page, "/")
    await fill_in(board, "Register", "a b", "short")
    for field in ("User name", "Password"):
        await expect(board.page.get_by_label(field)).to_have_attribute("aria-invalid", "true")
    await expect(board.page.get_by_label("User name")).to_be_focused()
    await expect(board.page.get_by_label("Password")).to_have_accessible_description(
        "8 characters or more. Must be at least 8 characters long."
    )
    ignore_errors(errors_seen, "status of 422")
    await fill_in(board, "Register", "admin", PASSWORD)
    await expect(board.page.get_by_label("User name")).to_have_attribute("aria-invalid", "true")
    ignore_errors(errors_seen, "status of 409")


async def test_a_wrong_password_is_reported(
    board: Dashboard, api: Api, errors_seen: list[str]
) -> None:
    await api.post("/register", {"username": "alice", "password": PASSWORD})
    await visit(board.page, "/")
    await fill_in(board, "Log in", "alice", "another horse")
    await expect(board.alert).to_have_text("Invalid username or password.")
    ignore_errors(errors_seen, "status of 401")
    await board.page.get_by_label("Password").fill(PASSWORD)
    await board.page.keyboard.press("Enter")
    await expect(board.rows).to_have_count(10)


async def test_text_that_is_not_a_token_is_refused(board: Dashboard) -> None:
    await visit(board.page, "/")
    await board.button("Use a token").click()
    await board.page.get_by_label("Token").fill("e30.e30.e30")
    await board.page.locator("form").get_by_role("button", name="Log in").click()
    await expect(board.page.get_by_label("Token")).to_have_accessible_description(
        re.compile("This is not a token")
    )


async def test_an_expired_session_returns_to_the_login(
    board: Dashboard, api: Api, user: Api
) -> None:
    assert api.client.app
    token = api.client.app[keys.TOKENS].issue("alice", ["devices"], ttl=600)
    await board.page.clock.install()
    await board.open(Api(api.client, token))
    await board.page.clock.fast_forward("10:01")
    await expect(board.alert).to_have_text("Your session has expired. Log in again.")
    assert await board.page.evaluate("sessionStorage.length") == 0
    await board.open(user)
    await expect(board.rows).to_have_count(10)


# A fleet and its devices


async def test_the_outcome_of_a_sync_appears_without_a_reload(
    board: Dashboard, lab: FleetLab
) -> None:
    await lab.script(3, HOLD)
    await board.open(lab.api)
    row = board.row(3)
    await expect(row).to_contain_text("Synced")
    await row.get_by_role("button", name="Sync now device 3").click()
    await expect(row).to_contain_text("Pending")
    await expect(row.get_by_role("button", name="Syncing… device 3")).to_be_focused()
    await expect(board.figure("Pending now")).to_have_text("1")
    await expect(board.errors).to_have_count(0)

    await lab.release(3, FULL)
    await expect(row).to_contain_text("Failed 400")
    await expect(row.get_by_role("cell", name="Storage Full")).to_be_visible()
    await expect(row.get_by_role("button", name="Sync now device 3")).to_be_focused()
    await expect(board.errors).to_contain_text(["Storage FullFailed 400device 3"])
    await expect(board.notices).to_contain_text("Device 3: failed, 400 Storage Full")
    await expect(board.figure("Pending now")).to_have_text("0")
    await expect(board.figure("Failed")).to_have_text("1")


async def test_a_refused_sync_is_reported(
    board: Dashboard, lab: FleetLab, errors_seen: list[str]
) -> None:
    await lab.change(max_pending=0)
    await board.open(lab.api)
    await board.button("Sync now device 2").click()
    await expect(board.notices).to_contain_text("Device 2: ")
    await expect(board.row(2)).to_contain_text("Synced")
    ignore_errors(errors_seen, "status of 503")


async def test_all_failed_devices_and_all_devices_can_be_synced(
    board: Dashboard, admin: Api
) -> None:
    lab = await make_lab(admin, "mixed", [failed(1), {"device_id": 2}, failed(3)])
    await board.open(lab.api)
    await board.button("Sync all failed").click()
    await expect(board.notices).to_contain_text("Started 2.")
    await expect(board.row(1)).to_contain_text("Pending")
    await expect(board.row(2)).to_contain_text("Synced")
    await lab.settle()
    await expect(board.row(3)).to_contain_text("Synced")
    await expect(board.button("Sync all failed")).to_be_disabled()
    await board.button("Sync all").click()
    await expect(board.notices).to_contain_text("Started 3.")
    await expect(board.figure("Attempts")).to_have_text("5")
    plot = board.page.get_by_role("img", name="attempts a second")
    await expect(plot).to_have_accessible_name(re.compile(r"now \d\.\d; share of failures, 0 %"))


async def test_devices_are_shown_in_pages(board: Dashboard, admin: Api) -> None:
    lab = await make_lab(admin, devices=120)
    await board.open(lab.api)
    await expect(board.card("Devices")).to_contain_text(paged(1, 50))
    await board.button("Next").click()
    await expect(board.card("Devices")).to_contain_text(paged(51, 100))
    await board.button("Next").click()
    await expect(board.card("Devices")).to_contain_text(paged(101, 120))
    await expect(board.button("Next")).to_be_disabled()
    await board.button("Previous").click()
    await expect(board.card("Devices")).to_contain_text(paged(51, 100))
    await board.page.get_by_label("Go to id").fill("77")
    await board.page.keyboard.press("Enter")
    await expect(board.card("Devices")).to_contain_text(paged(77, 120))
    await board.page.go_back()
    await expect(board.card("Devices")).to_contain_text(paged(51, 100))
    await board.button("First").click()
    await expect(board.card("Devices")).to_contain_text(paged(1, 50))
    await board.page.get_by_label("Go to id").fill("0")
    await board.button("Go").click()
    await expect(board.alert).to_have_text("An id is a number from 1.")


async def test_devices_can_be_filtered_by_status(board: Dashboard, admin: Api) -> None:
    devices: list[Json] = [
        failed(1),
        {"device_id": 2},
        failed(3, 400, "Storage Full"),
        {"device_id": 4},
    ]
    lab = await make_lab(admin, devices=devices)
    await board.open(lab.api)
    for chip, ids in (("Failed 2", [1, 3]), ("400 1", [3]), ("Synced 2", [2, 4])):
        await board.button(chip).click()
        await expect(board.button(chip)).to_have_attribute("aria-pressed", "true")
        await expect(board.rows).to_have_count(len(ids))
        assert await board.ids() == ids
    await board.button("404 0").click()
    await expect(board.card("Devices")).to_contain_text("No device has this status now.")
    await board.button("Failed 2").click()
    await expect(board.rows).to_have_count(2)
    await lab.sync(1)
    await lab.settle()
    await board.button("Changed since: refresh").click()
    await expect(board.rows).to_have_count(1)


async def test_errors_can_be_filtered_by_device_and_status(board: Dashboard, lab: FleetLab) -> None:
    await lab.script(1, FULL, TIMEOUT)
    await lab.script(2, FULL)
    await board.open(lab.api)
    for device_id in (1, 2, 1):
        await lab.sync(device_id)
        await lab.settle()
    await expect(board.errors).to_contain_text(
        ["Connection Timeout", "Storage Full", "Storage Full"]
    )
    errors = board.card("Recent errors").first
    await errors.get_by_label("Device").fill("1")
    await expect(board.errors).to_contain_text(["Connection Timeout", "Storage Full"])
    await errors.get_by_label("Status").select_option("400")
    await expect(board.errors).to_contain_text(["Storage Full"])
    await lab.script(1, FULL)
    await lab.script(2, FULL)
    await lab.sync_all()
    await lab.settle()
    await expect(board.errors).to_have_count(2)


async def test_older_errors_can_be_loaded(board: Dashboard, admin: Api) -> None:
    lab = await make_lab(admin, devices=60, outcomes=[{**FULL, "weight": 1}])
    await lab.sync_all()
    await lab.settle()
    await board.open(lab.api)
    await expect(board.errors).to_have_count(50)
    await board.button("Older").click()
    await expect(board.errors).to_have_count(60)
    await expect(board.button("Older")).to_be_hidden()
    newest = await board.errors.first.inner_text()
    await lab.sync(1)
    await lab.settle()
    await expect(board.errors).to_have_count(61)
    await expect(board.errors.nth(1)).to_contain_text(newest.splitlines()[0])


async def test_the_plot_shows_what_came_before_the_page(
    board: Dashboard, lab: FleetLab, page: Page
) -> None:
    await lab.sync_all()
    await asyncio.sleep(1.1)
    await board.open(lab.api)
    await board.is_live()
    attempts = page.locator(".pulse .attempts dd")
    await expect(attempts).to_have_text("1.0")
    await page.reload()
    await expect(attempts).to_have_text("1.0")


async def test_times_are_relative_and_on_hover_exact(board: Dashboard, lab: FleetLab) -> None:
    await lab.sync(1)
    await lab.settle()
    attempt_at = (await lab.device(1))["last_attempt_at"]
    await lab.advance(3600)
    await board.open(lab.api)
    time = board.row(1).locator("time").last
    await expect(time.locator(".ago")).to_have_text("1 h ago")
    await expect(time.locator(".exact")).to_be_hidden()
    await time.hover()
    await expect(time.locator(".exact")).to_be_visible()
    await expect(time.locator(".exact")).to_have_text(
        attempt_at.replace("T", " ").replace("Z", " UTC")
    )


@pytest.mark.parametrize("width", [1280, 390])
async def test_the_exact_times_of_a_row_do_not_overlap(
    board: Dashboard, lab: FleetLab, width: int
) -> None:
    await board.page.set_viewport_size({"width": width, "height": 900})
    await board.open(lab.api)
    row = board.row(5)
    times = row.locator(".exact")
    await board.row(4).get_by_role("button").focus()
    for _ in range(2):
        await board.page.keyboard.press("Tab")
        await expect(times.first).to_be_visible()
        shown = [await box(part) for part in (board.page.locator(":focus"), *await times.all())]
        assert len(shown) == 3
        for place, part in enumerate(shown):
            assert part["x"] >= 0
            assert part["x"] + part["width"] <= width
            assert not any(overlap(part, other) for other in shown[place + 1 :])
    await board.page.keyboard.press("Escape")
    await expect(times.first).to_be_hidden()
    await board.page.keyboard.press("Shift+Tab")
    await expect(times.first).to_be_visible()


@pytest.mark.parametrize("width", [1280, 1100, 390])
async def test_figures_in_the_millions_fit(board: Dashboard, admin: Api, width: int) -> None:
    await board.page.set_viewport_size({"width": width, "height": 900})
    lab = await make_lab(admin, devices=1_000_000)
    await board.open(lab.api, "/?after=999900")
    await expect(board.figure("Devices")).to_have_text("1,000,000")
    await expect(board.card("Devices")).to_contain_text(re.compile(r"ids 999,901\W999,950"))
    await expect(board.page.locator(".bar i")).to_have_count(1)
    wider = ".filter((part) => part.scrollWidth > part.clientWidth).length"
    assert await board.page.evaluate(f"[...document.querySelectorAll('.glance dd')]{wider}") == 0
    await board.button("Next").click()
    await expect(board.card("Devices")).to_contain_text(re.compile(r"ids 999,951\W1,000,000"))
    await expect(board.button("Next")).to_be_disabled()
    await expect(board.page.get_by_role("heading", name="Devices", exact=True)).to_be_in_viewport()


async def test_a_device_has_a_page_with_its_history(board: Dashboard, lab: FleetLab) -> None:
    await lab.script(4, FULL, TIMEOUT)
    await board.open(lab.api)
    await board.page.get_by_role("link", name="4", exact=True).click()
    await expect(board.page.get_by_role("heading", name="Device 4")).to_be_visible()
    for code, attempt in ((400, 1), (500, 2)):
        await board.button("Sync now").click()
        await expect(board.button("Syncing…")).to_be_disabled()
        await lab.settle()
        await expect(board.errors.first).to_contain_text(f"Failed {code}attempt {attempt}")
        await expect(board.card("State")).to_contain_text(f"Failed {code}")


async def test_a_missing_fleet_or_device_is_reported_once(
    board: Dashboard, admin: Api, errors_seen: list[str]
) -> None:
    await board.open(admin)
    await board.go("/device/99")
    await expect(board.alert).to_contain_text(["no such device"])
    await board.go("/", fleet="nowhere")
    await expect(board.alert).to_contain_text(["no such fleet"])
    await board.page.get_by_role("link", name="To the default fleet").click()
    await expect(board.rows).to_have_count(10)
    ignore_errors(errors_seen, "status of 404")


async def test_a_missing_scope_is_reported_once(
    board: Dashboard, api: Api, errors_seen: list[str]
) -> None:
    await visit(board.page, "/")
    await board.use_token(api.as_("admin"))
    await expect(board.alert).to_have_count(1)
    await expect(board.alert).to_have_text("The token lacks the scope devices.")
    await board.page.get_by_role("link", name="Admin").click()
    await expect(board.card("Clock")).to_be_visible()
    ignore_errors(errors_seen, "status of 403")


async def test_an_unknown_address_shows_the_devices(board: Dashboard, user: Api) -> None:
    await board.open(user, "/admin")
    link = board.page.get_by_role("link", name="Devices")
    await expect(link).to_have_attribute("aria-current", "page")
    await expect(board.page).to_have_title("Devices · PiSync")


async def test_an_invalid_fleet_name_in_the_address_reaches_no_call(
    board: Dashboard, admin: Api
) -> None:
    paths: list[str] = []
    board.page.on("request", lambda request: paths.append(URL(request.url).path))
    await board.open(admin)
    await board.go("/admin", fleet="default%2Fdevices%2F7%2Fscript%23")
    await expect(board.alert).to_contain_text("The address names a fleet that cannot exist.")
    await expect(board.page.get_by_role("button", name="Delete fleet")).to_have_count(0)
    assert await board.accessibility_violations() == []
    assert [path for path in paths if path.endswith("/devices/7/script")] == []
    await board.page.get_by_role("link", name="To the default fleet").click()
    await board.is_live()


async def test_the_page_can_be_paused(board: Dashboard, lab: FleetLab) -> None:
    await board.open(lab.api)
    await board.button("Pause").click()
    await lab.sync(1)
    await expect(board.page.locator(".connection")).to_contain_text("Paused")
    await expect(board.row(1)).to_contain_text("Synced")
    await board.button("Resume").click()
    await expect(board.row(1)).to_contain_text("Pending")


# Admins


async def test_a_fleet_is_made_chosen_and_deleted(
    board: Dashboard, admin: Api, errors_seen: list[str]
) -> None:
    await board.open(admin, "/admin")
    fleets = board.card("Fleets")
    await fleets.get_by_label("Name").fill("suite-1")
    await fleets.get_by_label("Devices").fill("25")
    await fleets.get_by_label("Seed").fill("42")
    await board.button("Make the fleet").click()
    await expect(board.page.get_by_role("heading", name="Fleet suite-1")).to_be_visible()
    await expect(board.card("Profile").get_by_label("Seed")).to_have_value("42")
    await board.page.get_by_role("link", name="Devices", exact=True).click()
    await expect(board.rows).to_have_count(25)
    await board.page.get_by_label("Fleet", exact=True).select_option("default")
    await expect(board.rows).to_have_count(10)

    await board.go("/admin", fleet="suite-1")
    await board.button("Delete fleet suite-1").click()
    await board.confirm("Delete")
    await expect(board.page.get_by_role("heading", name="Fleet default")).to_be_visible()
    assert (await admin.get("/admin/fleets/suite-1")).status == 404
    ignore_errors(
        errors_seen, "status of 404"
    )  # requests that were under way when the fleet was deleted


async def test_a_reset_asks_for_confirmation(board: Dashboard, lab: FleetLab) -> None:
    await lab.script(1, FULL)
    await lab.sync_all()
    await lab.settle()
    await board.open(lab.api, "/admin")
    await expect(board.card("Ledger")).to_contain_text("10 accepted = 10 finished + 0 pending")
    await board.button("Reset the fleet").click()
    await expect(board.page.get_by_role("dialog")).to_be_visible()
    await board.page.keyboard.press("Escape")
    await expect(board.page.get_by_role("dialog")).to_be_hidden()
    assert (await lab.stats())["attempts"] == 10

    await board.button("Reset the fleet").click()
    await board.confirm("Reset")
    await expect(board.card("Ledger")).to_contain_text("0 accepted = 0 finished + 0 pending")
    await expect(board.card("Ledger")).to_contain_text("It balances.")
    assert (await lab.stats())["attempts"] == 0
    await board.page.get_by_role("link", name="Devices", exact=True).click()
    await expect(board.row(1)).to_contain_text("Synced")
    await expect(board.errors).to_have_count(0)


async def test_a_clock_is_held_advanced_and_sped_up(
    board: Dashboard, admin: Api, errors_seen: list[str]
) -> None:
    lab = await make_lab(admin, mode="real")
    await board.open(lab.api, "/admin")
    clock = board.card("Clock")
    await expect(board.button("Advance")).to_be_disabled()
    await board.button("Hold").click()
    await expect(clock).to_contain_text("held")
    await lab.sync_all()
    before = await lab.now()
    await clock.get_by_label("Seconds").fill("10")
    await board.button("Advance").click()
    await expect(clock).to_contain_text("10 finished.")
    assert await lab.now() > before
    await clock.get_by_label("Speed").fill("0")
    await board.button("Run at this speed").click()
    await expect(clock.get_by_label("Speed")).to_have_attribute("aria-invalid", "true")
    ignore_errors(errors_seen, "status of 422")
    await clock.get_by_role("button", name="3,600").click()
    await board.button("Run at this speed").click()
    await expect(clock).to_contain_text("running at 3,600")
    await lab.sync(1)
    await lab.finished()


async def test_a_clock_is_moved_by_reads(board: Dashboard, admin: Api) -> None:
    lab = await make_lab(admin, mode="real")
    await make_lab(admin, "desk", mode="auto")
    await board.open(lab.api, "/admin")
    await expect(board.page.get_by_role("row", name="desk")).to_contain_text("auto")
    clock = board.card("Clock")
    await board.button("Move by reads").click()
    await expect(clock).to_contain_text("auto: moved by reads")
    await expect(board.button("Advance")).to_be_enabled()
    await lab.sync_all()
    await lab.finished()
    await board.button("Hold").click()
    await expect(clock).to_contain_text("held")


async def test_a_profile_is_edited(board: Dashboard, lab: FleetLab) -> None:
    await board.open(lab.api, "/admin")
    profile = board.card("Profile")
    save = board.button("Save the profile")
    await expect(save).to_be_disabled()
    await board.button("Add an outcome").click()
    slider = profile.get_by_role("slider", name="Weight of 500 Connection Timeout")
    await slider.focus()
    await board.page.keyboard.press("End")
    await expect(slider).to_have_attribute("aria-valuetext", "100, 99.0 %")
    await profile.get_by_label("Distribution").select_option("uniform")
    await expect(profile).to_contain_text("Half within 3 s, 95 % within 4.8 s")
    shortest = profile.get_by_label("Shortest, s")
    await shortest.press("Control+a")
    await shortest.press_sequentially("0.05")
    await profile.get_by_label("Longest, s").fill("2")
    await profile.get_by_label("Seed").fill("11")
    await save.click()
    await expect(profile).to_contain_text("Saved.")
    now = (await lab.api.get(lab.path)).json["profile"]
    assert now["seed"] == 11
    assert now["delay"] == {"distribution": "uniform", "min": 0.05, "max": 2}
    assert [outcome["weight"] for outcome in now["outcomes"]] == [1, 100]


async def test_an_error_in_a_profile_is_shown_at_its_field(
    board: Dashboard, lab: FleetLab, errors_seen: list[str]
) -> None:
    await board.open(lab.api, "/admin")
    profile = board.card("Profile")
    await profile.get_by_label("Seconds").fill("90000")
    await profile.get_by_label("Seed").fill("x")
    await board.button("Save the profile").click()
    for field in ("Seconds", "Seed"):
        await expect(profile.get_by_label(field)).to_have_attribute("aria-invalid", "true")
    ignore_errors(errors_seen, "status of 422")
    await board.button("Undo all changes").click()
    await expect(profile.get_by_label("Seed")).to_have_value("7")


async def test_a_forecast_comes_true(board: Dashboard, lab: FleetLab) -> None:
    await lab.change(outcomes=[{"sync_status_code": 200, "weight": 1}, {**FULL, "weight": 1}])
    await board.open(lab.api, "/device/5")
    forecast = board.card("Forecast")
    await forecast.get_by_label("Attempts").fill("3")
    await forecast.get_by_role("button", name="Forecast").click()
    codes = [attempt["sync_status_code"] for attempt in await lab.forecast(5, 3)]
    await expect(forecast.locator("tbody tr")).to_contain_text(
        ["Synced" if code == 200 else "Failed 400" for code in codes]
    )


async def test_a_device_follows_a_script_and_is_released(board: Dashboard, lab: FleetLab) -> None:
    await board.open(lab.api, "/device/5")
    script = board.card("Script")
    await script.get_by_label("Steps, as JSON").fill("[")
    await expect(board.button("Write the script")).to_be_disabled()
    await script.get_by_role("button", name="Hold").click()
    await board.button("Write the script").click()
    await expect(script).to_contain_text("Written.")
    await board.button("Sync now").click()
    await script.get_by_label("With the outcome").select_option("404")
    await board.button("Release").click()
    await expect(board.card("State")).to_contain_text("Failed 404")
    await expect(board.errors).to_contain_text(["Server Not Reachable"])


async def test_a_call_can_be_copied_and_made_in_a_shell(board: Dashboard, lab: FleetLab) -> None:
    await board.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await board.open(lab.api, "/device/6")
    await board.page.get_by_text("Sync as curl").click()
    await board.card("State").get_by_role("button", name="Copy").click()
    await expect(board.card("State").get_by_role("button", name="Copied")).to_be_visible()
    command = await board.page.evaluate("navigator.clipboard.readText()")
    assert lab.api.token
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", command, env={"TOKEN": lab.api.token}, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await asyncio.wait_for(shell.communicate(), 20)
    assert b'"sync_status_code":202' in answer
    await expect(board.card("State")).to_contain_text("Pending")


# A server that is away


Restart = Callable[[web.Application], Awaitable[None]]


@asynccontextmanager
async def server_away(api: Api) -> AsyncIterator[Restart]:
    """Stop the server; the yielded function starts another one at the same address."""
    port = api.client.server.port
    others: list[TestServer] = []
    await api.client.server.close()

    async def restart(app: web.Application) -> None:
        others.append(TestServer(app, port=port))
        await others[0].start_server()

    yield restart
    for other in others:
        await other.close()


async def test_the_page_recovers_when_the_server_returns(
    board: Dashboard, api: Api, user: Api, errors_seen: list[str]
) -> None:
    streams: list[Request] = []

    def keep_stream(request: Request) -> None:
        if request.url.endswith("/events"):
            streams.append(request)

    board.page.on("request", keep_stream)
    await board.open(user)
    await user.post("/devices/3/sync")
    await expect(board.figure("Attempts")).to_have_text("1")
    banner = board.page.locator(".banner")
    async with server_away(api) as restart:
        await expect(banner).to_contain_text("The server can't be reached.")
        await board.button("Sync now device 2").click()
        await expect(board.notices).to_contain_text("Device 2: The server can't be reached.")
        await expect(board.rows).to_have_count(10)
        await restart(create_app(SETTINGS))
        await board.is_live()
        assert streams[0].headers["authorization"] == f"Bearer {user.token}"
        assert "last-event-id" not in streams[0].headers
        assert streams[-1].headers["last-event-id"]
        await expect(banner).to_be_hidden()
        await board.button("Sync now device 1").click()
        await expect(board.notices).to_contain_text("Device 1")
        await expect(board.figure("Attempts")).to_have_text("1")
    ignore_errors(errors_seen, "net::ERR")


async def test_a_token_that_is_no_longer_valid_returns_to_the_login(
    board: Dashboard, api: Api, user: Api, errors_seen: list[str]
) -> None:
    await board.open(user)
    async with server_away(api) as restart:
        await restart(create_app(replace(SETTINGS, jwt_secret="another secret, " * 3)))
        await expect(board.alert).to_have_text("Your session has expired. Log in again.")
    ignore_errors(errors_seen, "net::ERR", "status of 401")


# Appearance


async def expect_none(board: Dashboard) -> None:
    await expect(board.card("Devices")).to_contain_text("No device has this status now.")


async def expect_end(board: Dashboard) -> None:
    await expect(board.card("Devices")).to_contain_text("There are no devices after id 20.")


async def ask_to_reset(board: Dashboard) -> None:
    await board.button("Reset the fleet").click()
    await expect(board.page.get_by_role("dialog")).to_be_visible()


async def show_forecast_and_curl(board: Dashboard) -> None:
    await board.card("Forecast").get_by_role("button", name="Forecast").click()
    await expect(board.card("The forecast").locator("tbody tr")).to_have_count(10)
    await board.page.get_by_text("Sync as curl").click()


async def sync(board: Dashboard) -> None:
    await board.button("Sync now device 1").click()
    await expect(board.notices).to_contain_text("Device 1")


VIEWS = {
    "/": sync,
    "/?status=202": expect_none,
    "/?after=20": expect_end,
    "/device/2": show_forecast_and_curl,
    "/admin": ask_to_reset,
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_every_view_is_accessible(
    board: Dashboard, admin: Api, width: int, scheme: str
) -> None:
    await board.page.set_viewport_size({"width": width, "height": 900})
    await board.page.emulate_media(
        color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
    )
    await visit(board.page, "/")
    for way in ("Use a token", "Register", "Log in"):
        await board.button(way).first.click()
        assert await board.accessibility_violations() == []
        assert await board.small_targets() == []
    await board.open(admin)
    for path, look in VIEWS.items():
        await board.go(path)
        await look(board)
        assert (path, await board.accessibility_violations(), await board.overflow()) == (
            path,
            [],
            0,
        )
        assert (path, await board.small_targets()) == (path, [])


SHIFTS = """
new Promise((resolve) => {
  let total = 0;
  new PerformanceObserver((list) => {
    for (const { value } of list.getEntries()) total += value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(total), 300);
})
"""


@pytest.mark.parametrize("width", [1280, 390])
async def test_the_layout_is_stable(board: Dashboard, lab: FleetLab, width: int) -> None:
    await board.page.set_viewport_size({"width": width, "height": 900})
    await board.open(lab.api)
    await board.page.reload()
    await expect(board.rows).to_have_count(10)
    await board.is_live()
    await lab.sync_all()
    await expect(board.figure("Pending now")).to_have_text("10")
    await lab.settle()
    await expect(board.figure("Pending now")).to_have_text("0")
    assert await board.page.evaluate(SHIFTS) < 0.05


async def test_a_sync_needs_only_a_keyboard(board: Dashboard, lab: FleetLab) -> None:
    await board.open(lab.api)
    await expect(board.rows).to_have_count(10)
    for _ in range(40):
        await board.page.keyboard.press("Tab")
        focused = board.page.locator(":focus")
        assert await focused.evaluate("of => getComputedStyle(of).outlineStyle") == "solid"
        if await focused.text_content() == "Sync now device 1":
            break
    await board.page.keyboard.press("Enter")
    await expect(board.row(1)).to_contain_text("Pending")
