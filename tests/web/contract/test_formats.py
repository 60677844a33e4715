"""What queries and paths may look like, and what answers look like."""

import re
from itertools import chain
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from pisync.web.routes import ROUTES
from tests.conftest import Answer, Api
from tests.support.fleet_lab import (
    SUCCESS,
    TIMEOUT,
    FleetLab,
    MakeFleetLab,
    next_page,
)

FLEET = "/admin/fleets/lab"
JSON = {"Content-Type": "application/json"}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)

# Queries

SAMPLES = {"fleet": "lab", "device_id": "1", "username": "alice"}


def _path(template: str) -> str:
    return re.sub(r"{(\w+):(?:[^{}]|{[^{}]*})*}", lambda match: SAMPLES[match[1]], template)


async def test_an_unknown_query_parameter_is_named_by_every_call(
    lab: FleetLab, subtests: pytest.Subtests
) -> None:
    for route in ROUTES:
        with subtests.test(method=route.method, path=route.path):
            answer = await lab.api.call(route.method, _path(route.path), params={"typo": "1"})
            assert answer.status == 422
            assert "typo" in answer.json["errors"]


BAD_QUERIES = {
    "/devices?limit": (
        "0",
        "1001",
        "-1",
        "",
        "1.0",
        "x",
        "%D9%A7",
        "1_0",
        "%201",
        "+1",
        "1%00",
        "07",
    ),
    "/devices?after": ("-1", "", "x", "1e3", "00", "%2B1", "9" * 16, "9" * 400),
    "/devices?status": ("", "201", "400,", ",", "400;500", "0400", "400,%20500", "[400]", "ok"),
    "/errors?limit": ("0", "1001", "NaN", "0x10"),
    "/errors?before": ("-1", "", "x", "9" * 16),
    "/errors?device_id": ("0", "-1", "", "x", "9" * 16),
    "/errors?status": ("", "200", "201", "202", "400,", "0400", "400,%20500", "%2B400", "x"),
    f"{FLEET}/forecast?device_id=1&attempts": ("0", "1001", "-1", "", "1.0"),
    f"{FLEET}/forecast?device_id=1&from": ("0", "-1", "", "x", "9" * 16),
    f"{FLEET}/forecast?device_id": ("0", "-1", "", "x", "9" * 16),
}


async def test_a_bad_query_parameter_is_named(lab: FleetLab, subtests: pytest.Subtests) -> None:
    for query, values in BAD_QUERIES.items():
        for value in values:
            with subtests.test(query=query, value=value):
                url: Any = URL(f"{query}={value}", encoded=True)
                name = re.split("[?&]", query)[-1]
                (await lab.api.get(url)).assert_problem(422, name)


async def test_a_forecast_names_its_device(lab: FleetLab) -> None:
    (await lab.api.get(f"{lab.path}/forecast")).assert_problem(422, "device_id")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/devices?limit=1&limit=1", "limit"),
        ("/devices?limit=1&LIMIT=2&limit=3", "limit"),
        ("/errors?before=9&limit=1&before=9", "before"),
        (f"{FLEET}/forecast?device_id=1&device_id=1", "device_id"),
        (f"{FLEET}/forecast?device_id=1&from=1&from=2", "from"),
    ],
)
async def test_a_query_parameter_that_comes_twice_is_named(
    lab: FleetLab, path: str, name: str
) -> None:
    (await lab.api.get(path)).assert_problem(422, name)


@pytest.mark.parametrize("path", ["/stats?x&x", "/devices?x=1&limit=1&x=2", "/errors?x[]=1&x[]=2"])
async def test_an_unknown_query_parameter_is_called_unknown_even_if_repeated(
    lab: FleetLab, path: str
) -> None:
    answer = await lab.api.get(path)
    assert answer.status == 422
    assert list(answer.json["errors"].values()) == [["Unknown field."]]


@pytest.mark.parametrize(
    "query",
    [
        "status=400,500",
        "status=400%2C500",
        "status=400&status=500",
        "status=400,500&status=400",
        "status[]=400&status[]=500",
        "status%5B%5D=400&status%5B%5D=500",
    ],
    ids=["commas", "encoded", "requests and hey-api", "both", "axios", "axios, encoded"],
)
async def test_a_list_in_a_query_is_taken_as_libraries_write_it(lab: FleetLab, query: str) -> None:
    failed = {**TIMEOUT, "sync_status_code": 400}, {**TIMEOUT, "sync_status_code": 404}, TIMEOUT
    for device_id, outcome in enumerate(failed, start=1):
        await lab.script(device_id, outcome)
        await lab.sync(device_id)
    await lab.settle()
    for path in ("/devices", "/errors"):
        url: Any = URL(f"{path}?{query}", encoded=True)
        page = await lab.api.get(url)
        assert page.status == 200, page.body
        assert {each["device_id"] for each in page.json} == {1, 3}
        first: Any = URL(f"{path}?{query}&limit=1", encoded=True)
        link = next_page(await lab.api.get(first))
        assert link is not None
        assert link.query["status"] == "400,500"


async def test_the_parameter_that_libraries_add_against_caches_is_ignored(lab: FleetLab) -> None:
    for path in ("/devices?_=1763800000000", "/stats?_=1&_=2", f"{lab.path}?_", "/livez?_=1"):
        assert (await lab.api.get(path)).status == 200


async def test_a_cursor_may_be_0(lab: FleetLab) -> None:
    assert len((await lab.api.get("/devices?after=0")).json) == 10
    await lab.script(1, TIMEOUT)
    await lab.sync(1)
    await lab.settle()
    assert (await lab.api.get("/errors?before=0")).json == []


async def test_a_fleet_without_a_name_is_not_there(lab: FleetLab) -> None:
    (await lab.api.on("").get("/devices")).assert_problem(404)


# Timestamps

NO_TIMESTAMPS = (
    "",
    "0",
    "1763800000",
    "1763800000000000",
    "20261122074012000000",
    "2026-11-22",
    "2026-11-22T07:40Z",
    "2026-11-22T07:40:12.Z",
    "2026-11-22T07:40:12.0000000000Z",
    "2026-11-22T07:40:12.000000",
    "2026-11-22 07:40:12.000000Z",
    "2026-11-22T07:40:12,000000Z",
    "2026-11-22T07:40:12+0200",
    "2026-11-22T07:40:12+24:00",
    "20261122T074012.000000Z",
    "2026-W47-7T07:40:12.000000Z",
    "2026-326T07:40:12.000000Z",
    "+2026-11-22T07:40:12.000000Z",
    "12026-11-22T07:40:12.000000Z",
    "0000-11-22T07:40:12.000000Z",
    "2026-13-22T07:40:12.000000Z",
    "2026-02-29T07:40:12.000000Z",
    "2026-11-22T24:00:00.000000Z",
    "2026-11-22T07:40:60.000000Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    " 2026-11-22T07:40:12.000000Z",
    "2026-11-22T07:40:12.000000Z ",
    "2026-11-22T07:40:12.000000Z\n",
    "٢٠٢٦-11-22T07:40:12.000000Z",
)


async def test_what_is_no_timestamp_is_refused(admin: Api, subtests: pytest.Subtests) -> None:
    for text in NO_TIMESTAMPS:
        with subtests.test(text):
            (await admin.get("/errors", params={"since": text})).assert_problem(422, "since")
            for field in ("last_sync_at", "last_attempt_at"):
                body = {"devices": [{"device_id": 1, field: text}]}
                answer = await admin.put("/admin/fleets/other", body)
                answer.assert_problem(422, f"devices.0.{field}")
    (await admin.get("/admin/fleets/other")).assert_problem(404)


SENT_TIMESTAMPS = {
    "JavaScript": ("2026-11-22T07:40:12.123Z", "2026-11-22T07:40:12.123000Z"),
    "Python": ("2026-11-22T07:40:12.123456+00:00", "2026-11-22T07:40:12.123456Z"),
    "Python, whole": ("2026-11-22T07:40:12+00:00", "2026-11-22T07:40:12.000000Z"),
    "Go and Java": ("2026-11-22T07:40:12.123456789Z", "2026-11-22T07:40:12.123456Z"),
    "Go, elsewhere": ("2026-11-22T09:40:12.5+02:00", "2026-11-22T07:40:12.500000Z"),
    "lower case": ("2026-11-22t07:40:12z", "2026-11-22T07:40:12.000000Z"),
}


@pytest.mark.parametrize(("sent", "shown"), SENT_TIMESTAMPS.values(), ids=SENT_TIMESTAMPS)
async def test_a_timestamp_is_taken_as_other_languages_write_it(
    new_lab: MakeFleetLab, sent: str, shown: str
) -> None:
    lab = await new_lab(devices=[{"device_id": 1, **TIMEOUT, "last_attempt_at": sent}])
    assert (await lab.device(1))["last_attempt_at"] == shown
    assert (await lab.api.get("/errors", params={"since": sent})).status == 200


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00.000000Z",
        "0999-12-31T23:59:59.999999Z",
        "1969-12-31T23:59:59.999999Z",
        "2024-02-29T00:00:00.000001Z",
        "2026-11-22T07:40:12.000000Z",
        "9999-12-31T23:59:59.999999Z",
    ],
)
async def test_a_timestamp_comes_back_as_it_was_given(new_lab: MakeFleetLab, text: str) -> None:
    lab = await new_lab(devices=[{"device_id": 1, "last_sync_at": text}])
    device = await lab.device(1)
    assert device["last_sync_at"] == device["last_attempt_at"] == text


def _timestamps(value: Any) -> list[str]:
    """All texts within a JSON value that begin as a timestamp does."""
    if isinstance(value, dict):
        return [each for below in value.values() for each in _timestamps(below)]
    if isinstance(value, list):
        return [each for below in value for each in _timestamps(below)]
    return [value] if isinstance(value, str) and re.match(r"\d{4}-", value) else []


async def test_timestamps_always_have_six_digits_and_a_z(new_lab: MakeFleetLab) -> None:
    whole = "2026-11-22T07:40:12.000000Z"
    lab = await new_lab(devices=[{"device_id": 1, "last_sync_at": whole}, {"device_id": 2}])
    await lab.script(2, {**TIMEOUT, "delay": 1})
    await lab.sync(2)
    moved = await lab.advance(1)
    paths = ("/devices", "/devices/1", "/errors", "/admin/fleets", lab.path)
    seen = [_timestamps((await lab.api.get(path)).json) for path in paths]
    assert [len(each) for each in seen] == [4, 2, 1, 2, 1]
    clock = await lab.clock("manual")
    for text in [*chain(*seen), moved["now"], clock["now"]]:
        assert TIMESTAMP.fullmatch(text)


# Paths


NO_IDS = (
    *("0", "00", "007", "-7", "+7", "7.0", "7e0", "0x7", "1_0", "seven"),
    *("10000000000000000", "99999999999999999999"),
    *("%D9%A7", "%EF%BC%97"),  # digits, but not ASCII
    *("7%0A", "7%20", "%207", "7%00", "7%2F", "7;x", "*", "%2A", "7,8"),
)


async def test_only_digits_without_a_zero_in_front_are_an_id(
    lab: FleetLab, subtests: pytest.Subtests
) -> None:
    for device_id in NO_IDS:
        for method, path, body in (
            ("GET", f"/devices/{device_id}", None),
            ("POST", f"/devices/{device_id}/sync", None),
            ("PUT", f"{lab.path}/devices/{device_id}/script", [SUCCESS]),
            ("DELETE", f"{lab.path}/devices/{device_id}/script", None),
            ("POST", f"{lab.path}/devices/{device_id}/release", SUCCESS),
        ):
            with subtests.test(method=method, path=path):
                url: Any = URL(path, encoded=True)
                (await lab.api.call(method, url, json=body)).assert_problem(404)


@pytest.mark.parametrize("device_id", [11, 2**53 - 1, 2**53, 9_999_999_999_999_999])
async def test_an_id_that_no_device_has_is_404(lab: FleetLab, device_id: int) -> None:
    (await lab.api.get(f"/devices/{device_id}")).assert_problem(404)
    (await lab.sync(device_id)).assert_problem(404)
    script = f"{lab.path}/devices/{device_id}/script"
    (await lab.api.put(script, [SUCCESS])).assert_problem(404)
    (await lab.api.delete(script)).assert_problem(404)
    (await lab.release(device_id)).assert_problem(404)


async def test_the_largest_id_is_a_device_like_others(new_lab: MakeFleetLab) -> None:
    largest = 2**53 - 1
    lab = await new_lab(devices=[{"device_id": 1}, {"device_id": largest}])
    started = await lab.sync(largest)
    assert started.json["device_id"] == largest
    await lab.settle()
    assert (await lab.device(largest))["sync_status_code"] == 200
    assert [each["device_id"] for each in await lab.devices()] == [1, largest]
    assert len(await lab.forecast(largest, 3)) == 3


@pytest.mark.parametrize(
    "path", ["/nowhere", "/devices/", "/Devices", "/devices/7/", "/admin", "/admin/"]
)
async def test_a_path_that_is_not_there_is_404(admin: Api, path: str) -> None:
    url: Any = URL(path, encoded=True)
    (await admin.call("GET", url)).assert_problem(404)


# If-None-Match


@pytest.mark.parametrize(
    ("lines", "is_known"),
    [
        (['"other"', "@"], True),
        (["@", '"other"'], True),
        (['"other", W/@'], True),
        (['"other"', "*"], False),
        (['"*"'], False),
        (["*"], True),
        (['"other"', '"another"'], False),
    ],
)
@pytest.mark.parametrize(
    "path", ["/devices", "/devices/1", "/docs", "/openapi.json", "/fleets.schema.json"]
)
async def test_if_none_match_is_one_list_over_all_its_lines(
    user: Api, path: str, lines: list[str], is_known: bool
) -> None:
    tag = (await user.get(path)).headers["ETag"]
    headers: Any = CIMultiDict(("If-None-Match", line.replace("@", tag)) for line in lines)
    headers["Authorization"] = f"Bearer {user.token}"
    async with user.client.get(path, headers=headers) as response:
        assert response.status == (304 if is_known else 200)


async def test_a_page_with_another_link_or_count_has_another_tag(new_lab: MakeFleetLab) -> None:
    lab = await new_lab(devices=3)
    tags = [(await lab.api.get(f"/devices?limit={limit}")).headers["ETag"] for limit in (3, 4)]
    assert tags[0] == tags[1]
    before = await lab.api.get("/devices?limit=2")
    await lab.api.put(lab.path, {"devices": 4, "profile": {"seed": 7}})
    listed = [{**device, "device_id": device["device_id"]} for device in before.json]
    await lab.api.put(lab.path, {"devices": [*listed, {"device_id": 9}, {"device_id": 10}]})
    after = await lab.api.get("/devices?limit=2", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status == 200
    assert after.json == before.json
    assert after.headers["X-Total-Count"] == "4"


# Methods

GETS = (
    "/",
    "/docs",
    "/openapi.json",
    "/livez",
    "/readyz",
    "/devices",
    "/devices?limit=3&status=200",
    "/devices/7",
    "/devices/99",
    "/devices?limit=0",
    "/errors?limit=1",
    "/stats",
    "/nowhere",
    "/devices/7/sync",
    "/admin/fleets",
    FLEET,
    f"{FLEET}/ledger",
    f"{FLEET}/forecast?device_id=1",
)


@pytest.mark.parametrize("path", GETS)
async def test_head_has_the_headers_of_get_and_no_body(lab: FleetLab, path: str) -> None:
    admin = lab.api.on(None)
    as_it_is = {"Accept-Encoding": "identity"}
    got = await admin.get(path, headers=as_it_is)
    head = await admin.call("HEAD", path, headers=as_it_is)
    assert head.status == got.status
    assert head.body == b""
    assert got.body != b""
    varying = {"Date", "X-Request-ID"}

    def compared(answer: Answer) -> dict[str, str]:
        return {name: value for name, value in answer.headers.items() if name not in varying}

    assert compared(head) == compared(got)
    assert int(head.headers["Content-Length"]) == len(got.body)


async def test_head_takes_a_token_as_get_does(api: Api) -> None:
    answer = await api.call("HEAD", "/devices")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/devices", {"GET", "HEAD"}),
        ("/devices/7", {"GET", "HEAD"}),
        ("/devices/sync", {"POST"}),
        ("/devices/7/sync", {"POST"}),
        ("/errors", {"GET", "HEAD"}),
        ("/stats", {"GET", "HEAD"}),
        ("/admin/fleets", {"GET", "HEAD"}),
        (FLEET, {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
        (f"{FLEET}/reset", {"POST"}),
        (f"{FLEET}/clock", {"PUT"}),
        (f"{FLEET}/advance", {"POST"}),
        (f"{FLEET}/settle", {"POST"}),
        (f"{FLEET}/ledger", {"GET", "HEAD"}),
        (f"{FLEET}/forecast", {"GET", "HEAD"}),
        (f"{FLEET}/devices/1/script", {"PUT", "DELETE"}),
        (f"{FLEET}/devices/1/release", {"POST"}),
    ],
)
async def test_another_method_is_405_and_told_which_are_allowed(
    admin: Api, path: str, allowed: set[str]
) -> None:
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed
    for method in sorted(methods):
        answer = await admin.call(method, path)
        assert answer.status == 405, method
        assert set(re.split(r",\s*", answer.headers["Allow"])) == allowed
        if method != "HEAD":
            answer.assert_problem(405)


async def test_options_without_a_token_is_401(api: Api) -> None:
    for path in ("/devices", "/devices/7/sync", "/admin/fleets", "/nowhere"):
        (await api.call("OPTIONS", path)).assert_problem(401)


# Answers


async def test_every_error_has_the_one_shape(api: Api, lab: FleetLab) -> None:
    user, admin = api.as_("devices"), lab.api
    (await api.get("/devices")).assert_problem(401)
    (await user.get("/admin/fleets")).assert_problem(403)
    (await user.get("/devices/99")).assert_problem(404)
    (await user.on("nobody-made-me").get("/devices")).assert_problem(404)
    (await user.get("/nowhere")).assert_problem(404)
    (await user.post("/devices")).assert_problem(405)
    (await lab.release(1)).assert_problem(409)
    (await user.post("/devices/sync", data=b" " * 300_000, headers=JSON)).assert_problem(413)
    (await user.post("/devices/sync", data=b"{}")).assert_problem(415)
    (await user.post("/devices/sync", data=b"{", headers=JSON)).assert_problem(400)
    (await user.post("/devices/sync", {"all": False})).assert_problem(422, "all")
    await lab.change(max_pending=0)
    busy = (await lab.sync(1)).assert_problem(503)
    assert int(busy.headers["Retry-After"]) >= 1
    (await admin.delete("/admin/fleets/default")).assert_problem(409)


async def test_an_answer_without_content_claims_none(lab: FleetLab) -> None:
    answer = await lab.api.post(f"{lab.path}/reset")
    assert (answer.status, answer.body) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert "Content-Length" not in answer.headers
