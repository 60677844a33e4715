"""Calls beside a reset or a replacement act before it or after it: none of them is refused."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import pytest

from tests.conftest import Api, MakeApi
from tests.support.stores.server import server

LONG = {"distribution": "constant", "seconds": 3600}
DEVICES = 500
FLEET = {"devices": DEVICES, "profile": {"seed": 7, "delay": LONG}}
PATH = "/admin/fleets/lab"
ROUNDS = 3
READS = ["/devices/{}", "/devices?limit=10", "/stats", "/errors", "/devices/{}?wait=0.01"]

Apis = Sequence[Api]


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.slow)],
)
async def apis(request: pytest.FixtureRequest, make_api: MakeApi, tmp_path: Path) -> Apis:
    """Applications on one store, with a fleet of their own; where they can share it, two."""
    stores = ["memory"]
    if request.param == "sqlite":
        stores = [f"sqlite:///{tmp_path}/pisync.db"]
    elif request.param == "postgresql":
        stores = [await server().make_database()] * 2
    apis = [(await make_api(store=each)).as_("devices", "admin").on("lab") for each in stores]
    assert (await apis[0].put(PATH, FLEET)).status == 201
    return apis


async def beside(
    call: Callable[[Api, int], Awaitable[int]], apis: Apis, changes: Iterable[Awaitable[int]]
) -> set[int]:
    """Make a call again and again, of each device in turn, until the changes have been made.

    Returns the statuses of its answers.
    """
    statuses: set[int] = set()
    is_over = False

    async def go_on(api: Api, first: int) -> None:
        device_id = first
        while not is_over:
            statuses.add(await call(api, device_id))
            device_id = device_id % DEVICES + 1

    callers = [asyncio.create_task(go_on(api, 1 + 100 * n)) for api in apis for n in range(4)]
    for change in changes:
        assert await change in (200, 204)
    is_over = True
    await asyncio.gather(*callers)
    return statuses


def resets(apis: Apis) -> Iterable[Awaitable[int]]:
    """Reset the fleet, through one application after the other."""
    for n in range(ROUNDS):
        yield status(apis[n % len(apis)], "POST", f"{PATH}/reset")


def replacements(apis: Apis) -> Iterable[Awaitable[int]]:
    """Replace the fleet, likewise."""
    for n in range(ROUNDS):
        yield status(apis[n % len(apis)], "PUT", PATH, FLEET)


async def status(api: Api, method: str, path: str, json: object = None) -> int:
    return (await api.call(method, path, json=json)).status


async def sync(api: Api, device_id: int) -> int:
    return await status(api, "POST", f"/devices/{device_id}/sync")


@pytest.mark.parametrize("change", [resets, replacements])
async def test_a_sync_begins_in_the_old_state_or_in_the_new_one(
    apis: Apis, change: Callable[[Apis], Iterable[Awaitable[int]]]
) -> None:
    assert await beside(sync, apis, change(apis)) == {202}
    # What was answered is there; nothing of what was before the last change is.
    stats, ledger = [(await apis[-1].get(at)).json for at in ("/stats", f"{PATH}/ledger")]
    assert ledger["balanced"]
    assert 0 < stats["pending"] == stats["attempts"] == ledger["accepted"]


async def test_one_after_a_reset_was_answered_is_in_the_new_state(apis: Apis) -> None:
    first, last = apis[0], apis[-1]
    for _ in range(ROUNDS):
        assert await sync(last, 1) == 202
        assert await status(first, "POST", f"{PATH}/reset") == 204
        began = await last.post("/devices/1/sync")
        assert (began.status, began.headers["Pisync-Attempt"]) == (202, "1")
        assert (await first.get("/stats")).json["attempts"] == 1


async def test_reads_are_answered(apis: Apis) -> None:
    async def read(api: Api, n: int) -> int:
        return await status(api, "GET", READS[n % len(READS)].format(n))

    assert await beside(read, apis, resets(apis)) == {200}
