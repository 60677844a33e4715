"""How soon the dashboard answers a key while events rush in: `python -m bench.dashboard`.

A browser shows a fleet of thousands; bulk syncs make so many events a second; somebody types into
the page. Event Timing tells how long it takes from each key to the frame that shows it.
"""

import argparse
import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import NamedTuple

from playwright.async_api import Page, async_playwright

from bench.machine import CannotMeasure
from bench.servers import PISYNC, Running, running, token

DEVICES = 5_000
BATCHES = 10
"""Bulk calls a second."""
EVENTS_OF_A_SYNC = 2.3
"""Its start, its end, and for three of ten an error log."""
KEY_SECONDS = 0.1
UNSEEN = 16
"""Milliseconds below which Event Timing says nothing; it counts in steps of 8."""

OBSERVE = """() => {
  window.slow = [];
  new PerformanceObserver((list) => {
    for (const { name, duration } of list.getEntries()) if (name === "keydown") slow.push(duration);
  }).observe({ type: "event", durationThreshold: 16 });
}"""


class Measured(NamedTuple):
    """The events a second that there were, and each key's milliseconds to its frame."""

    rate: float
    keys: list[float]


@asynccontextmanager
async def dashboard(server: Running) -> AsyncIterator[Page]:
    """Open the dashboard in a browser, logged in."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise CannotMeasure("needs Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        await page.goto(server.url)
        await page.get_by_role("button", name="Use a token").click()
        await page.get_by_label("Token").fill(token("devices", "admin"))
        await page.locator("form").get_by_role("button", name="Log in").click()
        await page.locator(".connection.live").wait_for()
        yield page
        await browser.close()


async def flood(server: Running, events: float) -> None:
    """Begin syncs, so many a second that about so many events come of them, until cancelled."""
    size = round(events / EVENTS_OF_A_SYNC / BATCHES)
    started = time.monotonic()
    for batch in count():
        ids = [1 + (batch * size + place) % DEVICES for place in range(size)]
        body = json.dumps({"device_ids": ids}).encode()
        status, answer = await asyncio.to_thread(server.call, "POST", "/devices/sync", body)
        if status != 202:
            raise CannotMeasure(f"a bulk sync was answered {status}: {answer!r}")
        await asyncio.sleep(max(0, started + (batch + 1) / BATCHES - time.monotonic()))


async def published(server: Running) -> int:
    """Return how many events there have been."""
    _, body = await asyncio.to_thread(server.call, "GET", "/stats")
    stats = json.loads(body)
    return int(2 * stats["attempts"] - stats["pending"] + stats["error_logs"])


async def measure(server: Running, events: float, seconds: float) -> Measured:
    """Type during a flood of events."""
    async with dashboard(server) as page, asyncio.TaskGroup() as group:
        flooding = group.create_task(flood(server, events))
        await asyncio.sleep(5)  # until syncs finish as fast as they begin
        await page.evaluate(OBSERVE)
        await page.get_by_label("Go to id").focus()
        before, began = await published(server), time.monotonic()
        keys = round(seconds / KEY_SECONDS)
        for key in range(keys):
            await page.keyboard.press("Backspace" if key % 2 else "7")
            await asyncio.sleep(KEY_SECONDS)
        rate = (await published(server) - before) / (time.monotonic() - began)
        slow = await page.evaluate("slow")
        flooding.cancel()
    return Measured(rate, sorted([*slow, *[UNSEEN] * (keys - len(slow))]))


def main() -> None:
    """Measure as the command line says, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=float, default=1_000, help="a second (default: 1000)")
    parser.add_argument("--seconds", type=float, default=30, help="of typing (default: 30)")
    options = parser.parse_args()
    with running(PISYNC, DEVICES) as server:
        rate, keys = asyncio.run(measure(server, options.events, options.seconds))
    p50, p99 = (keys[int(len(keys) * share)] for share in (0.5, 0.99))
    print(f"{rate:.0f} events a second, {len(keys)} keys; milliseconds from a key to its frame:")
    print(f"p50 {p50:.0f}, p99 {p99:.0f}, max {keys[-1]:.0f} ({UNSEEN}: that or less)")


if __name__ == "__main__":
    main()
