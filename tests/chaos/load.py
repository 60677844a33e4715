"""Load: clients that ask for syncs at a steady rate, whatever becomes of the service."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout, TCPConnector

from tests.chaos.oracle import Attempt, Journal
from tests.chaos.replica import DEVICES, token

RATE = 50
"""Syncs a second."""
PATIENCE = 10
"""Seconds until a client gives up; what came of its request then is unknown."""


class Load:
    """Asks one of `urls`, each time another, for a sync of one device or another, and journals it.

    `async with` lets it run; at the end it waits for its last answers.
    """

    def __init__(self, urls: Sequence[str], *, seed: int = 1, rate: float = RATE) -> None:
        self.journal = Journal()
        self._urls = urls
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 - it is to be the same every time

    async def __aenter__(self) -> Self:
        self._client = ClientSession(
            headers={"Authorization": f"Bearer {token()}"},
            timeout=ClientTimeout(total=PATIENCE),
            connector=TCPConnector(limit=0),
        )
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        await self._client.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        under_way: set[asyncio.Task[None]] = set()
        following = loop.time()
        try:
            while True:
                url, device_id = self._random.choice(self._urls), self._random.randint(1, DEVICES)
                asked = asyncio.create_task(self._ask(url, device_id))
                under_way.add(asked)
                asked.add_done_callback(under_way.discard)
                following = max(following + 1 / self._rate, loop.time() - 1)
                await asyncio.sleep(following - loop.time())
        finally:
            await asyncio.gather(*under_way)

    async def _ask(self, url: str, device_id: int) -> None:
        try:
            async with self._client.post(f"{url}/devices/{device_id}/sync") as answer:
                body = await answer.json()
                if answer.status == 202:
                    attempt = Attempt(device_id, int(answer.headers["Pisync-Attempt"]))
                    self.journal.accept(attempt, body["last_attempt_at"])
                else:
                    assert answer.status == 503, body
                    assert int(answer.headers["Retry-After"]) > 0
                    self.journal.refuse("503")
        except ClientConnectorError:
            self.journal.refuse("not connected")
        except (ClientError, TimeoutError) as exc:
            self.journal.lose(device_id, type(exc).__name__)
