import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
import jwt
import orjson
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from pisync import keys
from pisync.auth.accounts import Accounts
from pisync.auth.passwords import Passwords
from pisync.auth.tokens import Tokens
from pisync.concurrency.reception import ReceptionRoom
from pisync.config.texts import LoginFailures
from pisync.telemetry.metrics import Metrics
from pisync.web.handlers.accounts import (
    login,
    register,
)
from pisync.web.pipeline.middleware import (
    RequestObserver,
    observe,
)
from tests.conftest import SETTINGS, Answer, Api, MakeApi, ManualTime

RIGHT, WRONG = "correct horse", "incorrect horse"
pytestmark = pytest.mark.one_way

JSON = {"Content-Type": "application/json"}


def given(username: object = "Alice", password: object = RIGHT) -> dict[str, object]:
    return {"username": username, "password": password}


async def statuses_at_once(api: Api, path: str, bodies: Iterable[object]) -> list[int]:
    """Post all bodies at once, each on a connection of its own."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.timeout(40):

        async def post(body: object) -> int:
            async with session.post(api.client.make_url(path), json=body) as response:
                return response.status

        return await asyncio.gather(*map(post, bodies))


def claims_of(answer: Answer) -> dict[str, Any]:
    assert SETTINGS.jwt_secret
    return jwt.decode(answer.json["token"], SETTINGS.jwt_secret, ["HS256"], issuer="pisync")


# Registering


async def test_registering_answers_201_with_a_token_that_opens_the_devices(api: Api) -> None:
    answer = await api.post("/register", given())
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json == {
        "message": "User registered successfully.",
        "token": answer.json["token"],
    }
    claims = claims_of(answer)
    assert (claims["sub"], claims["scopes"]) == ("Alice", ["devices"])
    assert claims["exp"] - claims["iat"] == 3600
    assert claims.keys() == {"sub", "scopes", "iss", "iat", "exp"}
    bearer = {"Authorization": f"Bearer {answer.json['token']}"}
    assert (await api.get("/devices", headers=bearer)).status == 200
    assert (await api.get("/admin/fleets", headers=bearer)).status == 403


async def test_a_taken_name_is_409_whatever_the_case(api: Api) -> None:
    await api.post("/register", given("Alice"))
    for name in ("Alice", "alice", "ALICE", "admin", "Admin", "ADMIN"):
        answer = await api.post("/register", given(name, "another password"))
        answer.assert_problem(409)


async def test_of_two_hundred_who_register_one_name_at_once_exactly_one_does(api: Api) -> None:
    bodies = [given(("alice", "Alice")[n % 2], f"password {n}") for n in range(200)]
    statuses = await statuses_at_once(api, "/register", bodies)
    assert (statuses.count(201), statuses.count(409)) == (1, 199)


@pytest.mark.parametrize(
    "username", ["abc", "a" * 64, "A.b_c-d", "0ab", "9--", "a..", "Alice.Cooper_1948-x"]
)
async def test_names_within_the_rule_are_taken(api: Api, username: str) -> None:
    assert (await api.post("/register", given(username))).status == 201
    assert claims_of(await api.post("/login", given(username.upper())))["sub"] == username


@pytest.mark.parametrize(
    "username",
    [
        *["", "ab", "a" * 65, ".abc", "-abc", "_abc", "a bc", "abc ", "abc\n", "ab/c", "abc@x"],
        *["abc\0", "äbc", "ab\N{KELVIN SIGN}", "\N{FULLWIDTH LATIN SMALL LETTER A}bc", "ab٣"],
        *[None, 123, True, ["abc"], {"a": "b"}],
    ],
)
async def test_other_names_are_422_and_the_field_is_named(api: Api, username: object) -> None:
    answer = await api.post("/register", given(username))
    answer.assert_problem(422, "username")


@pytest.mark.parametrize(
    "password",
    ["x" * 8, "x" * 72, "é" * 36, "🔑" * 18, "pass word\t\n", "\N{KELVIN SIGN}elvin's!", "é" * 8],
)
async def test_passwords_within_the_rule_work(api: Api, password: str) -> None:
    assert (await api.post("/register", given("alice", password))).status == 201
    assert (await api.post("/login", given("alice", password))).status == 200
    assert (await api.post("/login", given("alice", password[:-1]))).status == 401
    assert (await api.post("/login", given("alice", password + "x"))).status == 401


@pytest.mark.parametrize(
    "password",
    [
        *["", "x" * 7, "é" * 7, "x" * 73, "é" * 36 + "x", "🔑" * 19, "x" * 60_000],
        *["pass\0word", "\0" * 8, None, 12345678, True, ["correct horse"]],
    ],
)
async def test_other_passwords_are_422_and_the_field_is_named(api: Api, password: object) -> None:
    answer = await api.post("/register", given("alice", password))
    answer.assert_problem(422, "password")
    assert (await api.post("/register", given("alice"))).status == 201


@pytest.mark.parametrize("path", ["/register", "/login"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"username": "alice"}, "password"),
        ({"password": RIGHT}, "username"),
        ({**given(), "admin": True}, "admin"),
        ({**given(), "scopes": ["admin"]}, "scopes"),
        (given(username=7), "username"),
        (given(password=7), "password"),
    ],
)
async def test_a_field_too_few_or_too_many_or_of_another_type_is_422(
    api: Api, path: str, body: Mapping[str, object], field: str
) -> None:
    answer = await api.post(path, body)
    answer.assert_problem(422, field)


@pytest.mark.parametrize("path", ["/register", "/login"])
@pytest.mark.parametrize("field", ["username", "password"])
async def test_a_lone_surrogate_gets_a_clear_answer(api: Api, path: str, field: str) -> None:
    body = orjson.dumps({**given(), field: "SURROGATE"}).replace(b"SURROGATE", b"alice\\ud800")
    answer = await api.call("POST", path, data=body, headers=JSON)
    assert answer.status in (400, 422)
    assert "message" in answer.json


# Logging in


async def test_logging_in_answers_200_with_a_token_in_the_name_as_first_registered(
    api: Api,
) -> None:
    await api.post("/register", given("Alice"))
    for name in ("Alice", "alice", "ALICE"):
        answer = await api.post("/login", given(name))
        assert answer.status == 200
        assert answer.json == {"message": "Login successful.", "token": answer.json["token"]}
        assert claims_of(answer)["sub"] == "Alice"


async def test_the_admin_logs_in_with_both_scopes(api: Api) -> None:
    answer = await api.post("/login", given("admin", SETTINGS.admin_password))
    assert answer.status == 200
    assert (claims_of(answer)["sub"], claims_of(answer)["scopes"]) == (
        "admin",
        ["devices", "admin"],
    )


async def test_all_that_is_wrong_gets_the_same_bytes(make_api: MakeApi) -> None:
    api = await make_api(login_failures=None)
    await api.post("/register", given("alice"))
    answers = set()
    for name, password in (
        ("alice", WRONG),
        ("ALICE", WRONG),
        ("nobody", RIGHT),
        ("admin", RIGHT),
        ("", ""),
        ("alice", "x" * 73),
        ("alice", "x" * 30_000),
        ("alice", "\0"),
        ("alice\0", RIGHT),
        ("x" * 30_000, RIGHT),
        ("a\N{KELVIN SIGN}", RIGHT),
        ("alice", "🐴"),
    ):
        answer = await api.post("/login", given(name, password))
        told = {(k, v) for k, v in answer.headers.items() if k not in ("Date", "X-Request-ID")}
        answers.add((answer.status, answer.body, frozenset(told)))
    ((status, body, headers),) = answers
    assert (status, body) == (401, b'{"message":"Invalid username or password."}')
    assert ("WWW-Authenticate", "Bearer") in headers


# Too many failures


async def test_after_too_many_failures_it_is_429_until_the_window_has_passed(
    make_api: MakeApi,
) -> None:
    time = ManualTime()
    api = await make_api(time=time)
    await api.post("/register", given("alice"))
    for _ in range(10):
        assert (await api.post("/login", given("alice", WRONG))).status == 401
    time.pass_seconds(17.5)
    for password in (RIGHT, WRONG):
        answer = await api.post("/login", given("alice", password))
        answer.assert_problem(429)
        assert answer.headers["Retry-After"] == "43"
    time.pass_seconds(42.4)
    assert (await api.post("/login", given("alice"))).status == 429
    time.pass_seconds(0.1)
    assert (await api.post("/login", given("alice"))).status == 200


async def test_of_a_hundred_wrong_guesses_at_once_ten_are_tried_and_the_rest_are_429(
    make_api: MakeApi,
) -> None:
    time = ManualTime()
    api = await make_api(time=time)
    await api.post("/register", given("alice"))
    guesses = [given("alice", f"{WRONG} {n}") for n in range(100)]
    statuses = await statuses_at_once(api, "/login", guesses)
    assert (statuses.count(401), statuses.count(429)) == (10, 90)
    assert (await api.post("/login", given("alice"))).status == 429
    time.pass_seconds(60)
    assert (await api.post("/login", given("alice"))).status == 200


async def test_fifty_good_logins_at_once_are_all_200(api: Api) -> None:
    await api.post("/register", given("alice"))
    assert await statuses_at_once(api, "/login", [given("alice")] * 50) == [200] * 50


async def test_a_limit_can_be_set_or_switched_off(make_api: MakeApi) -> None:
    strict = await make_api(login_failures=LoginFailures(1, 3600))
    lax = await make_api(login_failures=None)
    assert [(await strict.post("/login", given())).status for _ in range(2)] == [401, 429]
    assert [(await lax.post("/login", given())).status for _ in range(30)] == [401] * 30


async def test_addresses_are_told_apart_behind_a_trusted_proxy_alone(make_api: MakeApi) -> None:
    from_env = SETTINGS.from_env({"PISYNC_TRUSTED_PROXIES": "127.0.0.0/8"})
    trusting = await make_api(trusted_proxies=from_env.trusted_proxies)
    wary = await make_api()
    for api, status_of_another_client in ((trusting, 401), (wary, 429)):
        for number in range(10):
            headers = {"X-Forwarded-For": f"198.51.100.{number}, 192.0.2.1"}
            answer = await api.post("/login", given(f"nobody{number}"), headers=headers)
            assert answer.status == 401
        for client, status in (("192.0.2.1", 429), ("192.0.2.2", status_of_another_client)):
            headers = {"X-Forwarded-For": client}
            assert (await api.post("/login", given("nobody"), headers=headers)).status == status


# Under load


async def test_when_too_many_passwords_wait_it_is_503_with_retry_after(
    aiohttp_client: AiohttpClient, api: Api
) -> None:
    metrics = Metrics()
    passwords = Passwords(10, metrics, threads=1, max_waiting=0)
    app = web.Application(middlewares=[observe(RequestObserver(metrics, access_log=False))])
    app[keys.SETTINGS] = SETTINGS
    app[keys.METRICS] = metrics
    app[keys.BODIES] = ReceptionRoom(1024 * 1024)
    app[keys.TOKENS] = Tokens("a secret that only tests know, long enough", 3600)
    assert api.client.app
    app[keys.ACCOUNTS] = Accounts(api.client.app[keys.STORE], passwords, (10, 60))
    app.router.add_post("/register", register)
    app.router.add_post("/login", login)
    small = Api(await aiohttp_client(app))
    for path, good in (("/register", 201), ("/login", 401)):
        answers = await asyncio.gather(
            *(small.post(path, given(f"{path[1:]}{n}")) for n in range(5))
        )
        assert sorted(answer.status for answer in answers) == [good, 503, 503, 503, 503]
        busy = next(answer for answer in answers if answer.status == 503)
        busy.assert_problem(503)
        assert int(busy.headers["Retry-After"]) >= 1
    passwords.close()


async def test_logins_are_counted_by_how_they_ended(make_api: MakeApi) -> None:
    api = await make_api(login_failures=LoginFailures(2, 60))
    await api.post("/register", given("alice"))
    for password in (RIGHT, WRONG, WRONG, WRONG):
        await api.post("/login", given("alice", password))
    metrics = (await api.get("/metrics")).body.decode()
    for outcome, count in (("ok", 1), ("wrong", 2), ("throttled", 1)):
        assert f'pisync_logins_total{{outcome="{outcome}"}} {count}.0' in metrics
    hashes = 1 + 3 + 1  # registered, logged in, and the admin
    assert f"pisync_bcrypt_duration_seconds_count {hashes}.0" in metrics


async def test_no_password_is_kept_or_logged(
    api: Api, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/register", "/login", "/login", "/nothing"):
        await api.post(path, given("alice", RIGHT))
        await api.post(path, given("alice", WRONG))
    assert api.client.app
    account = await api.client.app[keys.STORE].accounts.find("alice")
    assert account is not None
    written = repr(account) + caplog.text + "".join(capsys.readouterr())
    assert RIGHT not in written
    assert WRONG not in written
