"""The dashboard's forms for runs and phases, for rules for faults, and its view of the journal."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.dashboard import Dashboard, ignore_errors
from tests.conftest import Api
from tests.support.fleet_lab import SUCCESS, FleetLab, make_lab

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

BUSY = {"kind": "status", "status": 429, "retry_after": 1}
LOST = {"calls": ["sync"], "first": 1, "fault": {"kind": "reset"}, "when": "after"}


@pytest.fixture
def board(page: Page) -> Dashboard:
    return Dashboard(page)


@pytest.fixture
async def lab(admin: Api) -> FleetLab:
    """Ten devices on a manual clock; their attempts succeed after 10 s."""
    return await make_lab(admin)


async def test_rules_for_faults_are_set_and_show_what_they_have_done(
    board: Dashboard, lab: FleetLab
) -> None:
    await board.open(lab.api, "/admin")
    faults = board.card("Faults")
    await expect(faults).to_contain_text("No rules, no faults.")
    await faults.get_by_role("button", name="429 twice").click()
    await board.button("Set the rules").click()
    await expect(faults.locator("tbody tr")).to_contain_text(["the first 2"])
    (rule,) = (await lab.api.get(f"{lab.path}/faults")).json
    assert (rule["fault"], rule["first"]) == (BUSY, 2)

    assert [(await lab.sync(1)).status for _ in range(3)] == [429, 429, 202]
    # Nobody touches the page: it reads again by itself, and keeps what is being written.
    await faults.get_by_label("Rules, as JSON").fill("[{}]")
    await expect(faults.locator("tbody .figure")).to_have_text("2")
    await expect(faults).to_contain_text("Since the last reset: 2 status before its effect.")
    await expect(faults.get_by_label("Rules, as JSON")).to_have_value("[{}]")
    await board.button("End all faults").click()
    await expect(faults).to_contain_text("No rules, no faults.")
    assert (await lab.api.get(f"{lab.path}/faults")).json == []


async def test_a_mistake_in_a_rule_is_shown_with_its_place(
    board: Dashboard, lab: FleetLab, errors_seen: list[str]
) -> None:
    await board.open(lab.api, "/admin")
    faults = board.card("Faults")
    rules = faults.get_by_label("Rules, as JSON")
    await rules.fill("[")
    await expect(board.button("Set the rules")).to_be_disabled()
    await rules.fill('[{"calls": ["sync"], "share": 2, "fault": {"kind": "reset"}}]')
    await board.button("Set the rules").click()
    await expect(rules).to_have_attribute("aria-invalid", "true")
    await expect(faults).to_contain_text("0.share: Must be")
    ignore_errors(errors_seen, "status of 422")
    await rules.fill('[{"calls": ["sync"], "share": 0.5, "fault": {"kind": "reset"}}]')
    await board.button("Set the rules").click()
    await expect(faults.locator("tbody tr")).to_contain_text(["50 %"])
    await expect(rules).not_to_have_attribute("aria-invalid", "true")


async def test_the_journal_shows_the_newest_requests_through_a_filter(
    board: Dashboard, lab: FleetLab, user: Api, errors_seen: list[str]
) -> None:
    await lab.api.put(f"{lab.path}/faults", [{"calls": ["device"], "fault": BUSY, "first": 1}])
    client = user.on("lab")
    await client.post("/devices/7/sync")
    await client.get("/devices/7")
    await client.get("/devices/99")
    await board.open(lab.api, "/admin")
    journal = board.card("Journal")
    rows = journal.locator("tbody tr")
    await journal.get_by_label("User").fill("tester")
    await expect(rows).to_contain_text(["404", "429", "202"])
    await expect(rows.nth(1)).to_contain_text("status")  # the kind of its fault
    cells = await rows.nth(2).locator("td").all_inner_texts()
    assert [cells[place] for place in (1, 2, 3, 4, 5, 6)] == ["sync", "7", "tester", "202", "", "1"]
    await journal.get_by_label("Call", exact=True).select_option("device")
    await expect(rows).to_have_count(2)
    await journal.get_by_label("Fault").select_option("status")
    await expect(rows).to_contain_text(["429"])
    await journal.get_by_label("Fault").select_option("")
    await client.get("/devices/3")
    await expect(rows).to_have_count(3)  # by itself
    await journal.get_by_label("Status").fill("20")
    await expect(journal.get_by_label("Status")).to_have_attribute("aria-invalid", "true")
    await journal.get_by_label("Status").fill("404")
    await expect(rows).to_contain_text(["404"])
    await rows.get_by_role("link", name="99").click()
    await expect(board.page).to_have_title("Device 99 · PiSync")
    ignore_errors(errors_seen, "status of 422", "status of 404")


async def test_a_journal_goes_back_as_far_as_one_asks_is_resized_and_emptied(
    board: Dashboard, lab: FleetLab, user: Api
) -> None:
    for _ in range(60):
        await user.on("lab").get("/devices/7")
    await board.open(lab.api, "/admin")
    journal = board.card("Journal")
    await journal.get_by_label("Call", exact=True).select_option("device")
    rows = journal.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await board.button("Older").click()
    await expect(rows).to_have_count(60)
    await expect(board.button("Older")).to_have_count(0)
    await journal.get_by_label("Requests to keep").fill("40")
    await board.button("Keep so many").click()
    await expect(journal).to_contain_text("The fleet keeps 40.")
    assert (await lab.api.get(lab.path)).json["journal"] == 40
    await board.button("Empty the journal").click()
    await expect(journal).to_contain_text("No such requests.")


async def test_runs_and_phases_are_edited(
    board: Dashboard, lab: FleetLab, errors_seen: list[str]
) -> None:
    await board.open(lab.api, "/admin")
    profile = board.card("Profile")
    save = board.button("Save the profile")
    await profile.get_by_label("Attempts in a run, on average").fill("8")
    await profile.get_by_role("button", name="An outage of a minute").click()
    await expect(profile).to_contain_text("From 60 s until 2 min: other outcomes.")
    await profile.get_by_label("Phases repeat after, s").fill("100")
    await save.click()
    phases = profile.get_by_label("Phases, as JSON")
    await expect(phases).to_have_attribute("aria-invalid", "true")
    await expect(profile).to_contain_text("0.until: Must not be after repeat_every.")
    ignore_errors(errors_seen, "status of 422")
    await profile.get_by_label("Phases repeat after, s").fill("600")
    await save.click()
    await expect(profile).to_contain_text("Saved.")
    now = (await lab.api.get(lab.path)).json["profile"]
    assert (now["spells"], now["repeat_every"]) == ({"mean_length": 8}, 600)
    assert [(phase["from"], phase["until"]) for phase in now["phases"]] == [(60, 120)]

    await phases.fill("[{")
    await expect(save).to_be_disabled()
    await board.button("Undo all changes").click()
    await expect(profile).to_contain_text("From 60 s until 2 min: other outcomes.")
    await profile.get_by_role("button", name="None", exact=True).click()
    await profile.get_by_label("Phases repeat after, s").fill("")
    await profile.get_by_label("Attempts in a run, on average").fill("1")
    await save.click()
    await expect(save).to_be_disabled()
    assert not {"spells", "phases", "repeat_every"} & {
        *(await lab.api.get(lab.path)).json["profile"]
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_all_of_it_is_accessible(
    board: Dashboard, lab: FleetLab, width: int, scheme: str
) -> None:
    page = board.page
    await page.set_viewport_size({"width": width, "height": 900})
    await page.emulate_media(
        color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce"
    )
    phase = {"from": 60, "until": 120, "outcomes": [{**SUCCESS, "weight": 1}]}
    await lab.change(phases=[phase], spells={"mean_length": 4})
    busy = {"calls": ["device"], "fault": BUSY, "device_ids": [1, 2, 3, 4, 5, 6]}
    await lab.api.put(f"{lab.path}/faults", [LOST, busy])
    for device_id in (1, 99):
        await lab.api.get(f"/devices/{device_id}")
    await board.open(lab.api, "/admin")
    await expect(board.card("Journal")).to_contain_text("429")
    await expect(board.card("Faults").locator("tbody tr")).to_have_count(2)
    assert await board.accessibility_violations() == []
    assert await board.small_targets() == []
    assert await board.overflow() == 0
