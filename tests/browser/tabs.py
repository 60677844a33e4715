"""Tabs of one window, of which one is visible.

Playwright keeps every page visible, so these are driven by the browser's own protocol.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from tests.browser.conftest import ARGUMENTS, chromium
from tests.support.waiting import eventually


class CommandFailed(Exception):
    """The browser refused a command; a tab does while it loads another page."""


class Window:
    """A browser's window. It sends commands of the Chrome DevTools Protocol, one at a time."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def send(self, method: str, session: str | None = None, **params: object) -> Any:
        """Send a command, to the browser or to a tab's session; return its result.

        Raises:
            CommandFailed: The browser refused it.
        """
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": params}
        await self._socket.send_json(command | ({"sessionId": session} if session else {}))
        while True:
            message = await self._socket.receive_json()
            if message.get("id") == number:
                if "error" in message:
                    raise CommandFailed(message["error"])
                return message["result"]

    async def open(self, url: str) -> "Tab":
        """Open a tab, which hides the others."""
        target = (await self.send("Target.createTarget", url=url))["targetId"]
        attached = await self.send("Target.attachToTarget", targetId=target, flatten=True)
        return Tab(self, target, attached["sessionId"])


@dataclass(frozen=True)
class Tab:
    """One of a window's tabs."""

    window: Window
    target: str
    session: str

    async def show(self) -> None:
        """Make this the tab that is visible."""
        await self.window.send("Target.activateTarget", targetId=self.target)

    async def evaluate(self, expression: str) -> Any:
        answer = await self.window.send(
            "Runtime.evaluate", self.session, expression=expression, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise CommandFailed(answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""

        async def is_true() -> bool:
            try:
                return bool(await self.evaluate(expression))
            except CommandFailed:
                return False

        await eventually(is_true)


@asynccontextmanager
async def open_window(profile: Path) -> AsyncIterator[Window]:
    """Start a browser with one window; `profile` is an empty folder for its data."""
    process = await asyncio.create_subprocess_exec(
        *(chromium(), "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
        *(*ARGUMENTS, "about:blank"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        address = profile / "DevToolsActivePort"

        async def is_listening() -> bool:
            return address.exists() and address.read_text().count("\n") == 1

        await eventually(is_listening)
        port, path = address.read_text().split("\n")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}{path}") as socket,
        ):
            yield Window(socket)
    finally:
        process.terminate()
        await process.wait()


def session_of(token: str) -> str:
    """Return what the dashboard keeps in a tab's session storage for a token."""
    session = {"token": token, "name": "somebody", "scopes": ["devices"], "expiresAt": 4e12}
    return json.dumps(session)
