"""Load: clients that ask for syncs at a steady rate, whatever becomes of the service."""

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout, TCPConnector

from tests.chaos.oracle import Attempt, Journal
from tests.chaos.replica import DEVICES, token
from tests.support.stalls import Stalls

RATE = 50
"""Syncs a second."""
PATIENCE = 10
"""Seconds until a client gives up; what came of its request then is unknown."""


class Load:
    """Asks one of `urls`, each time another, for a sync of one device or another, and journals it.

    `async with` lets it run; at the end it waits for its last answers. `sure_of_503`: one that is
    answered so has begun nothing. A database that goes away in the middle of a commit leaves its
    client in doubt.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        rate: float = RATE,
        sure_of_503: bool = True,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.journal = Journal()
        self.reasons = Counter[str]()
        """What the answers with 503 said."""
        self.slowest = 0.0
        """Seconds that an answer took at the most, less those in which this process was held up."""
        self._urls = urls
        self.rate = rate
        self._sure_of_503 = sure_of_503
        self._context = context
        self._random = random.Random(1)  # noqa: S311 - it is to be the same every time

    async def __aenter__(self) -> Self:
        self._client = ClientSession(
            headers={"Authorization": f"Bearer {token()}"},
            timeout=ClientTimeout(total=PATIENCE),
            connector=TCPConnector(limit=0, ssl=self._context or True),
        )
        self._stalls = await Stalls().__aenter__()
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        await self._stalls.__aexit__()
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
                following = max(following + 1 / self.rate, loop.time() - 1)
                await asyncio.sleep(following - loop.time())
        finally:
            await asyncio.gather(*under_way)

    async def _ask(self, url: str, device_id: int) -> None:
        loop = asyncio.get_running_loop()
        asked_at, stalled = loop.time(), self._stalls.seconds
        try:
            async with self._client.post(f"{url}/devices/{device_id}/sync") as answer:
                body = await answer.json()
                seconds = loop.time() - asked_at - (self._stalls.seconds - stalled)
                self.slowest = max(self.slowest, seconds)
                if answer.status == 202:
                    attempt = Attempt(device_id, int(answer.headers["Pisync-Attempt"]))
                    self.journal.accept(attempt, body["last_attempt_at"])
                else:
                    assert answer.status == 503, body
                    assert int(answer.headers["Retry-After"]) > 0
                    self.reasons[body["message"]] += 1
                    if self._sure_of_503:
                        self.journal.refuse("503")
                    else:
                        self.journal.lose(device_id, "503")
        except ClientConnectorError:
            self.journal.refuse("not connected")
        except (ClientError, TimeoutError) as exc:
            self.journal.lose(device_id, type(exc).__name__)
