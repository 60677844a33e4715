"""A fleet's base URL means the same as the header, and never another fleet."""

from urllib.parse import urljoin

import pytest
from yarl import URL

from pisync.web.contract.rendering import relative
from tests.conftest import Answer, Api, MakeApi
from tests.support.fleet_lab import FULL, FleetLab, MakeFleetLab
from tests.support.raw_connection import raw_connection

JSON = {"Content-Type": "application/json"}
CREDENTIALS = {"username": "alice", "password": "correct horse"}
READS = (
    "/devices",
    "/devices?limit=3&after=2",
    "/devices?status=200",
    "/devices?limit=0",
    "/devices/7",
    "/devices/99",
    "/errors?limit=2",
    "/stats",
    "/stats?x=1",
)


@pytest.fixture
async def suite(new_lab: MakeFleetLab) -> FleetLab:
    """A fleet whose clock stands, in which all devices have failed twice."""
    lab = await new_lab("suite", outcomes=[{**FULL, "weight": 1}])
    for _ in range(2):
        await lab.sync_all()
        await lab.settle()
    return lab


def seen(answer: Answer) -> object:
    """What a client sees of an answer, wherever its references lead from."""
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("Date", "X-Request-ID", "Link", "Location")
    }
    return answer.status, headers, answer.body


def reference(answer: Answer, name: str) -> str:
    """Return where a header leads to, from the URL of the request."""
    value: str = answer.headers[name].removeprefix("<").partition(">")[0]
    return urljoin(str(answer.response.url), value)


@pytest.mark.parametrize("path", READS)
async def test_a_read_is_the_one_that_the_header_asks_for(
    suite: FleetLab, user: Api, path: str
) -> None:
    by_header = await user.on("suite").get(path)
    assert seen(await user.get(f"/fleets/suite{path}")) == seen(by_header)
    assert seen(await user.on("suite").get(f"/fleets/suite{path}")) == seen(by_header)
    tag = by_header.headers.get("ETag")
    if tag is not None:
        known = {"If-None-Match": tag}
        assert (await user.get(f"/fleets/suite{path}", headers=known)).status == 304


async def test_syncs_are_made_below_it(suite: FleetLab, user: Api) -> None:
    answer = await user.post("/fleets/suite/devices/7/sync")
    assert (answer.status, answer.headers["Pisync-Attempt"]) == (202, "3")
    bulk = await user.post("/fleets/suite/devices/sync", {"device_ids": [6, 7]})
    assert bulk.json == {"started": 1, "joined": 1, "refused": 0, "not_found": []}
    assert (await suite.stats())["pending"] == 2
    assert (await user.get("/stats")).json["pending"] == 0


async def test_references_stay_below_it(suite: FleetLab, user: Api) -> None:
    home = user.client.make_url("/fleets/suite")
    synced = await user.post("/fleets/suite/devices/7/sync")
    assert reference(synced, "Location") == f"{home}/devices/7"
    for path, length in (("/devices?limit=4", 10), ("/errors?limit=7&status=400", 20)):
        found = 0
        url = f"{home}{path}"
        while url:
            answer = await user.get(str(URL(url).relative()))
            assert answer.status == 200
            found += len(answer.json)
            url = reference(answer, "Link") if "Link" in answer.headers else ""
            assert url.startswith(str(home)) or not url
        assert found == length


@pytest.mark.parametrize("when", ["before", "after"])
async def test_references_stay_below_it_in_an_answer_with_a_fault(
    suite: FleetLab, user: Api, when: str
) -> None:
    drip = {"kind": "drip", "bytes": 50, "every": 0}
    rule = {"calls": ["sync"], "share": 1, "fault": drip, "when": when}
    made = await suite.api.put(f"{suite.path}/faults", [rule])
    assert made.status in (200, 204), made.body
    synced = await user.post("/fleets/suite/devices/7/sync")
    assert (synced.status, synced.headers["Pisync-Fault"]) == (202, "drip")
    home = user.client.make_url("/fleets/suite")
    if "Location" in synced.headers or when == "after":
        assert reference(synced, "Location") == f"{home}/devices/7"


async def test_references_without_it_are_paths_as_before(lab: FleetLab, user: Api) -> None:
    page = await user.on("lab").get("/devices?limit=4")
    assert page.headers["Link"] == '</devices?limit=4&after=4>; rel="next"'
    synced = await user.on("lab").post("/devices/7/sync")
    assert synced.headers["Location"] == "/devices/7"


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("/devices", "/devices?after=7", "devices?after=7"),
        ("/devices/7/sync", "/devices/7", "../../devices/7"),
    ],
)
def test_a_reference_leads_from_any_place_to_the_same(
    path: str, target: str, expected: str
) -> None:
    assert relative(target, path) == expected
    for home in ("http://a/fleets/x", "http://a/tools/pisync/fleets/x", "http://x.example"):
        assert urljoin(home + path, expected) == home + target


async def test_accounts_are_made_and_used_below_it(suite: FleetLab, api: Api) -> None:
    made = await api.post("/fleets/suite/register", CREDENTIALS)
    assert made.status == 201
    entered = await api.post("/fleets/suite/login", CREDENTIALS)
    assert entered.status == 200
    someone = Api(api.client, entered.json["token"])
    # It is the account's token as any other: the base URL binds none to the fleet.
    assert (await someone.get("/stats")).json["attempts"] == 0
    changed = await someone.post(
        "/fleets/suite/password",
        {"password": CREDENTIALS["password"], "new_password": "battery staple"},
    )
    assert changed.status == 200
    assert (await Api(api.client, changed.json["token"]).get("/fleets/suite/stats")).json[
        "attempts"
    ] == 20


async def test_the_new_token_of_a_bound_one_is_bound_as_well(suite: FleetLab, api: Api) -> None:
    await api.post("/register", CREDENTIALS)
    bound = api.as_("devices", name="alice", fleet="suite")
    changed = await bound.post(
        "/password", {"password": CREDENTIALS["password"], "new_password": "battery staple"}
    )
    someone = Api(api.client, changed.json["token"])
    assert (await someone.get("/stats")).json["attempts"] == 20
    (await someone.on("default").get("/stats")).assert_problem(403)


async def test_its_calls_take_head_and_options_as_theirs_do(suite: FleetLab, user: Api) -> None:
    head = await user.call("HEAD", "/fleets/suite/devices")
    assert (head.status, head.body, head.headers["X-Total-Count"]) == (200, b"", "10")
    nobody = Api(user.client)
    options = await nobody.call("OPTIONS", "/fleets/suite/login")
    assert (options.status, options.headers["Allow"]) == (204, "OPTIONS, POST")
    (await nobody.call("OPTIONS", "/fleets/suite/devices")).assert_problem(401)
    refused = await user.call("DELETE", "/fleets/suite/devices/7")
    refused.assert_problem(405)
    assert set(refused.headers["Allow"].split(",")) == {"GET", "HEAD"}


NOT_THERE = (
    "/fleets",
    "/fleets/",
    "/fleets/suite",
    "/fleets/suite//",
    "/fleets/suite/devices/",
    "/fleets/suite//devices",
    "/fleets//suite/devices",
    "//fleets/suite/devices",
    "/fleets//devices",
    "/fleets/suite%2Fdevices",
    "/fleets/suite%2fdevices",
    "/fleets%2Fsuite/devices",
    "/fleets/suite/devices%2F7",
    "/fleets/%73uite/devices",
    "/fleets/suite/%64evices",
    "/%66leets/suite/devices",
    "/fleets/suite%00/devices",
    "/fleets/suite%20/devices",
    "/fleets/./suite/devices",
    "/fleets/suite/./devices",
    "/fleets/suite/../devices",
    "/fleets/other/../suite/devices",
    "/fleets/other/%2e%2e/suite/devices",
    "/fleets/../devices",
    "/fleets/Suite/devices",
    "/fleets/-suite/devices",
    "/fleets/suite;x/devices",
    "/fleets/{fleet}/devices",
    f"/fleets/{'s' * 64}/devices",
    "/fleets/suite/devices/007",
    "/fleets/suite/admin/fleets",
    "/fleets/suite/admin/fleets/suite",
    "/fleets/suite/admin/fleets/suite/ledger",
    "/fleets/suite/admin/accounts",
    "/fleets/suite/metrics",
    "/fleets/suite/openapi.json",
    "/fleets/suite/docs",
    "/fleets/suite/livez",
    "/fleets/suite/readyz",
    "/fleets/suite/dashboard/app.js",
    "/fleets/suite/fleets/suite/devices",
    "/fleets/suite/fleets/other/devices",
    "/fleets/suite/fleets/suite/",
    "/admin/fleets/suite/devices",
)


async def test_a_path_of_any_other_form_is_404_and_without_a_token_401(
    new_lab: MakeFleetLab, admin: Api
) -> None:
    await new_lab("suite")
    await new_lab("other")
    port = admin.client.port
    assert port
    for path in NOT_THERE:
        for authorization, status in ((f"Authorization: Bearer {admin.token}\r\n", 404), ("", 401)):
            async with raw_connection(port) as connection:
                await connection.send(
                    f"GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n".encode()
                )
                answer = await connection.answer()
            assert answer.status == status, (path, answer.body)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/devices"),
        ("GET", "/devices/7"),
        ("GET", "/errors"),
        ("GET", "/stats"),
        ("GET", "/events"),
        ("POST", "/devices/7/sync"),
        ("POST", "/register"),
        ("POST", "/login"),
        ("POST", "/password"),
    ],
)
async def test_an_unknown_fleet_is_404(user: Api, method: str, path: str) -> None:
    (await user.call(method, f"/fleets/missing{path}")).assert_problem(404)


async def test_an_account_is_not_made_below_an_unknown_fleet(api: Api) -> None:
    (await api.post("/fleets/missing/register", CREDENTIALS)).assert_problem(404)
    (await api.post("/login", CREDENTIALS)).assert_problem(401)


async def test_calls_below_it_are_the_same_calls_in_metrics(suite: FleetLab, user: Api) -> None:
    for path in ("/devices/7", "/"):
        assert (await user.get(f"/fleets/suite{path}")).status == 200
    metrics = (await user.get("/metrics")).body.decode()
    for route in ("/devices/{device_id}", "/"):
        assert f'pisync_requests_total{{method="GET",route="{route}",status="200"}} 1.0' in metrics
    assert "/fleets/{fleet}/" not in metrics.replace("/admin/fleets", "")


async def test_the_dashboard_is_there_and_refers_to_its_files_further_up(
    suite: FleetLab, api: Api
) -> None:
    page = await api.get("/fleets/suite/")
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    ours, root = page.body.decode(), (await api.get("/")).body.decode()
    assert ours.replace("../../", "") == root
    assert ours.count("../../") == root.count('href="') + root.count('src="')
    tag = page.headers["ETag"]
    assert (await api.get("/fleets/suite/", headers={"If-None-Match": tag})).status == 304


async def test_a_browsers_page_of_another_origin_may_call_it(make_api: MakeApi) -> None:
    api = await make_api(cors_origins=("https://app.example",))
    origin = {"Origin": "https://app.example"}
    asked = await api.call(
        "OPTIONS",
        "/fleets/default/devices",
        headers={**origin, "Access-Control-Request-Method": "GET"},
    )
    assert asked.status == 204
    read = await api.as_("devices").get("/fleets/default/devices", headers=origin)
    assert read.headers["Access-Control-Allow-Origin"] == "https://app.example"
