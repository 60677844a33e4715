import asyncio
import json
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from hmac import digest

import jwt
import orjson
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from aiohttp.typedefs import Handler
from multidict import CIMultiDict
from pytest_aiohttp.plugin import AiohttpClient

from pisync import keys
from pisync.auth.tokens import (
    Claims,
    Tokens,
)
from pisync.telemetry.metrics import Metrics
from pisync.web.pipeline.auth import Guard, guarding
from pisync.web.pipeline.middleware import (
    RequestObserver,
    observe,
)
from tests.support.raw_connection import (
    capture_logs,
    raw_connection,
)

SECRET = "a secret that only tests know, long enough"
Client = TestClient[web.Request, web.Application]
NOW = int(time.time())
GOOD: Mapping[str, object] = {
    "iss": "pisync",
    "sub": "Alice",
    "scopes": ["devices"],
    "iat": NOW,
    "exp": NOW + 3600,
}


class CountingTokens(Tokens):
    """Counts the tokens that no memory answered for."""

    verified = 0

    def accept(self, token: str, payload: object) -> Claims:
        self.verified += 1
        return super().accept(token, payload)


async def say_open(_: web.Request) -> web.Response:
    return web.json_response("open")


async def say_who(request: web.Request) -> web.Response:
    claims = request[keys.CLAIMS]
    return web.json_response([claims.subject, sorted(claims.scopes), claims.expires_at])


async def say_admin(_: web.Request) -> web.Response:
    return web.json_response("admin")


async def forgotten(_: web.Request) -> web.Response:
    return web.json_response("nobody said who may call this")


@pytest.fixture
def tokens() -> CountingTokens:
    return CountingTokens(SECRET, 3600)


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, tokens: CountingTokens) -> Client:
    access: dict[Handler, str | None] = {say_open: None, say_who: "devices", say_admin: "admin"}
    app = web.Application(
        middlewares=[
            observe(RequestObserver(Metrics(), access_log=False)),
            guarding(Guard(tokens), access, lambda _: None),
        ]
    )
    app.router.add_post("/login", say_open)
    app.router.add_get("/login-admin", say_who)
    app.router.add_get("/devices", say_who)
    app.router.add_get("/admin", say_admin)
    app.router.add_get("/forgotten", forgotten)
    return await aiohttp_client(app)


def signed(payload: object, header: object = None, *, secret: str = SECRET) -> str:
    """A token that is signed as it should be, whatever it holds."""
    header = header or {"alg": "HS256", "typ": "JWT"}
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)
    ]
    signing_input = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = digest(secret.encode(), signing_input, sha256)
    return b".".join([signing_input, urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def assert_refused(response: ClientResponse, challenge: str) -> None:
    """It is a 401 in the one shape; a challenge without a description allows any."""
    assert response.status == 401
    [sent] = response.headers.getall("WWW-Authenticate")
    if "error_description" not in challenge:
        sent = sent.partition(", error_description=")[0]
    assert sent == challenge
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    body = orjson.loads(await response.read())
    assert list(body) == ["message"]
    assert "Traceback" not in body["message"]


NO_TOKEN = "Bearer"
BAD_TOKEN = 'Bearer error="invalid_token"'


# Who may call what


async def test_a_good_token_opens_what_its_scope_says(client: Client, tokens: Tokens) -> None:
    response = await client.get("/devices", headers=bearing(tokens.issue("Alice", ["devices"])))
    assert response.status == 200
    subject, scopes, expires_at = await response.json()
    assert (subject, scopes) == ("Alice", ["devices"])
    assert 3590 < expires_at - time.time() <= 3600


@pytest.mark.parametrize("authorization", [None, "Bearer x", "Basic x"])
async def test_an_open_call_takes_no_token_and_minds_none(
    client: Client, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    assert (await client.post("/login", headers=headers)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/login-admin",
        "/login/",
        "//login",
        "/login/x",
        "/login%2Fx",
        "/login%2F..%2Fdevices",
        "/login;x",
        "/login%0A",
        "/login%00",
        "/Login",
        "/login.",
        "/loginx",
        "/x/login",
        "/devices?x=/login",
        "/devices#/login",
        "/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "OPTIONS", "PROPFIND"])
async def test_a_path_that_resembles_an_open_one_is_not_open(
    client: Client, method: str, path: str
) -> None:
    assert client.port is not None
    async with raw_connection(client.port) as connection:
        await connection.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = await connection.answer(head=method == "HEAD")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == NO_TOKEN


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/login/", 404),
        ("GET", "/login", 405),
        ("DELETE", "/devices", 405),
        ("OPTIONS", "/devices", 405),
        ("OPTIONS", "/login", 405),
        ("OPTIONS", "/nothing", 404),
        ("GET", "/forgotten", 200),
    ],
)
async def test_what_is_not_in_the_table_takes_a_token_before_its_own_answer(
    client: Client, tokens: Tokens, method: str, path: str, status: int
) -> None:
    await assert_refused(await client.request(method, path), NO_TOKEN)
    await assert_refused(await client.request(method, path, headers=bearing("x.y.z")), BAD_TOKEN)
    good = bearing(tokens.issue("Alice", []))
    for _ in range(2):  # verified, then remembered
        assert (await client.request(method, path, headers=good)).status == status


@pytest.mark.parametrize(
    "scopes",
    [
        None,
        [],
        ["admin"],
        "devices",
        "admin devices",
        ["Devices"],
        ["devices", 1],
        {"devices": True},
    ],
)
async def test_a_token_without_the_scope_is_403_and_told_which(
    client: Client, scopes: object
) -> None:
    headers = bearing(signed({**GOOD, "scopes": scopes}))
    for _ in range(2):
        response = await client.get("/devices", headers=headers)
        assert response.status == 403
        assert (await response.json()) == {"message": "The token lacks the scope devices."}
        assert response.headers["WWW-Authenticate"] == (
            'Bearer error="insufficient_scope", scope="devices"'
        )


async def test_scopes_do_not_include_one_another(client: Client, tokens: Tokens) -> None:
    for scopes, devices, admin in (
        (["devices"], 200, 403),
        (["admin"], 403, 200),
        (["admin", "devices"], 200, 200),
    ):
        headers = bearing(tokens.issue("Alice", scopes))
        assert (await client.get("/devices", headers=headers)).status == devices
        assert (await client.get("/admin", headers=headers)).status == admin


# The Authorization header


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer   "])
async def test_the_scheme_is_bearer_whatever_the_case(
    client: Client, tokens: Tokens, scheme: str
) -> None:
    headers = {"Authorization": scheme + tokens.issue("Alice", ["devices"])}
    assert (await client.get("/devices", headers=headers)).status == 200


@pytest.mark.parametrize(
    "form",
    ["", "Bearer", "Bearer ", "{}", "Basic {}", "BearerX {}", "XBearer {}", "Bearer:{}", "JWT {}"],
)
async def test_any_other_scheme_is_no_token(client: Client, tokens: Tokens, form: str) -> None:
    headers = {"Authorization": form.format(tokens.issue("Alice", ["devices"]))}
    await assert_refused(await client.get("/devices", headers=headers), NO_TOKEN)


@pytest.mark.parametrize(
    "form", ["Bearer {0} {0}", "Bearer {}, Bearer {0}", 'Bearer "{}"', "Bearer {}é"]
)
async def test_more_than_a_token_is_no_token(client: Client, tokens: Tokens, form: str) -> None:
    token = tokens.issue("Alice", ["devices"])
    headers = {"Authorization": form.replace("{}", "{0}").format(token)}
    await assert_refused(await client.get("/devices", headers=headers), BAD_TOKEN)


async def test_two_authorization_headers_are_refused(client: Client, tokens: Tokens) -> None:
    good = f"Bearer {tokens.issue('Alice', ['devices'])}"
    for pair in ((good, good), (good, "Bearer x"), ("Basic x", good)):
        headers = CIMultiDict([("Authorization", each) for each in pair])
        await assert_refused(await client.get("/devices", headers=headers), BAD_TOKEN)


@pytest.mark.parametrize(
    "bad", [b"\xff", b"x.\xff.y", b"\xc3\x28", b"\xed\xa0\x80", b"\x80\x81\x82"]
)
async def test_bytes_that_are_no_text_are_a_bad_token(client: Client, bad: bytes) -> None:
    assert client.port is not None
    async with raw_connection(client.port) as connection:
        await connection.send(
            b"GET /devices HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + bad + b"\r\n\r\n"
        )
        answer = await connection.answer()
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == BAD_TOKEN
    assert orjson.loads(answer.body) == {"message": "The token is not valid."}


# Bad tokens

NOT_FLEETS: tuple[object, ...] = (
    *(None, True, 1, 1.5, [], ["suite"], {}, "", " suite", "suite\n", "Suite", "-suite"),
    *("a_b", "a/b", "a, b", "sü", "*", "s" * 64),
)
BAD_PAYLOADS: Mapping[str, object] = {
    "no exp": {k: v for k, v in GOOD.items() if k != "exp"},
    "null exp": {**GOOD, "exp": None},
    "string exp": {**GOOD, "exp": str(NOW + 3600)},
    "boolean exp": {**GOOD, "exp": True},
    "infinite exp": {**GOOD, "exp": float("inf")},
    "NaN exp": {**GOOD, "exp": float("nan")},
    "huge exp": {**GOOD, "exp": 10**400},
    "list exp": {**GOOD, "exp": [NOW + 3600]},
    "expired": {**GOOD, "exp": NOW - 1},
    "expired long ago": {**GOOD, "exp": 0},
    "negative exp": {**GOOD, "exp": -(10**300)},
    "no iss": {k: v for k, v in GOOD.items() if k != "iss"},
    "wrong iss": {**GOOD, "iss": "somebody"},
    "list iss": {**GOOD, "iss": ["pisync"]},
    "no sub": {k: v for k, v in GOOD.items() if k != "sub"},
    "null sub": {**GOOD, "sub": None},
    "int sub": {**GOOD, "sub": 7},
    "empty sub": {**GOOD, "sub": ""},
    "from the future": {**GOOD, "iat": NOW + 3600},
    "not yet": {**GOOD, "nbf": NOW + 3600},
    "string iat": {**GOOD, "iat": "yesterday"},
    "infinite nbf": {**GOOD, "nbf": float("inf")},
    "for others": {**GOOD, "aud": "others"},
    "for several others": {**GOOD, "aud": ["others", "pisync2"]},
    "for nobody": {**GOOD, "aud": []},
    "for a nobody": {**GOOD, "aud": ""},
    "for null": {**GOOD, "aud": None},
    **{f"bound to {fleet!r:.20}": {**GOOD, "fleet": fleet} for fleet in NOT_FLEETS},
    "long sub": {**GOOD, "sub": "x" * 257},
    "control character in sub": {**GOOD, "sub": "a\nb"},
    "lone surrogate in sub": {**GOOD, "sub": "a\ud800"},
    "a list": [1],
    "a string": "pisync",
    "null": b"null",
    "no JSON": b"{",
    "bytes": b"\xff\xfe",
    "nothing": b"",
    "deep": b"[" * 3000,
    "a number of 5,000 digits": b'{"exp": ' + b"9" * 5000 + b"}",
}

BAD_HEADERS: Mapping[str, object] = {
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "another alg": {"alg": "HS512"},
    "asymmetric alg": {"alg": "RS256"},
    "lower-case alg": {"alg": "hs256"},
    "no alg": {"typ": "JWT"},
    "alg of another type": {"alg": ["HS256"]},
    "newline in crit": {"alg": "HS256", "crit": ["x\r\ny"]},
    "crit": {"alg": "HS256", "crit": ["exp"], "exp": 1},
    "empty crit": {"alg": "HS256", "crit": []},
    "b64": {"alg": "HS256", "b64": False},
    "jku": {"alg": "HS256", "jku": "https://example.org/keys"},
    "jwk": {"alg": "HS256", "jwk": {"kty": "oct", "k": "eA"}},
    "x5u": {"alg": "HS256", "x5u": "https://example.org/keys"},
    "a key id that is no string": {"alg": "HS256", "kid": 7},
    "a list": ["HS256"],
    "no JSON": b"{",
    "bytes": b"\xff\xfe",
    "newline": b'{"alg": "HS256", "\n": 1}',
}

BAD_TOKENS: Mapping[str, str] = {
    **{f"payload: {name}": signed(payload) for name, payload in BAD_PAYLOADS.items()},
    **{f"header: {name}": signed(GOOD, header) for name, header in BAD_HEADERS.items()},
    "another secret": signed(GOOD, secret="another secret that is long enough, too"),
    "no signature": jwt.encode(dict(GOOD), "", "none"),
    "signature of another": f"{signed(GOOD).rpartition('.')[0]}.{signed({}).rpartition('.')[2]}",
    "cut off": signed(GOOD)[:-1],
    "two parts": signed(GOOD).rpartition(".")[0],
    "four parts": signed(GOOD) + ".x",
    "padded": signed(GOOD) + "=",
    "dots": "..",
    "a word": "x",
    "long": "x" * 8000,
}


@pytest.fixture(params=BAD_TOKENS)
def bad_token(request: pytest.FixtureRequest) -> str:
    return BAD_TOKENS[request.param]


async def test_a_bad_token_is_401_each_time_and_anywhere(client: Client, bad_token: str) -> None:
    for method, path in (
        ("GET", "/devices"),
        ("GET", "/devices"),
        ("OPTIONS", "/devices"),
        ("GET", "/forgotten"),
        ("GET", "/nothing"),
    ):
        response = await client.request(method, path, headers=bearing(bad_token))
        await assert_refused(response, BAD_TOKEN)


async def test_a_bad_token_is_one_short_line_in_the_log_and_no_traceback(
    client: Client, bad_token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        with capture_logs() as logged:
            await client.get("/devices", headers=bearing(bad_token))
        (line,) = logged
        assert line.pop("request_id")
        assert len(line.pop("reason")) < 60
        assert line == {"event": "token refused", "log_level": "info"}
    assert [record for record in caplog.records if record.name != "aiohttp.access"] == []


async def test_a_missing_token_is_not_logged(client: Client) -> None:
    with capture_logs() as logged:
        await client.get("/devices")
    assert logged == []


# Good tokens


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256"},
        {"alg": "HS256", "kid": "a key of the caller's"},
        {"typ": "at+jwt", "alg": "HS256", "kid": ""},
    ],
)
async def test_a_token_of_a_service_that_holds_the_secret_is_good_and_its_key_id_ignored(
    client: Client, header: dict[str, str]
) -> None:
    token = jwt.encode(dict(GOOD), SECRET, "HS256", headers=header)
    assert (await client.get("/devices", headers=bearing(token))).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOW + 3600.5},
        {"aud": "pisync"},
        {"fleet": "suite-1"},
        {"fleet": "s" * 63},
        {"aud": ["others", "pisync"]},
        {"jti": "7"},
        {"extra": 1},
    ],
)
async def test_claims_may_be_more_than_are_needed(
    client: Client, change: dict[str, object]
) -> None:
    response = await client.get("/devices", headers=bearing(signed({**GOOD, **change})))
    assert response.status == 200


async def test_a_token_is_verified_once(client: Client, tokens: CountingTokens) -> None:
    headers = bearing(tokens.issue("Alice", ["devices"]))
    for _ in range(5):
        assert (await client.get("/devices", headers=headers)).status == 200
    assert tokens.verified == 1


async def test_a_token_expires_though_it_was_remembered(client: Client) -> None:
    response, headers, expires_at = await in_time(client, "exp")
    assert response.status == 200
    await sleep_until(expires_at)
    for _ in range(2):
        await assert_refused(await client.get("/devices", headers=headers), BAD_TOKEN)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_clocks_may_differ_by_30_s(client: Client, claim: str) -> None:
    in_time, too_early = (
        bearing(signed({**GOOD, claim: time.time() + seconds})) for seconds in (29, 40)
    )
    assert (await client.get("/devices", headers=in_time)).status == 200
    await assert_refused(
        await client.get("/devices", headers=too_early),
        f'{BAD_TOKEN}, error_description="{claim} lies in the future"',
    )


async def test_with_a_wrong_signature_nothing_is_said_about_the_rest(client: Client) -> None:
    token = signed({**GOOD, "exp": NOW - 1}, secret="another secret that is long enough, too")
    response = await client.get("/devices", headers=bearing(token))
    assert response.headers["WWW-Authenticate"] == BAD_TOKEN


async def in_time(client: Client, claim: str) -> tuple[ClientResponse, dict[str, str], int]:
    """Show a token before its time has come; return the answer, the token, and its time."""
    for seconds in (2, 5, 10, 20):
        its_time = int(time.time()) + seconds
        headers = bearing(signed({**GOOD, claim: its_time}))
        response = await client.get("/devices", headers=headers)
        if time.time() < its_time:
            return response, headers, its_time
    pytest.fail("this machine is too slow")


# Another secret


OLD_SECRET = "the secret that was before, just as long"


@pytest.fixture
async def rotated(aiohttp_client: AiohttpClient) -> Client:
    tokens = Tokens(SECRET, 3600, previous_secret=OLD_SECRET)
    app = web.Application(
        middlewares=[
            observe(RequestObserver(Metrics(), access_log=False)),
            guarding(Guard(tokens), {say_who: "devices"}, lambda _: None),
        ]
    )
    app.router.add_get("/devices", say_who)
    return await aiohttp_client(app)


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
async def test_tokens_of_either_secret_are_good(rotated: Client, secret: str) -> None:
    headers = bearing(signed(GOOD, secret=secret))
    for _ in range(2):
        assert (await rotated.get("/devices", headers=headers)).status == 200


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({**GOOD, "exp": NOW - 1}, "The token has expired"),
        ({**GOOD, "iat": NOW + 3600}, "iat lies in the future"),
        ({**GOOD, "nbf": NOW + 3600}, "nbf lies in the future"),
        ({**GOOD, "iss": "somebody"}, "iss is not pisync"),
        ({**GOOD, "aud": "others"}, "aud does not name pisync"),
        ({**GOOD, "fleet": None}, "fleet is not the name of a fleet"),
    ],
)
async def test_the_other_secret_excuses_nothing_and_log_and_answer_say_what_is_wrong(
    rotated: Client, secret: str, payload: object, reason: str
) -> None:
    headers = bearing(signed(payload, secret=secret))
    challenge = f'{BAD_TOKEN}, error_description="{reason}"'
    for _ in range(2):
        with capture_logs() as logged:
            await assert_refused(await rotated.get("/devices", headers=headers), challenge)
        assert [line["reason"] for line in logged] == [reason]


async def test_a_third_secret_is_good_for_nothing(rotated: Client) -> None:
    headers = bearing(signed(GOOD, secret="a third secret that is long enough, too"))
    for _ in range(2):
        await assert_refused(await rotated.get("/devices", headers=headers), BAD_TOKEN)


async def test_without_a_previous_secret_its_tokens_are_refused(client: Client) -> None:
    headers = bearing(signed(GOOD, secret=OLD_SECRET))
    await assert_refused(await client.get("/devices", headers=headers), BAD_TOKEN)


def test_the_previous_secret_signs_nothing() -> None:
    token = Tokens(SECRET, 3600, previous_secret=OLD_SECRET).issue("Alice", [])
    assert jwt.decode(token, SECRET, ["HS256"])["sub"] == "Alice"


async def sleep_until(wall_time: float) -> None:
    await asyncio.sleep(max(0.0, wall_time - time.time()) + 0.05)
