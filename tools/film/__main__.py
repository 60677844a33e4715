"""Film the dashboard of a running server, once in light and once in dark: `make film`."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import jwt
from PIL import Image
from playwright.async_api import Page, async_playwright

IMAGES = Path(__file__).parent.parent.parent / "docs/images"
SECRET = "a secret that only the film needs, long enough"  # noqa: S105 - it ends with its server
SETTINGS = {
    "PISYNC_JWT_SECRET": SECRET,
    "PISYNC_DEVICES": "240",
    # One seed, so that both films show the same.
    "PISYNC_PROFILE": json.dumps(
        {"seed": 20, "delay": {"distribution": "uniform", "min": 0.5, "max": 4}}
    ),
}
SIZE = (1280, 720)
FRAME_SECONDS = 0.25
START_SECONDS = 30
QUALITY = 40

Scheme = Literal["light", "dark"]


@contextmanager
def running_server() -> Iterator[str]:
    """Start a server, and end it afterwards; yield its URL."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        process = subprocess.Popen(
            [sys.executable, "-m", "pisync", "serve", "--port", "0", "--ready-file", str(ready)],
            env={**os.environ, **SETTINGS},
            stdout=subprocess.DEVNULL,
        )
        try:
            end = time.monotonic() + START_SECONDS
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit("The server does not start.")
                time.sleep(0.05)
            yield json.loads(ready.read_text())["url"]
        finally:
            process.terminate()
            process.wait()


def admin_token() -> str:
    """Return a token for everything."""
    now = int(time.time())
    claims = {"iss": "pisync", "sub": "admin", "iat": now, "exp": now + 3600}
    return jwt.encode({**claims, "scopes": ["devices", "admin"]}, SECRET, "HS256")


class Camera:
    """Takes pictures of a page at a steady pace."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[Image.Image] = []

    async def film(self, seconds: float) -> None:
        """Take the pictures of so many seconds."""
        for _ in range(round(seconds / FRAME_SECONDS)):
            due = time.monotonic() + FRAME_SECONDS
            picture = await self.page.screenshot()
            self.frames.append(Image.open(io.BytesIO(picture)).convert("RGB"))
            await asyncio.sleep(due - time.monotonic())

    async def click(self, name: str) -> None:
        """Click a button; the film dwells on it before."""
        button = self.page.get_by_role("button", name=name, exact=True)
        await button.hover()
        await self.film(0.5)
        await button.click()

    def save(self, path: Path) -> None:
        """Write an animation."""
        first, *others = self.frames
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=round(FRAME_SECONDS * 1000),
            loop=0,
            quality=QUALITY,
            method=4,
        )


@asynccontextmanager
async def dashboard(url: str, scheme: Scheme) -> AsyncIterator[Page]:
    """Open the dashboard in a browser, logged in."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("The film needs Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        width, height = SIZE
        page = await browser.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        await page.goto(url)
        await page.get_by_role("button", name="Use a token").click()
        await page.get_by_label("Token").fill(admin_token())
        await page.locator("form").get_by_role("button", name="Log in").click()
        await page.locator(".connection.live").wait_for()
        yield page
        await browser.close()


async def play(camera: Camera) -> None:
    """Sync a fleet; then hold its clock, and let what is pending finish in no time."""
    link = camera.page.get_by_role("link", exact=True, name="Admin")
    await camera.film(1)
    await camera.click("Sync all")
    await camera.film(4.5)
    await link.click()
    await camera.film(0.75)
    await camera.click("Hold")
    await camera.film(0.75)
    await camera.page.get_by_role("link", name="Devices", exact=True).click()
    await camera.film(0.75)
    await camera.click("Sync all failed")
    await camera.film(1.25)
    await link.click()
    await camera.film(0.75)
    await camera.click("1 h")
    await camera.click("Advance")
    await camera.film(2.5)


async def film(scheme: Scheme) -> None:
    """Make one film of a server of its own."""
    with running_server() as url:
        async with dashboard(url, scheme) as page:
            camera = Camera(page)
            await play(camera)
    path = IMAGES / f"dashboard-{scheme}.webp"
    camera.save(path)
    print(f"{path.name}: {len(camera.frames)} frames, {path.stat().st_size // 1024} KiB")


async def main() -> None:
    """Make both films."""
    await film("light")
    await film("dark")


if __name__ == "__main__":
    asyncio.run(main())
