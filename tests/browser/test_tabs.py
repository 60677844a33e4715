"""Many tabs of the dashboard in one browser, which opens six connections to a host at the most."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pisync import keys
from pisync.simulation.events import Broker
from tests.browser.tabs import Tab, Window, open_window, session_of
from tests.conftest import Api
from tests.support.fleet_lab import FULL, HOLD, FleetLab, make_lab
from tests.support.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

TABS = 10


@pytest.fixture
async def window(tmp_path: Path) -> AsyncIterator[Window]:
    async with open_window(tmp_path) as window:
        yield window


async def open_dashboard(window: Window, lab: FleetLab) -> Tab:
    """Open a tab that is logged in, and wait until it is live."""
    assert lab.api.token
    tab = await window.open(str(lab.api.client.make_url(f"/#/?fleet={lab.api.fleet}")))
    await tab.until("document.querySelector('.login') !== null")
    session = json.dumps(session_of(lab.api.token))
    await tab.evaluate(f"sessionStorage.setItem('pisync.session', {session}); location.reload()")
    await tab.until("document.querySelector('.connection.live') !== null")
    return tab


async def until_streams(api: Api, expected: int) -> None:
    """Wait until so many event streams are open."""
    app = api.client.app
    assert app

    async def are_open() -> bool:
        broker: Broker = app[keys.BROKER]
        return broker.subscribers == expected

    await eventually(are_open)


async def test_ten_tabs_are_live_and_the_hidden_ones_catch_up(window: Window, admin: Api) -> None:
    lab = await make_lab(admin)
    await lab.script(3, HOLD)
    first = await open_dashboard(window, lab)
    await first.until("document.querySelectorAll('.devices tbody tr').length === 10")
    await first.evaluate("document.querySelectorAll('.devices tbody button')[2].click()")
    await first.until("document.querySelector('.devices tbody').innerText.includes('Pending')")

    for _ in range(TABS - 1):
        await open_dashboard(window, lab)
    await until_streams(admin, 1)
    await lab.release(3, FULL)

    await first.show()
    await first.until("document.querySelector('.connection.live') !== null")
    # Only an event tells the outcome of a sync: the stream has resumed where it broke off.
    await first.until(
        "document.querySelector('.notices').innerText.includes('failed, 400 Storage Full')"
    )
