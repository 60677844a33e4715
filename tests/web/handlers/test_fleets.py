"""Fleets: made, looked at, changed, reset and deleted by an admin."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from yarl import URL

from pisync import keys
from pisync.model.timestamp import SECOND, parse, render
from tests.conftest import Answer, Api, MakeApi
from tests.support.documented import DOCUMENT
from tests.support.fleet_lab import (
    FULL,
    HOLD,
    SUCCESS,
    TIMEOUT,
    FleetLab,
    Json,
    MakeFleetLab,
    next_page,
)

EARLY = "2026-11-22T07:40:12.000000Z"
LATE = "2026-11-22T08:00:00.000000Z"
EARLY_1970 = "1970-01-01T00:00:00.000000Z"
FUTURE = "9999-12-31T23:59:59.999999Z"
DEFAULT_PROFILE = {
    "outcomes": [
        {"sync_status_code": 200, "error_message": None, "weight": 70},
        {"sync_status_code": 400, "error_message": "Authentication Failure", "weight": 6},
        {"sync_status_code": 400, "error_message": "Storage Full", "weight": 6},
        {"sync_status_code": 404, "error_message": "Server Not Reachable", "weight": 6},
        {"sync_status_code": 500, "error_message": "Connection Timeout", "weight": 6},
        {"sync_status_code": 500, "error_message": "Unknown Sync Error", "weight": 6},
    ],
    "delay": {"distribution": "lognormal", "median": 2, "sigma": 0.5, "max": 10},
    "when_pending": "join",
}


def path(name: str) -> str:
    return f"/admin/fleets/{name}"


# Who may


ADMIN_CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/admin/fleets", None),
    ("GET", path("lab"), None),
    ("PUT", path("lab"), {"devices": 1}),
    ("PATCH", path("lab"), {"profile": {"seed": 1}}),
    ("DELETE", path("lab"), None),
    ("POST", path("lab/reset"), None),
    ("PUT", path("lab/clock"), {"mode": "real"}),
    ("POST", path("lab/advance"), {"seconds": 1}),
    ("POST", path("lab/settle"), None),
    ("PUT", path("lab/devices/1/script"), [SUCCESS]),
    ("DELETE", path("lab/devices/1/script"), None),
    ("POST", path("lab/devices/1/release"), SUCCESS),
    ("GET", path("lab/forecast?device_id=1"), None),
    ("GET", path("lab/ledger"), None),
)


async def test_every_admin_call_takes_the_scope_admin(
    api: Api, lab: FleetLab, subtests: pytest.Subtests
) -> None:
    await lab.sync(1)
    before = [await lab.devices(), await lab.stats(), (await lab.api.get(lab.path)).json]
    for method, where, body in ADMIN_CALLS:
        with subtests.test(method=method, path=where):
            (await api.as_("devices").call(method, where, json=body)).assert_problem(403)
            (await api.call(method, where, json=body)).assert_problem(401)
    assert [await lab.devices(), await lab.stats(), (await lab.api.get(lab.path)).json] == before


async def test_the_scope_admin_does_not_include_devices(api: Api, lab: FleetLab) -> None:
    admin = api.as_("admin")
    assert (await admin.get(lab.path)).status == 200
    for where in ("/devices", "/devices/1", "/errors", "/stats"):
        (await admin.get(where)).assert_problem(403)
    (await admin.post("/devices/1/sync")).assert_problem(403)


async def test_a_fleet_that_is_not_there_is_404(admin: Api, subtests: pytest.Subtests) -> None:
    for method, where, body in ADMIN_CALLS[1:]:
        if (method, where) == ("PUT", path("lab")):
            continue
        with subtests.test(method=method, path=where):
            (await admin.call(method, where, json=body)).assert_problem(404)


# Names


@pytest.mark.parametrize("name", ["0", "a", "a-", "9-lives", "a" * 63, "default"])
async def test_names_that_a_fleet_may_have(admin: Api, name: str) -> None:
    made = await admin.put(path(name), {"devices": 2})
    assert made.status == (200 if name == "default" else 201)
    assert (await admin.get(path(name))).json["name"] == name
    assert len((await admin.on(name).get("/devices")).json) == 2


async def test_another_name_is_404_in_a_path_and_in_the_header(
    admin: Api, subtests: pytest.Subtests
) -> None:
    for name in ("-a", "A", "Default", "a" * 64, "a_b", "a.b", "a%20b", "%C3%A9", "%00", "a%0A"):
        with subtests.test(name):
            for method, below, body in (("PUT", "", {"devices": 1}), ("GET", "/ledger", None)):
                url: Any = URL(f"/admin/fleets/{name}{below}", encoded=True)
                (await admin.call(method, url, json=body)).assert_problem(404)
    for name in ("-a", "A", "DEFAULT", "a" * 64, "", "default,default", "é"):
        with subtests.test(header=name):
            for where in ("/devices", "/devices/1", "/errors", "/stats"):
                (await admin.on(name).get(where)).assert_problem(404)
            (await admin.on(name).post("/devices/1/sync")).assert_problem(404)
    assert len((await admin.get("/admin/fleets")).json) == 1


# Looking


async def test_a_fleet_tells_its_profile_seed_and_clock(lab: FleetLab) -> None:
    fleet = (await lab.api.get(lab.path)).json
    assert fleet["name"] == "lab"
    assert fleet["devices"] == 10
    assert fleet["seed"] == fleet["profile"]["seed"] == 7
    assert set(fleet["profile"]) == {"seed", "outcomes", "delay", "when_pending", "max_pending"}
    assert set(fleet["clock"]) == {"mode", "speed", "now"}


async def test_the_list_has_every_fleet_as_it_is_by_itself_without_its_profile(
    new_lab: MakeFleetLab, admin: Api
) -> None:
    for name in ("b", "c", "a"):
        await new_lab(name)
        await admin.put(path(f"{name}/clock"), {"mode": "manual"})
    await admin.put(path("default/clock"), {"mode": "manual"})
    fleets = (await admin.get("/admin/fleets")).json
    assert [each["name"] for each in fleets] == ["a", "b", "c", "default"]
    for fleet in fleets:
        alone = (await admin.get(path(fleet["name"]))).json
        del alone["profile"]
        assert alone == fleet


async def test_fleets_are_listed_a_page_at_a_time(admin: Api) -> None:
    names = ["0", "a", "a-1", "a1", "b", "default"]
    for name in names[:-1]:
        await admin.put(path(name), {"devices": 0})
        await admin.put(path(f"{name}/clock"), {"mode": "manual"})
    await admin.put(path("default/clock"), {"mode": "manual"})
    whole = await admin.get("/admin/fleets")
    assert [fleet["name"] for fleet in whole.json] == sorted(names)
    assert (whole.headers["X-Total-Count"], next_page(whole)) == ("6", None)
    found: list[Any] = []
    page: Answer | None = await admin.get("/admin/fleets?limit=2")
    while page is not None:
        assert page.headers["X-Total-Count"] == "6"
        assert len(page.json) == 2
        found += page.json
        link = next_page(page)
        page = None if link is None else await admin.get(str(link))
    assert found == whole.json
    after = await admin.get("/admin/fleets?after=a0")
    assert [fleet["name"] for fleet in after.json] == ["a1", "b", "default"]
    assert (await admin.get("/admin/fleets?after=z")).json == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(("limit=0", "limit"), ("limit=1001", "limit"), ("limit=01", "limit")),
        *(("after=", "after"), ("after=A", "after"), ("after=a%00", "after"), ("x=1", "x")),
    ],
)
async def test_a_page_of_fleets_that_cannot_be_is_refused(
    admin: Api, query: str, field: str
) -> None:
    (await admin.get(f"/admin/fleets?{query}")).assert_problem(422, field)


# Making


async def test_a_new_fleet_is_201_and_a_replaced_one_200(admin: Api) -> None:
    for status in (201, 200, 200):
        answer = await admin.put(path("new"), {"devices": 3})
        assert answer.status == status
        assert answer.json["devices"] == 3
        assert answer.json["name"] == "new"
    await admin.delete(path("new"))
    assert (await admin.put(path("new"), {"devices": 3})).status == 201


async def test_a_fleet_without_a_profile_has_the_default_one(admin: Api) -> None:
    for body in ({"devices": 1}, {"devices": 1, "profile": {}}):
        profile = (await admin.put(path("new"), body)).json["profile"]
        assert type(profile["seed"]) is int
        assert 0 <= profile["seed"] < 2**53
        assert {**profile, **DEFAULT_PROFILE} == profile


async def test_a_seed_that_is_not_given_is_drawn_and_shown(admin: Api) -> None:
    seeds = set()
    for _ in range(5):
        made = (await admin.put(path("new"), {"devices": 1})).json
        assert made["seed"] == made["profile"]["seed"]
        assert (await admin.get(path("new"))).json["seed"] == made["seed"]
        seeds.add(made["seed"])
    assert len(seeds) == 5


async def test_a_profile_comes_back_as_it_was_given(admin: Api) -> None:
    for delay in (
        {"distribution": "constant", "seconds": 0},
        {"distribution": "constant", "seconds": 86_400},
        {"distribution": "uniform", "min": 0.25, "max": 0.25},
        {"distribution": "uniform", "min": 0, "max": 86_400},
        {"distribution": "lognormal", "median": 0, "sigma": 0, "max": 0},
        {"distribution": "lognormal", "median": 3.5, "sigma": 100, "max": 1},
    ):
        profile = {
            "seed": 2**53 - 1,
            "outcomes": [
                {**SUCCESS, "error_message": None, "weight": 0},
                {**FULL, "weight": 1.5},
                {**FULL, "weight": 1e308},
                {**TIMEOUT, "weight": 5e-324},
            ],
            "delay": delay,
            "when_pending": "refuse",
            "max_pending": 0,
        }
        made = await admin.put(path("new"), {"devices": 1, "profile": profile})
        assert made.json["profile"] == profile
        assert (await admin.get(path("new"))).json["profile"] == profile


HOURLY: Json = {"distribution": "constant", "seconds": 3600}
DOWN: Json = {"outcomes": [{**FULL, "weight": 1}]}

BAD_PROFILES: tuple[tuple[Json, str], ...] = (
    ({"seed": -1}, "seed"),
    ({"seed": 2**53}, "seed"),
    ({"outcomes": []}, "outcomes"),
    ({"outcomes": {}}, "outcomes"),
    ({"outcomes": None}, "outcomes"),
    ({"outcomes": [SUCCESS]}, "outcomes.0.weight"),
    ({"outcomes": [{"weight": 1}]}, "outcomes.0.sync_status_code"),
    ({"outcomes": [{**SUCCESS, "weight": 0}]}, "outcomes"),
    ({"outcomes": [{**SUCCESS, "weight": 0}, {**FULL, "weight": 0.0}]}, "outcomes"),
    ({"outcomes": [{**SUCCESS, "weight": 1}, {**FULL, "weight": -1}]}, "outcomes.1.weight"),
    ({"outcomes": [{"sync_status_code": 202, "weight": 1}]}, "outcomes.0.sync_status_code"),
    ({"outcomes": [{"sync_status_code": 201, "weight": 1}]}, "outcomes.0.sync_status_code"),
    ({"outcomes": [{"sync_status_code": 500, "weight": 1}]}, "outcomes.0.error_message"),
    (
        {"outcomes": [{"sync_status_code": 500, "error_message": None, "weight": 1}]},
        "outcomes.0.error_message",
    ),
    ({"outcomes": [{**SUCCESS, "error_message": "no", "weight": 1}]}, "outcomes.0.error_message"),
    ({"outcomes": [{**SUCCESS, "error_message": "", "weight": 1}]}, "outcomes.0.error_message"),
    ({"outcomes": [{**FULL, "error_message": "", "weight": 1}]}, "outcomes.0.error_message"),
    ({"outcomes": [{**FULL, "error_message": "x" * 201, "weight": 1}]}, "outcomes.0.error_message"),
    ({"outcomes": [{**SUCCESS, "weight": 1, "typo": 1}]}, "outcomes.0.typo"),
    ({"delay": None}, "delay"),
    ({"delay": 5}, "delay"),
    ({"delay": {}}, "delay.distribution"),
    ({"delay": {"seconds": 5}}, "delay.distribution"),
    ({"delay": {"distribution": "normal"}}, "delay.distribution"),
    ({"delay": {"distribution": "Constant", "seconds": 1}}, "delay.distribution"),
    ({"delay": {"distribution": ["constant"], "seconds": 1}}, "delay.distribution"),
    ({"delay": {"distribution": "constant"}}, "delay.seconds"),
    ({"delay": {"distribution": "constant", "seconds": -0.1}}, "delay.seconds"),
    ({"delay": {"distribution": "constant", "seconds": 86_400.1}}, "delay.seconds"),
    ({"delay": {"distribution": "constant", "seconds": 1, "max": 2}}, "delay.max"),
    ({"delay": {"distribution": "uniform", "min": 2, "max": 1}}, "delay.max"),
    ({"delay": {"distribution": "uniform", "min": 0, "max": 86_401}}, "delay.max"),
    ({"delay": {"distribution": "uniform", "min": -1, "max": 1}}, "delay.min"),
    ({"delay": {"distribution": "uniform", "max": 1}}, "delay.min"),
    ({"delay": {"distribution": "lognormal", "median": -1, "sigma": 1, "max": 9}}, "delay.median"),
    ({"delay": {"distribution": "lognormal", "median": 1, "sigma": -1, "max": 9}}, "delay.sigma"),
    ({"delay": {"distribution": "lognormal", "median": 1, "sigma": 1, "max": 1e5}}, "delay.max"),
    ({"delay": {"distribution": "lognormal", "median": 1, "max": 9}}, "delay.sigma"),
    ({"when_pending": "wait"}, "when_pending"),
    ({"when_pending": None}, "when_pending"),
    ({"max_pending": -1}, "max_pending"),
    ({"max_pending": 1.5}, "max_pending"),
    ({"typo": 1}, "typo"),
    ({"spells": None}, "spells"),
    ({"spells": 8}, "spells"),
    ({"spells": {}}, "spells.mean_length"),
    ({"spells": {"mean_length": 0.9}}, "spells.mean_length"),
    ({"spells": {"mean_length": 10_001}}, "spells.mean_length"),
    ({"spells": {"mean_length": "8"}}, "spells.mean_length"),
    ({"spells": {"mean_length": 8, "typo": 1}}, "spells.typo"),
    ({"phases": None}, "phases"),
    ({"phases": {}}, "phases"),
    ({"phases": [{}] * 1001}, "phases"),
    ({"phases": [{"until": 1, **DOWN}]}, "phases.0.from"),
    ({"phases": [{"from": 0, **DOWN}]}, "phases.0.until"),
    ({"phases": [{"from": -1, "until": 1, **DOWN}]}, "phases.0.from"),
    ({"phases": [{"from": 0, "until": 3.2e9, **DOWN}]}, "phases.0.until"),
    ({"phases": [{"from": 1, "until": 1, **DOWN}]}, "phases.0.until"),
    ({"phases": [{"from": 2, "until": 1, **DOWN}]}, "phases.0.until"),
    ({"phases": [{"from": 0, "until": 1}]}, "phases.0.outcomes"),
    ({"phases": [{"from": 0, "until": 1, "outcomes": []}]}, "phases.0.outcomes"),
    (
        {"phases": [{"from": 0, "until": 1, "outcomes": [{**SUCCESS, "weight": 0}]}]},
        "phases.0.outcomes",
    ),
    (
        {"phases": [{"from": 0, "until": 1, "outcomes": [{**FULL, "weight": -1}]}]},
        "phases.0.outcomes.0.weight",
    ),
    ({"phases": [{"from": 0, "until": 1, "delay": 5}]}, "phases.0.delay"),
    ({"phases": [{"from": 0, "until": 1, "typo": 5, **DOWN}]}, "phases.0.typo"),
    (
        {"phases": [{"from": 0, "until": 2, **DOWN}, {"from": 1, "until": 3, **DOWN}]},
        "phases.1.from",
    ),
    (
        {"phases": [{"from": 1, "until": 3, **DOWN}, {"from": 0, "until": 2, **DOWN}]},
        "phases.0.from",
    ),
    ({"phases": [{"from": 0, "until": 2, **DOWN}], "repeat_every": 1}, "phases.0.until"),
    ({"repeat_every": 0}, "repeat_every"),
    ({"traffic": {}}, "traffic.every"),
    ({"traffic": 60}, "traffic"),
    ({"traffic": {"every": 60}}, "traffic.every"),
    ({"traffic": {"every": None}}, "traffic.every"),
    ({"traffic": {"every": {"distribution": "constant", "seconds": -1}}}, "traffic.every.seconds"),
    ({"traffic": {"every": HOURLY, "share": 1.1}}, "traffic.share"),
    ({"traffic": {"every": HOURLY, "share": -0.1}}, "traffic.share"),
    ({"traffic": {"every": HOURLY, "share": None}}, "traffic.share"),
    ({"traffic": {"every": HOURLY, "typo": 1}}, "traffic.typo"),
    ({"repeat_every": -1}, "repeat_every"),
    ({"repeat_every": 3.2e9}, "repeat_every"),
    ({"repeat_every": "1"}, "repeat_every"),
)


async def test_a_bad_profile_is_refused_its_field_named_and_the_fleet_unchanged(
    lab: FleetLab, subtests: pytest.Subtests
) -> None:
    await lab.sync(1)
    before = [(await lab.api.get(lab.path)).json, await lab.stats()]
    for profile, field in BAD_PROFILES:
        with subtests.test(profile=profile):
            patched = await lab.api.patch(lab.path, {"profile": profile})
            patched.assert_problem(422, f"profile.{field}")
            body = {"devices": 3, "profile": profile}
            (await lab.api.put(lab.path, body)).assert_problem(422, f"profile.{field}")
            (await lab.api.put(path("other"), body)).assert_problem(422, f"profile.{field}")
    assert [(await lab.api.get(lab.path)).json, await lab.stats()] == before
    (await lab.api.get(path("other"))).assert_problem(404)


async def test_spells_and_phases_are_shown_as_they_were_given_where_they_are_used(
    lab: FleetLab,
) -> None:
    phases = [
        {"from": 3600, "until": 3660, "outcomes": [{**FULL, "weight": 1}]},
        {"from": 0, "until": 0.5, "delay": {"distribution": "constant", "seconds": 30}},
    ]
    changed = await lab.change(spells={"mean_length": 8}, phases=phases, repeat_every=86_400)
    assert changed["profile"]["spells"] == {"mean_length": 8}
    assert changed["profile"]["phases"] == phases
    assert changed["profile"]["repeat_every"] == 86_400
    # What is shown can be sent.
    assert (await lab.change(**changed["profile"]))["profile"] == changed["profile"]
    plain = await lab.change(spells={"mean_length": 1}, phases=[], repeat_every=None)
    assert not {"spells", "phases", "repeat_every"} & plain["profile"].keys()


async def test_an_advance_of_too_many_own_attempts_is_refused(lab: FleetLab) -> None:
    """Ten devices of which half sync every millisecond: 5,000 times a second."""
    await lab.clock("manual")
    every = {"distribution": "constant", "seconds": 0}
    await lab.change(traffic={"every": every, "share": 0.5})
    before = await lab.now()
    refused = await lab.api.post(f"{lab.path}/advance", {"seconds": 20_001})
    refused.assert_problem(422, "seconds")
    assert await lab.now() == before
    await lab.change(traffic=None)
    assert (await lab.api.post(f"{lab.path}/advance", {"seconds": 20_001})).status == 200


async def test_traffic_is_shown_where_there_is_some_and_ends_with_null(lab: FleetLab) -> None:
    await lab.clock("manual")
    changed = await lab.change(traffic={"every": {"distribution": "constant", "seconds": 60}})
    assert changed["profile"]["traffic"] == {
        "every": {"distribution": "constant", "seconds": 60},
        "share": 1,
    }
    assert (await lab.change(**changed["profile"]))["profile"] == changed["profile"]
    moved = await lab.advance(3600)
    assert moved["finished"] > 100
    assert (await lab.ledger())["balanced"]
    assert "traffic" not in (await lab.change(traffic=None))["profile"]
    await lab.advance(60)
    assert (await lab.advance(86_400))["finished"] == 0


async def test_a_change_that_clashes_with_phases_that_are_there_is_refused(lab: FleetLab) -> None:
    await lab.change(phases=[{"from": 0, "until": 10, **DOWN}])
    before = (await lab.api.get(lab.path)).json
    for changes in ({"repeat_every": 9}, {"repeat_every": 9, "spells": {"mean_length": 2}}):
        refused = await lab.api.patch(lab.path, {"profile": changes})
        refused.assert_problem(422, "profile.phases.0.until")
    assert (await lab.api.get(lab.path)).json["profile"] == before["profile"]
    assert (await lab.change(repeat_every=10))["profile"]["repeat_every"] == 10


async def test_a_body_that_makes_no_fleet_is_refused(admin: Api, subtests: pytest.Subtests) -> None:
    for body, field in (
        ({}, "devices"),
        ({"profile": {}}, "devices"),
        ({"devices": -1}, "devices"),
        ({"devices": 5_000_001}, "devices"),
        ({"devices": "10"}, "devices"),
        ({"devices": 10.5}, "devices"),
        ({"devices": True}, "devices"),
        ({"devices": None}, "devices"),
        ({"devices": {"device_id": 1}}, "devices"),
        ({"devices": 1, "profile": None}, "profile"),
        ({"devices": 1, "profile": []}, "profile"),
        ({"devices": 1, "name": "new"}, "name"),
        ({"devices": 1, "clock": {"mode": "manual"}}, "clock"),
        ({"devices": [1]}, "devices.0"),
        ({"devices": [None]}, "devices.0"),
        ({"devices": [[]]}, "devices.0"),
        ({"devices": [{}]}, "devices.0.device_id"),
        ({"devices": [{"device_id": 1}, {"device_id": 1}]}, "devices"),
        ({"devices": [{"device_id": 2}, {"device_id": 1}, {"device_id": 2}]}, "devices"),
        ({"devices": [{"device_id": 1, "attempt": 1}]}, "devices.0.attempt"),
    ):
        with subtests.test(body=body):
            (await admin.put(path("new"), body)).assert_problem(422, field)
    (await admin.get(path("new"))).assert_problem(404)


# Devices that are listed

# What is given, and what it makes; ... is the moment at which the fleet was made.
AGREEING: tuple[tuple[Json, tuple[Any, ...]], ...] = (
    ({}, (..., 200, None, ...)),
    ({"sync_status_code": 200}, (..., 200, None, ...)),
    ({"error_message": None}, (..., 200, None, ...)),
    ({"last_sync_at": EARLY}, (EARLY, 200, None, EARLY)),
    ({"last_attempt_at": EARLY}, (EARLY, 200, None, EARLY)),
    ({"last_sync_at": EARLY, "last_attempt_at": EARLY}, (EARLY, 200, None, EARLY)),
    (
        {"last_sync_at": EARLY, "sync_status_code": 200, "error_message": None},
        (EARLY, 200, None, EARLY),
    ),
    (FULL, (None, 400, "Storage Full", ...)),
    ({**FULL, "last_sync_at": None}, (None, 400, "Storage Full", ...)),
    ({**FULL, "last_sync_at": EARLY}, (EARLY, 400, "Storage Full", ...)),
    ({**FULL, "last_attempt_at": EARLY}, (None, 400, "Storage Full", EARLY)),
    (
        {**FULL, "last_sync_at": EARLY, "last_attempt_at": LATE},
        (EARLY, 400, "Storage Full", LATE),
    ),
    (
        {**FULL, "last_sync_at": LATE, "last_attempt_at": LATE},
        (LATE, 400, "Storage Full", LATE),
    ),
    (
        {**FULL, "last_sync_at": None, "last_attempt_at": LATE},
        (None, 400, "Storage Full", LATE),
    ),
    ({**FULL, "last_sync_at": FUTURE}, (FUTURE, 400, "Storage Full", FUTURE)),
    ({"sync_status_code": 404, "error_message": "x" * 200}, (None, 404, "x" * 200, ...)),
    (TIMEOUT, (None, 500, "Connection Timeout", ...)),
)
DISAGREEING: tuple[tuple[Json, str], ...] = (
    ({"device_id": 0}, "device_id"),
    ({"device_id": -1}, "device_id"),
    ({"device_id": 2**53}, "device_id"),
    ({"device_id": "1"}, "device_id"),
    ({"device_id": True}, "device_id"),
    ({"device_id": None}, "device_id"),
    ({"sync_status_code": 202}, "sync_status_code"),
    ({"sync_status_code": 201}, "sync_status_code"),
    ({"sync_status_code": None}, "sync_status_code"),
    ({"sync_status_code": "200"}, "sync_status_code"),
    ({"sync_status_code": 500}, "error_message"),
    ({"sync_status_code": 500, "error_message": None}, "error_message"),
    ({"sync_status_code": 500, "error_message": ""}, "error_message"),
    ({"sync_status_code": 500, "error_message": "x" * 201}, "error_message"),
    ({"sync_status_code": 200, "error_message": "no"}, "error_message"),
    ({"error_message": "no"}, "error_message"),
    ({"last_sync_at": None}, "last_sync_at"),
    ({"last_sync_at": None, "last_attempt_at": EARLY}, "last_sync_at"),
    ({"last_sync_at": EARLY, "last_attempt_at": LATE}, "last_sync_at"),
    ({"last_sync_at": LATE, "last_attempt_at": EARLY}, "last_sync_at"),
    ({**FULL, "last_sync_at": LATE, "last_attempt_at": EARLY}, "last_sync_at"),
    ({"last_attempt_at": None}, "last_attempt_at"),
    ({**FULL, "last_attempt_at": None}, "last_attempt_at"),
    ({"last_attempt_at": 1_763_800_000}, "last_attempt_at"),
    ({"last_attempt_at": "now-2"}, "last_attempt_at"),
    ({"last_attempt_at": "now+2h"}, "last_attempt_at"),
    ({"last_attempt_at": "now-2h "}, "last_attempt_at"),
    ({"last_attempt_at": "now-800000d"}, "last_attempt_at"),
    ({"last_sync_at": "now-2y"}, "last_sync_at"),
    ({"last_sync_at": "now-999999999999w"}, "last_sync_at"),
    ({"last_sync_at": "now-9999999999999s"}, "last_sync_at"),
    # A success has one time.
    ({"last_sync_at": "now-2h", "last_attempt_at": "now-1h"}, "last_sync_at"),
    ({"last_sync_at": "now-2h", "last_attempt_at": EARLY}, "last_sync_at"),
    ({"last_sync_at": EARLY, "last_attempt_at": "now"}, "last_sync_at"),
    # And a failure no sync after it, be it at a later reset.
    ({**FULL, "last_sync_at": "now", "last_attempt_at": "now-1s"}, "last_sync_at"),
    ({**FULL, "last_sync_at": "now-59m", "last_attempt_at": "now-1h"}, "last_sync_at"),
    ({**FULL, "last_sync_at": FUTURE, "last_attempt_at": "now"}, "last_sync_at"),
    ({**FULL, "last_sync_at": "now-2h", "last_attempt_at": FUTURE}, "last_sync_at"),
)
# What relative times make: seconds before the moment from which they are taken.
RELATIVE: tuple[tuple[Json, tuple[int | str | None, int]], ...] = (
    ({"last_sync_at": "now"}, (0, 0)),
    ({"last_sync_at": "now-90s"}, (90, 90)),
    ({"last_attempt_at": "now-15m"}, (900, 900)),
    ({"last_sync_at": "now-120m", "last_attempt_at": "now-2h"}, (7_200, 7_200)),
    ({**FULL, "last_sync_at": "now-7d"}, (604_800, 0)),
    ({**FULL, "last_sync_at": "now-4w", "last_attempt_at": "now-7d"}, (2_419_200, 604_800)),
    ({**FULL, "last_attempt_at": "now-2h"}, (None, 7_200)),
    ({**FULL, "last_sync_at": EARLY_1970, "last_attempt_at": "now-2h"}, (EARLY_1970, 7_200)),
)


async def test_fields_that_agree_make_a_device_and_the_rest_follows(
    admin: Api, subtests: pytest.Subtests
) -> None:
    for given, made in AGREEING:
        with subtests.test(given=given):
            body = {"devices": [{"device_id": 7, **given}, {"device_id": 9}]}
            assert (await admin.put(path("new"), body)).status in (200, 201)
            device, other = (await admin.on("new").get("/devices")).json
            moment = other["last_attempt_at"]
            at = tuple(moment if each is ... else each for each in made)
            assert tuple(device.values()) == (7, *at)


async def test_relative_times_are_taken_from_the_clock_anew_at_each_reset(
    new_lab: MakeFleetLab,
) -> None:
    listed = [{"device_id": each, **fields} for each, (fields, _) in enumerate(RELATIVE, 1)]
    lab = await new_lab(devices=listed, mode="manual")
    for _ in range(2):
        started = parse((await lab.devices())[0]["last_attempt_at"])
        found = [
            (each["last_sync_at"], parse(each["last_attempt_at"])) for each in await lab.devices()
        ]
        assert found == [
            (
                render(started - synced * SECOND) if isinstance(synced, int) else synced,
                started - attempted * SECOND,
            )
            for _, (synced, attempted) in RELATIVE
        ]
        await lab.sync_all()
        await lab.reset()
        # The clock is back at the wall clock, and does not stand still.
        again = parse((await lab.devices())[0]["last_attempt_at"])
        assert started < again <= parse(await lab.now())


async def test_a_sync_that_would_come_to_be_after_its_attempt_is_told_why(admin: Api) -> None:
    times = {"last_sync_at": "now-2h", "last_attempt_at": LATE}
    answer = await admin.put(path("new"), {"devices": [{"device_id": 1, **FULL, **times}]})
    assert answer.json["errors"] == {
        "devices.0.last_sync_at": [
            "Must not be relative, since last_attempt_at is not: a later reset would take it past"
            " that."
        ]
    }


async def test_one_id_with_different_times_is_refused(admin: Api) -> None:
    times: Sequence[Json] = ({}, {"last_sync_at": EARLY}, {"last_sync_at": "now"})
    body = {"devices": [{"device_id": 1, **each} for each in times]}
    (await admin.put(path("new"), body)).assert_problem(422, "devices")


async def test_fields_that_disagree_are_named(admin: Api, subtests: pytest.Subtests) -> None:
    for given, field in DISAGREEING:
        with subtests.test(given=given):
            body = {"devices": [{"device_id": 5}, {"device_id": 7, **given}]}
            answer = await admin.put(path("new"), body)
            answer.assert_problem(422, f"devices.1.{field}")
    (await admin.get(path("new"))).assert_problem(404)


async def test_several_bad_devices_are_named_at_once(admin: Api) -> None:
    devices = [{"device_id": each} for each in range(1, 3_001)]
    devices[1_500]["device_id"] = devices[1_501]["device_id"] = 0
    answer = await admin.put(path("new"), {"devices": devices})
    answer.assert_problem(422, "devices.1500.device_id", "devices.1501.device_id")


async def test_fields_that_disagree_are_named_beside_a_field_that_is_wrong(admin: Api) -> None:
    late = {**FULL, "last_sync_at": "now-1h", "last_attempt_at": "now-2h"}
    devices = [{"device_id": 1, "last_sync_at": "now-1y"}, {"device_id": 2, **late}]
    for listed in (devices, devices[::-1]):
        answer = await admin.put(path("new"), {"devices": listed})
        answer.assert_problem(422, "devices.0.last_sync_at", "devices.1.last_sync_at")
        assert answer.json["message"].startswith("2 fields")


async def test_a_long_list_of_bad_devices_has_a_short_answer(admin: Api) -> None:
    answer = await admin.put(path("new"), {"devices": [1] * 100_000})
    assert answer.status == 422
    assert len(answer.body) < 100_000


async def test_listed_devices_sync_like_others(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=[{"device_id": 10**15, **FULL, "last_attempt_at": EARLY}])
    started = await lab.sync(10**15)
    assert started.headers["Pisync-Attempt"] == "1"
    await lab.settle()
    assert (await lab.device(10**15))["last_sync_at"] == started.json["last_attempt_at"]
    await lab.reset()
    assert (await lab.device(10**15))["last_attempt_at"] == EARLY


async def test_an_empty_fleet_is_a_fleet(new_lab: MakeFleetLab) -> None:
    empty: list[int | list[Json]] = [0, []]
    for devices in empty:
        lab = await new_lab(devices=devices)
        assert await lab.devices() == []
        assert (await lab.stats())["devices"] == 0
        assert await lab.sync_all() == {"started": 0, "joined": 0, "refused": 0, "not_found": []}
        assert (await lab.settle())["finished"] == 0
        await lab.reset()
        assert (await lab.ledger())["balanced"]


async def test_what_replaces_a_fleet_takes_nothing_over(lab: FleetLab) -> None:
    await lab.script(1, {**FULL, "delay": 0}, HOLD)
    await lab.sync(1)
    await lab.settle()
    await lab.sync(1)
    await lab.sync_all()
    made = await lab.api.put(lab.path, {"devices": 4, "profile": {"delay": DELAY_NONE}})
    assert made.status == 200
    assert made.json["clock"]["mode"] == "real"
    assert [each["sync_status_code"] for each in await lab.devices()] == [200] * 4
    assert await lab.errors() == []
    ledger = await lab.ledger()
    assert (ledger["accepted"], ledger["pending"], ledger["held"]) == (0, 0, 0)
    assert (await lab.sync(1)).headers["Pisync-Attempt"] == "1"
    await lab.finished()


DELAY_NONE = {"distribution": "constant", "seconds": 0}


# Changing


async def test_a_patch_changes_what_it_names_and_nothing_else(lab: FleetLab) -> None:
    before = (await lab.api.get(lab.path)).json["profile"]
    changes: tuple[Json, ...] = (
        {"seed": 8},
        {"outcomes": [{**TIMEOUT, "weight": 2}]},
        {"delay": {"distribution": "uniform", "min": 1, "max": 2}},
        {"when_pending": "refuse"},
        {"max_pending": 3},
        {"seed": 9, "max_pending": 4},
        {},
    )
    expected = dict(before)
    for change in changes:
        answer = await lab.api.patch(lab.path, {"profile": change})
        assert answer.status == 200
        expected |= change
        assert answer.json["profile"] == expected
        assert answer.json == (await lab.api.get(lab.path)).json
        assert answer.json["seed"] == expected["seed"]


async def test_a_patch_is_for_attempts_that_start_from_now_on(lab: FleetLab) -> None:
    await lab.sync(1)
    await lab.change(outcomes=[{**TIMEOUT, "weight": 1}], delay={**DELAY_NONE, "seconds": 3})
    await lab.sync(2)
    assert (await lab.advance(3))["finished"] == 1
    assert (await lab.device(2))["sync_status_code"] == 500
    assert (await lab.device(1))["sync_status_code"] == 202
    assert (await lab.advance(7))["finished"] == 1
    assert (await lab.device(1))["sync_status_code"] == 200


async def test_a_patch_without_a_profile_is_refused(lab: FleetLab) -> None:
    for body, field in (
        ({}, "profile"),
        ({"profile": None}, "profile"),
        ({"profile": 1}, "profile"),
        ({"profile": {}, "devices": 3}, "devices"),
    ):
        (await lab.api.patch(lab.path, body)).assert_problem(422, field)


# Deleting


async def test_a_deleted_fleet_is_gone_with_its_pending_syncs(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(mode="real", delay={**DELAY_NONE, "seconds": 0.05})
    await lab.sync_all()
    answer = await lab.api.delete(lab.path)
    assert (answer.status, answer.body) == (204, b"")
    for call in (lab.api.get(lab.path), lab.api.get("/devices"), lab.sync(1)):
        (await call).assert_problem(404)
    (await lab.api.delete(lab.path)).assert_problem(404)
    again = await new_lab(mode="real")
    await asyncio.sleep(0.1)
    stats = await again.stats()
    assert (stats["attempts"], stats["succeeded"], stats["pending"]) == (0, 0, 0)


async def test_the_default_fleet_can_not_be_deleted(admin: Api) -> None:
    before = (await admin.get("/devices")).json
    (await admin.delete(path("default"))).assert_problem(409)
    assert (await admin.get("/devices")).json == before


# Resetting


async def test_a_reset_takes_a_fleet_back_to_its_first_state(new_lab: MakeFleetLab) -> None:
    devices = [
        {"device_id": 1},
        {"device_id": 2, **FULL, "last_sync_at": EARLY},
        {"device_id": 3, **TIMEOUT, "last_attempt_at": EARLY},
    ]
    lab = await new_lab(devices=devices, outcomes=[{**TIMEOUT, "weight": 1}])
    first = await lab.devices()
    await lab.script(3, HOLD)
    for _ in range(3):
        await lab.sync_all()
        await lab.advance(100)
    await lab.reset()
    assert await lab.devices() == first
    assert await lab.errors() == []
    assert (await lab.api.get(lab.path)).json["clock"]["mode"] == "real"
    ledger = await lab.ledger()
    lateness = ledger.pop("lateness")
    assert ledger == {
        "accepted": 0,
        "joined": 0,
        "refused": 0,
        "succeeded": 0,
        "failed": {},
        "pending": 0,
        "held": 0,
        "error_logs": 0,
        "faults": {"before": {}, "after": {}},
        "balanced": True,
    }
    assert lateness == {"p50": 0, "p99": 0, "max": 0}
    await lab.clock("manual")
    assert (await lab.sync(1)).headers["Pisync-Attempt"] == "1"
    await lab.settle()
    (log,) = await lab.errors()
    assert log["error_id"] == 1


async def test_a_reset_of_the_default_fleet_brings_its_error_logs_back(admin: Api) -> None:
    lab = FleetLab(admin, path("default"))
    first = [await lab.devices(), await lab.errors(), await lab.stats()]
    await lab.change(outcomes=[{**TIMEOUT, "weight": 1}], delay=DELAY_NONE)
    await lab.sync_all()
    await lab.finished()
    assert await lab.stats() != first[2]
    await lab.reset()
    assert [await lab.devices(), await lab.errors(), await lab.stats()] == first


async def test_a_reset_keeps_the_profile_as_it_is_now(lab: FleetLab) -> None:
    changed = (await lab.change(seed=99, max_pending=5))["profile"]
    await lab.reset()
    assert (await lab.api.get(lab.path)).json["profile"] == changed


async def test_a_reset_ends_scripts(lab: FleetLab) -> None:
    await lab.script(1, {**TIMEOUT, "sticky": True})
    await lab.reset()
    await lab.clock("manual")
    await lab.sync(1)
    await lab.settle()
    assert (await lab.device(1))["sync_status_code"] == 200


async def test_nothing_that_was_pending_at_a_reset_finishes_or_is_counted_later(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(
        devices=400,
        mode="real",
        outcomes=[{**TIMEOUT, "weight": 1}],
        delay={"distribution": "uniform", "min": 0, "max": 0.05},
    )

    async def keep_syncing(first: int) -> None:
        while True:
            for device_id in range(first, 401, 8):
                await lab.sync(device_id)

    for _ in range(5):
        clients = [asyncio.create_task(keep_syncing(first)) for first in range(1, 9)]
        bulk = asyncio.create_task(lab.api.post("/devices/sync", {"all": True}))
        await asyncio.sleep(0.03)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        await bulk
        assert (await lab.stats())["attempts"] > 0
        await lab.reset()
        assert (await lab.stats())["attempts"] == 0
        await asyncio.sleep(0.06)
        stats = await lab.stats()
        assert stats["by_status"]["200"] == 400
        assert (stats["pending"], stats["attempts"], stats["failed"]) == (0, 0, 0)
        assert await lab.errors() == []


async def test_a_reset_in_the_midst_of_syncs_leaves_no_half_counted_state(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(
        devices=1_000, mode="real", delay={"distribution": "uniform", "min": 0, "max": 0.02}
    )
    for _ in range(3):
        await asyncio.gather(
            lab.api.post("/devices/sync", {"all": True}),
            lab.reset(),
            *(lab.sync(each) for each in range(1, 50)),
            lab.reset(),
            lab.api.post("/devices/sync", {"status": [200]}),
        )
        await lab.finished()
        stats, ledger = await lab.stats(), await lab.ledger()
        assert ledger["balanced"]
        assert ledger["accepted"] == stats["attempts"] == stats["succeeded"]
        assert stats["by_status"]["200"] == 1_000


async def test_resets_at_once_all_happen(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=2_000)
    await lab.sync_all()
    await asyncio.gather(*(lab.reset() for _ in range(20)))
    assert (await lab.stats())["pending"] == 0


async def test_a_profile_that_changes_during_a_reset_stays_changed(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=200_000)
    for seed in range(100, 105):
        resetting = asyncio.create_task(lab.reset())
        await lab.change(seed=seed)
        await resetting
        assert (await lab.api.get(lab.path)).json["seed"] == seed


async def test_what_moves_a_clock_does_not_reach_a_fleet_that_is_reset_meanwhile(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(devices=3_000, outcomes=[{**TIMEOUT, "weight": 1}])
    await lab.sync_all()
    calls = [
        asyncio.create_task(lab.api.post(f"{lab.path}/{call}", body))
        for call, body in (
            ("advance", {"seconds": 5}),
            ("advance", {"seconds": 5}),
            ("settle", None),
        )
    ]
    await asyncio.sleep(0.01)
    await lab.reset()
    for answer in await asyncio.gather(*calls):
        assert answer.status in (200, 409)
    assert await lab.errors() == []
    assert (await lab.stats())["attempts"] == 0
    assert (await lab.api.get(lab.path)).json["clock"]["mode"] == "real"


async def test_a_clock_that_waits_for_a_move_is_not_set_on_a_fleet_that_is_deleted_meanwhile(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(devices=40_000)
    await lab.sync_all()
    moving = asyncio.create_task(lab.api.post(f"{lab.path}/settle"))
    while (await lab.stats())["pending"] == 40_000:
        pass
    setting = asyncio.create_task(lab.api.put(f"{lab.path}/clock", {"mode": "manual"}))
    await asyncio.sleep(0.01)
    assert (await lab.api.delete(lab.path)).status == 204
    answer = await setting
    assert (answer.status, answer.json) == (404, {"message": "There is no such fleet."})
    assert "409" not in DOCUMENT["paths"]["/admin/fleets/{fleet}/clock"]["put"]["responses"]
    assert (await moving).status == 409


async def test_a_clock_that_waits_for_a_move_is_set_on_the_fleet_that_a_reset_leaves(
    new_lab: MakeFleetLab,
) -> None:
    lab = await new_lab(devices=40_000)
    await lab.sync_all()
    moving = asyncio.create_task(lab.api.post(f"{lab.path}/settle"))
    while (await lab.stats())["pending"] == 40_000:
        pass
    setting = asyncio.create_task(lab.api.put(f"{lab.path}/clock", {"mode": "manual"}))
    await asyncio.sleep(0.01)
    assert (await lab.api.post(f"{lab.path}/reset")).status == 204
    assert (await setting).status == 200
    assert (await moving).status == 409
    assert (await lab.api.get(lab.path)).json["clock"]["mode"] == "manual"


# The limit of all devices


async def test_what_all_fleets_together_may_hold_is_422_beyond_it(
    lab: FleetLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab.api.client.app is not None
    budgets = {each.bound.name: each for each in lab.api.client.app[keys.STORE].budgets}
    steps = budgets["script_steps"]
    monkeypatch.setattr(steps, "bound", steps.bound._replace(size=2))
    step = {"sync_status_code": 500, "error_message": "Connection Timeout"}
    await lab.script(1, step, step)
    path = "/admin/fleets/lab/devices/2/script"
    answer = (await lab.api.on(None).put(path, [step])).assert_problem(422)
    assert answer.json == {
        "message": "All fleets together may have at most 2 steps of scripts, and outcomes and"
        " phases of profiles beyond ten each."
    }


async def test_devices_of_all_fleets_together_are_limited(make_api: MakeApi) -> None:
    admin = (await make_api(max_devices=30)).as_("devices", "admin")
    assert (await admin.put(path("a"), {"devices": 20})).status == 201
    refused = await admin.put(path("b"), {"devices": 1})
    refused.assert_problem(422, "devices")
    assert "30" in refused.json["errors"]["devices"][0]
    (await admin.put(path("b"), {"devices": [{"device_id": 1}]})).assert_problem(422, "devices")
    (await admin.get(path("b"))).assert_problem(404)
    # A fleet's own devices make room for those that replace them.
    assert (await admin.put(path("a"), {"devices": 20})).status == 200
    (await admin.put(path("a"), {"devices": 21})).assert_problem(422, "devices")
    assert (await admin.get(path("a"))).json["devices"] == 20
    assert (await admin.put(path("a"), {"devices": 19})).status == 200
    assert (await admin.put(path("b"), {"devices": 1})).status == 201
    assert (await admin.delete(path("a"))).status == 204
    assert (await admin.put(path("c"), {"devices": 19})).status == 201


async def test_fleets_made_at_once_are_limited_together(make_api: MakeApi) -> None:
    admin = (await make_api(max_devices=100_010)).as_("devices", "admin")
    answers = await asyncio.gather(
        *(admin.put(path(f"f{number}"), {"devices": 40_000}) for number in range(8))
    )
    made = [answer for answer in answers if answer.status == 201]
    assert {answer.status for answer in answers} == {201, 422}
    assert 1 <= len(made) <= 2
    fleets = (await admin.get("/admin/fleets")).json
    assert sum(fleet["devices"] for fleet in fleets) == 40_000 * len(made) + 10
