"""A fleet's ttl: given, shown, changed, and what a request does to it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pisync import keys
from pisync.simulation.idle_fleets import GRACE, LEAD, ROUND
from tests.conftest import Answer, Api, MakeApi, ManualTime

LAB = "/admin/fleets/lab"


def expiry_of(answer: Answer) -> datetime:
    return datetime.fromisoformat(answer.json["expires_at"])


def is_in(expiry: datetime, seconds: float) -> bool:
    return abs(expiry - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=5)


async def make(admin: Api, **body: object) -> Answer:
    return await admin.put(LAB, {"devices": 3, **body})


async def test_is_shown_with_the_time_at_which_it_ends(admin: Api) -> None:
    made = await make(admin, ttl=3600)
    listed = (await admin.get("/admin/fleets")).json[1]
    for fleet in (made.json, (await admin.get(LAB)).json, listed):
        assert fleet["ttl"] == 3600
        assert is_in(datetime.fromisoformat(fleet["expires_at"]), 3600)
    for fleet in ((await admin.get("/admin/fleets")).json[0], (await make(admin)).json):
        assert (fleet["ttl"], fleet["expires_at"]) == (None, None)


async def test_is_changed_with_the_profile_or_without(admin: Api) -> None:
    await make(admin, profile={"seed": 1})
    changed = await admin.patch(LAB, {"ttl": 60})
    assert changed.status == 200
    assert (changed.json["ttl"], changed.json["profile"]["seed"]) == (60, 1)
    assert is_in(expiry_of(changed), 60)
    changed = await admin.patch(LAB, {"profile": {"seed": 2}})
    assert (changed.json["ttl"], changed.json["profile"]["seed"]) == (60, 2)
    changed = await admin.patch(LAB, {"profile": {"seed": 3}, "ttl": None})
    assert (changed.json["ttl"], changed.json["profile"]["seed"]) == (None, 3)
    assert changed.json["expires_at"] is None


@pytest.mark.parametrize("ttl", [60, 60.0, 2_592_000, None])
async def test_may_be(admin: Api, ttl: object) -> None:
    assert (await make(admin, ttl=ttl)).json["ttl"] == ttl
    assert (await admin.patch(LAB, {"ttl": ttl})).json["ttl"] == ttl


@pytest.mark.parametrize("ttl", [59, 0, -60, 2_592_001, 60.5, "60", True, [60], {}])
async def test_is_refused_whole(admin: Api, ttl: object) -> None:
    (await make(admin, ttl=ttl)).assert_problem(422, "ttl")
    (await admin.get(LAB)).assert_problem(404)
    await make(admin, ttl=100, profile={"seed": 1})
    (await admin.patch(LAB, {"ttl": ttl, "profile": {"seed": 2}})).assert_problem(422, "ttl")
    fleet = (await admin.get(LAB)).json
    assert (fleet["ttl"], fleet["profile"]["seed"]) == (100, 1)


async def test_a_change_of_nothing_is_refused(admin: Api) -> None:
    await make(admin)
    (await admin.patch(LAB, {})).assert_problem(422, "profile")


async def test_the_default_fleet_can_have_none(admin: Api) -> None:
    default = "/admin/fleets/default"
    before = (await admin.get(default)).json["profile"]
    for call in (
        admin.put(default, {"devices": 1, "ttl": 60}),
        admin.patch(default, {"ttl": 60, "profile": {"seed": 99}}),
    ):
        (await call).assert_problem(422, "ttl")
    assert (await admin.get(default)).json["profile"] == before
    assert (await admin.patch(default, {"ttl": None})).status == 200
    assert (await admin.put(default, {"devices": 1, "ttl": None})).status == 200


async def test_of_no_fleet_is_404(admin: Api) -> None:
    (await admin.patch(LAB, {"ttl": 60})).assert_problem(404)


NAMING: list[tuple[str, str, Any]] = [
    ("GET", "/devices", None),
    ("GET", "/devices/1", None),
    ("GET", "/devices/9", None),
    ("POST", "/devices/1/sync", None),
    ("POST", "/devices/sync", {"all": True}),
    ("GET", "/errors", None),
    ("GET", "/stats", None),
    ("HEAD", "/devices", None),
    ("GET", LAB, None),
    ("PATCH", LAB, {"profile": {}}),
    ("POST", f"{LAB}/reset", None),
    ("GET", f"{LAB}/ledger", None),
    ("PUT", f"{LAB}/clock", {"mode": "manual"}),
    ("PUT", f"{LAB}/devices/1/script", [{"hold": True}]),
]


@pytest.mark.parametrize(("method", "path", "body"), NAMING)
async def test_counts_anew_from_each_request_that_names_the_fleet(
    make_api: MakeApi, method: str, path: str, body: object
) -> None:
    time = ManualTime()
    api = await make_api(time=time)
    assert api.client.app is not None
    idle = api.client.app[keys.IDLE_FLEETS]
    admin = api.as_("devices", "admin", name="admin")

    async def live(seconds: float) -> None:
        for _ in range(round(seconds / ROUND)):
            time.pass_seconds(ROUND)
            await idle.round()

    await live(GRACE + ROUND)
    await make(admin, ttl=60)
    await live(50)
    fleet = None if path.startswith("/admin") else "lab"
    assert (await admin.on(fleet).call(method, path, json=body)).status < 500
    await idle.save()
    await live(60)
    assert len((await admin.get("/admin/fleets")).json) == 2
    await live(LEAD + ROUND)
    assert len((await admin.get("/admin/fleets")).json) == 1
    (await admin.on("lab").get("/devices")).assert_problem(404)


@pytest.mark.parametrize(
    ("scopes", "status"), [(None, 401), (("admin",), 403)], ids=["no token", "no scope"]
)
async def test_counts_no_request_that_is_refused(
    make_api: MakeApi, scopes: tuple[str, ...] | None, status: int
) -> None:
    time = ManualTime()
    api = await make_api(time=time)
    await make(api.as_("admin"), ttl=60)
    time.pass_seconds(20)
    caller = api if scopes is None else api.as_(*scopes)
    assert (await caller.on("lab").get("/devices")).status == status
    assert api.client.app is not None
    await api.client.app[keys.IDLE_FLEETS].save()
    (_, fleet) = (await api.as_("admin").get("/admin/fleets")).json
    expiry = datetime.fromisoformat(fleet["expires_at"]).timestamp()
    assert expiry == pytest.approx(time.wall() / 1e6 + 40)
