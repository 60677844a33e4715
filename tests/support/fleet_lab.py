"""A fleet to experiment on: its time is the test's to move, and its calls are short."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yarl import URL

from tests.conftest import Answer, Api
from tests.support.waiting import eventually

Json = Mapping[str, Any]

SUCCESS = {"sync_status_code": 200}
FULL = {"sync_status_code": 400, "error_message": "Storage Full"}
TIMEOUT = {"sync_status_code": 500, "error_message": "Connection Timeout"}
HOLD = {"hold": True}


@dataclass(frozen=True)
class FleetLab:
    """A fleet, and an admin who acts on it. What is not an `Answer` is the JSON of a good one."""

    api: Api
    path: str

    async def sync(self, device_id: int) -> Answer:
        return await self.api.post(f"/devices/{device_id}/sync")

    async def sync_all(self) -> Any:
        return await _of(self.api.post("/devices/sync", {"all": True}), 202)

    async def device(self, device_id: int) -> Any:
        return await _of(self.api.get(f"/devices/{device_id}"))

    async def devices(self) -> Any:
        return await _of(self.api.get("/devices", params={"limit": 1000}))

    async def errors(self, **query: object) -> Any:
        return await _of(self.api.get("/errors", params={"limit": 1000, **query}))

    async def stats(self) -> Any:
        return await _of(self.api.get("/stats"))

    async def ledger(self) -> Any:
        return await _of(self.api.get(f"{self.path}/ledger"))

    async def now(self) -> str:
        return str((await _of(self.api.get(self.path)))["clock"]["now"])

    async def clock(self, mode: str, **speed: float) -> Any:
        return await _of(self.api.put(f"{self.path}/clock", {"mode": mode, **speed}))

    async def advance(self, seconds: float) -> Any:
        return await _of(self.api.post(f"{self.path}/advance", {"seconds": seconds}))

    async def settle(self) -> Any:
        return await _of(self.api.post(f"{self.path}/settle"))

    async def reset(self) -> None:
        await _of(self.api.post(f"{self.path}/reset"), 204)

    async def change(self, **profile: object) -> Any:
        return await _of(self.api.patch(self.path, {"profile": profile}))

    async def script(self, device_id: int, *steps: Mapping[str, object]) -> None:
        await _of(self.api.put(f"{self.path}/devices/{device_id}/script", steps), 204)

    async def release(self, device_id: int, outcome: Mapping[str, object] = SUCCESS) -> Answer:
        return await self.api.post(f"{self.path}/devices/{device_id}/release", outcome)

    async def forecast(self, device_id: int, attempts: int = 20, **query: int | str) -> Any:
        given = {"device_id": device_id, "attempts": attempts, **query}
        return await _of(self.api.get(f"{self.path}/forecast", params=given))

    async def finished(self) -> None:
        """Wait until nothing is pending any more."""
        await eventually(self._nothing_pending)

    async def _nothing_pending(self) -> bool:
        return bool((await self.stats())["pending"] == 0)


def next_page(answer: Answer) -> URL | None:
    """Where `Link` leads on to, if there is one."""
    link = answer.response.links.get("next")
    return URL(str(link["url"])).relative() if link else None


MakeFleetLab = Callable[..., Awaitable[FleetLab]]


async def make_lab(
    admin: Api,
    name: str = "lab",
    devices: int | Sequence[Json] = 10,
    *,
    mode: str = "manual",
    **profile: object,
) -> FleetLab:
    """Make a fleet. All its attempts succeed after 10 s, unless `profile` says otherwise."""
    given = {
        "seed": 7,
        "outcomes": [{**SUCCESS, "weight": 1}],
        "delay": {"distribution": "constant", "seconds": 10},
        **profile,
    }
    lab = FleetLab(admin.on(name), f"/admin/fleets/{name}")
    made = await admin.put(lab.path, {"devices": devices, "profile": given})
    assert made.status in (200, 201), made.body
    await lab.clock(mode)
    return lab


async def _of(call: Awaitable[Answer], status: int = 200) -> Any:
    answer = await call
    assert answer.status == status, answer.body
    return answer.json if answer.body else None
