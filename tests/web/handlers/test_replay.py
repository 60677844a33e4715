"""Same seed, same fleet: one history, however it is driven."""

import asyncio
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.conftest import MakeApi
from tests.support.fleet_lab import (
    FleetLab,
    make_lab,
)

DEVICES, ATTEMPTS = 200, 5
PROFILE: Mapping[str, Any] = {
    "seed": 20_261_122,
    "outcomes": [
        {"sync_status_code": 200, "weight": 30},
        {"sync_status_code": 400, "error_message": "Authentication Failure", "weight": 20},
        {"sync_status_code": 404, "error_message": "Server Not Reachable", "weight": 20},
        {"sync_status_code": 500, "error_message": "Unknown Sync Error", "weight": 30},
    ],
    "delay": {"distribution": "lognormal", "median": 2, "sigma": 0.5, "max": 10},
}

Key = tuple[int, int]
"""A device and an attempt."""
History = dict[Key, tuple[int, str | None, float | None]]
"""Codes, messages and delays in seconds. A success leaves no trace of its delay but its end."""


async def forecast(lab: FleetLab) -> History:
    """Return what is to happen."""
    history: History = {}
    for device_id in range(1, DEVICES + 1):
        for told in await lab.forecast(device_id, ATTEMPTS, **{"from": 1}):
            code, message = told["sync_status_code"], told["error_message"]
            history[device_id, told["attempt"]] = (
                code,
                message,
                told["delay"] if message else None,
            )
    return history


class Chronicle:
    """Drives a fleet, and writes down what is seen of its attempts."""

    def __init__(self, lab: FleetLab) -> None:
        self._lab = lab
        self._begun: dict[Key, datetime] = {}

    async def sync(self, device_id: int) -> int:
        """Sync a device; return the number of the attempt."""
        answer = await self._lab.sync(device_id)
        attempt = int(answer.headers["Pisync-Attempt"])
        at = datetime.fromisoformat(answer.json["last_attempt_at"])
        # Whoever joins sees the same.
        assert self._begun.setdefault((device_id, attempt), at) == at
        return attempt

    async def history(self) -> History:
        """Return what happened, once nothing is pending."""
        await self._lab.settle()
        logs = {(each["device_id"], each["attempt"]): each for each in await self._lab.errors()}
        stats = await self._lab.stats()
        assert stats["attempts"] == len(self._begun)
        assert stats["succeeded"] == len(self._begun) - len(logs)
        history: History = {}
        for key, began in self._begun.items():
            if key[1] > ATTEMPTS:  # begun by a client who took the last one for pending still
                continue
            log = logs.get(key)
            if log is None:
                history[key] = (200, None, None)
            else:
                took = datetime.fromisoformat(log["occurred_at"]) - began
                delay = took / timedelta(seconds=1)
                history[key] = (log["sync_status_code"], log["error_message"], delay)
        return history


async def by_one_client(lab: FleetLab) -> History:
    """One device after the other, round by round."""
    chronicle = Chronicle(lab)
    await lab.clock("manual")
    for _ in range(ATTEMPTS):
        for device_id in range(1, DEVICES + 1):
            await chronicle.sync(device_id)
        await lab.settle()
    return await chronicle.history()


async def by_two_hundred_clients(lab: FleetLab, order: int) -> History:
    """All at once, each again as soon as it may be, while time goes by in uneven steps."""
    chronicle = Chronicle(lab)
    chance = random.Random(order)  # noqa: S311 - nothing secret hangs on it
    await lab.clock("manual")

    async def client(device_id: int) -> None:
        finished = 0
        while finished < ATTEMPTS:
            attempt = await chronicle.sync(device_id)
            await asyncio.sleep(chance.uniform(0, 0.01))
            device = await lab.device(device_id)
            finished = attempt if device["sync_status_code"] != 202 else attempt - 1

    async def clock() -> None:
        while True:
            await lab.advance(chance.uniform(0, 3))
            await asyncio.sleep(0)

    ticking = asyncio.create_task(clock())
    ids = chance.sample(range(1, DEVICES + 1), DEVICES)
    try:
        await asyncio.gather(*(client(device_id) for device_id in ids))
    finally:
        ticking.cancel()
    return await chronicle.history()


@pytest.mark.slow
async def test_one_seed_gives_one_history_whoever_drives_it(make_api: MakeApi) -> None:
    lab = await make_lab((await make_api()).as_("devices", "admin"), devices=DEVICES, **PROFILE)
    told = await forecast(lab)
    assert len(told) == DEVICES * ATTEMPTS
    assert len({outcome[:2] for outcome in told.values()}) == 4
    assert await by_one_client(lab) == told

    await lab.reset()
    assert await by_two_hundred_clients(lab, order=1) == told

    # A second service, which has nothing of the first but the seed.
    admin = (await make_api()).as_("devices", "admin")
    again = await make_lab(admin, "another-name", devices=DEVICES, **PROFILE)
    assert await forecast(again) == told
    assert await by_two_hundred_clients(again, order=2) == told


async def test_a_seed_that_was_drawn_replays_too(make_api: MakeApi) -> None:
    admin = (await make_api()).as_("devices", "admin")
    profile = {name: value for name, value in PROFILE.items() if name != "seed"}
    made = await admin.put("/admin/fleets/drawn", {"devices": 3, "profile": profile})
    drawn = FleetLab(admin.on("drawn"), "/admin/fleets/drawn")
    other = await make_lab(admin, "other", devices=3, **PROFILE)
    replayed = await make_lab(admin, "replayed", devices=3, **made.json["profile"])
    histories = [await lab.forecast(1, 100) for lab in (drawn, replayed, other)]
    assert histories[0] == histories[1] != histories[2]


async def test_a_history_that_was_written_down_is_still_the_same(make_api: MakeApi) -> None:
    lab = await make_lab((await make_api()).as_("devices", "admin"), **PROFILE)
    told = [tuple(each.values()) for each in await lab.forecast(7, 4)]
    assert told == [
        (1, 404, "Server Not Reachable", 2.478669),
        (2, 404, "Server Not Reachable", 0.942973),
        (3, 200, None, 0.878474),
        (4, 400, "Authentication Failure", 1.048295),
    ]


async def test_a_forecast_comes_true_with_spells_and_through_phases(make_api: MakeApi) -> None:
    admin = (await make_api()).as_("devices", "admin")
    outage = [{"sync_status_code": 404, "error_message": "Outage", "weight": 1}]
    slow = {"distribution": "constant", "seconds": 7}
    phases = [
        {"from": 10, "until": 20, "outcomes": outage},
        {"from": 20, "until": 25, "delay": slow},
    ]
    profile = {**PROFILE, "spells": {"mean_length": 3}, "phases": phases, "repeat_every": 40}
    lab = await make_lab(admin, devices=5, **profile)
    codes, delays = set(), set()
    for _ in range(20):
        (told,) = await lab.forecast(3, 1)
        began = datetime.fromisoformat((await lab.sync(3)).json["last_attempt_at"])
        ended = datetime.fromisoformat((await lab.settle())["now"])
        device = await lab.device(3)
        assert (device["sync_status_code"], device["error_message"]) == (
            told["sync_status_code"],
            told["error_message"],
        )
        assert (ended - began) / timedelta(seconds=1) == told["delay"]
        codes.add(told["error_message"])
        delays.add(told["delay"])
        await lab.advance(1)
    assert {"Outage", None} < codes
    assert 7 in delays
    assert len(delays) > 10
