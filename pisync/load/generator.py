"""Makes the requests: as many at a time as there are connections, each by a user of its own."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from time import perf_counter

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, hdrs

from pisync.load.plan import (
    ACTIONS,
    SYNC,
    LoadPlan,
)
from pisync.load.tally import Tally

_MAX_DEVICES = 10_000
_MAX_PAGE = 1000


class CannotLoad(Exception):
    """The server does not let the load in, or has nothing to load; the text says why."""


class Schedule:
    """Says when the next request is due, to all connections in turn, until the time is over."""

    def __init__(self, seconds: float, rate: float | None) -> None:
        self.began = perf_counter()
        self._ends = self.began + seconds
        self._rate = rate
        self._scheduled = 0

    async def next(self) -> float | None:
        """Wait for the next request's time; return it, or None if there are no more.

        Latency counts from there: a server that keeps requests waiting keeps those waiting, too,
        that could not even be sent.
        """
        if self._rate is None:
            now = perf_counter()
            return now if now < self._ends else None
        due = self.began + self._scheduled / self._rate
        self._scheduled += 1
        await asyncio.sleep(max(0.0, min(due, self._ends) - perf_counter()))
        return due if due < self._ends else None

    def stop(self) -> None:
        """Let there be no more."""
        self._ends = perf_counter()


async def generate(
    plan: LoadPlan, tokens: Sequence[str], tally: Tally, stopped: asyncio.Event
) -> None:
    """Load the server until the plan's time is over, or `stopped` is set; count into `tally`.

    The connections take the tokens in turn.

    Raises:
        CannotLoad: The server does not let the load in, or has nothing to load.
    """
    connector = TCPConnector(limit=plan.connections)
    named = {} if plan.below_base_url else {"Pisync-Fleet": plan.fleet}
    users = [{hdrs.AUTHORIZATION: f"Bearer {token}", **named} for token in tokens]
    timeout = ClientTimeout(total=plan.timeout)
    async with ClientSession(connector=connector, timeout=timeout) as session:
        devices = await _device_ids(session, plan.target, users[0])
        schedule = Schedule(plan.seconds, plan.rate)
        ending = asyncio.create_task(_stop(schedule, stopped))
        await asyncio.gather(
            *(
                _Connection(session, plan, users[number % len(users)], devices, number).run(
                    schedule, tally
                )
                for number in range(plan.connections)
            )
        )
        tally.seconds = perf_counter() - schedule.began
        ending.cancel()


async def _stop(schedule: Schedule, stopped: asyncio.Event) -> None:
    await stopped.wait()
    schedule.stop()


async def _device_ids(session: ClientSession, url: str, user: Mapping[str, str]) -> list[int]:
    """Return the ids of the fleet's first devices.

    Raises:
        CannotLoad: There are none, or they can't be read.
    """
    found: list[int] = []
    while len(found) < _MAX_DEVICES:
        after = found[-1] if found else 0
        query = {"limit": _MAX_PAGE} | ({"after": after} if after else {})
        try:
            async with session.get(f"{url}/devices", params=query, headers=user) as answer:
                page = await answer.json()
        except (ClientError, TimeoutError) as exc:
            raise CannotLoad(f"No answer from {url}: {exc}") from exc
        if answer.status != HTTPStatus.OK:
            raise CannotLoad(f"{url}/devices answers {answer.status}: {page['message']}")
        found += [device["device_id"] for device in page]
        if len(page) < _MAX_PAGE:
            break
    if not found:
        raise CannotLoad("The fleet has no devices.")
    return found


class _Connection:
    """Makes one request after the other."""

    def __init__(
        self,
        session: ClientSession,
        plan: LoadPlan,
        user: Mapping[str, str],
        devices: Sequence[int],
        number: int,
    ) -> None:
        self._session = session
        self._plan = plan
        self._user = user
        self._devices = devices
        self._random = random.Random(number)  # noqa: S311 - load need not be hard to guess

    async def run(self, schedule: Schedule, tally: Tally) -> None:
        """Ask when a request is due, and count what is answered."""
        while (due := await schedule.next()) is not None:
            name = self._plan.mix.choose(self._random)
            device = self._random.choice(self._devices)
            action = ACTIONS[name]
            status: int | None = None
            try:
                async with self._session.request(
                    action.method,
                    self._plan.target + action.path.format(device),
                    headers=self._user,
                ) as answer:
                    await answer.read()
                    status = answer.status
            except (ClientError, TimeoutError):
                # Nothing listens, perhaps: the next try shall not follow at once.
                await asyncio.sleep(0.01)
            else:
                if name == SYNC and status == HTTPStatus.ACCEPTED:
                    tally.attempts.add((device, int(answer.headers["Pisync-Attempt"])))
            tally.add(name, status, perf_counter() - due)
