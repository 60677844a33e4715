import math
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import jwt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pisync.auth.tokens import (
    LEEWAY,
    REMEMBERED,
    Claims,
    Flaw,
    InvalidToken,
    Tokens,
    claims_of,
)
from pisync.clocks import SYSTEM_CLOCKS
from pisync.model.account import TokenRevocation
from tests.conftest import ManualTime

SECRET = "a secret that only tests know, long enough"
GOOD: Mapping[str, object] = {
    "iss": "pisync",
    "sub": "Alice",
    "scopes": ["devices"],
    "exp": 2_000_000_000,
}


@pytest.fixture
def clock() -> ManualTime:
    # PyJWT, which decodes some of the tokens here, goes by the machine's clock.
    return ManualTime(SYSTEM_CLOCKS.wall())


@pytest.fixture
def tokens(clock: ManualTime) -> Tokens:
    return Tokens(SECRET, 3600, clocks=clock)


def without(claim: str) -> dict[str, object]:
    return {name: value for name, value in GOOD.items() if name != claim}


def with_header(header: object) -> str:
    """A token with this header, whose other parts look right."""
    encoded = urlsafe_b64encode(header if isinstance(header, bytes) else orjson.dumps(header))
    return f"{encoded.decode().rstrip('=')}.e30.c2lnbmF0dXJl"


def test_a_token_says_whose_it_is_what_it_opens_and_how_long(
    tokens: Tokens, clock: ManualTime
) -> None:
    clock.wall_time += 900_000 - clock.wall_time % 1_000_000
    token = tokens.issue("Alice", ("devices", "admin"))
    now = clock.wall_time // 1_000_000
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert jwt.decode(token, SECRET, ["HS256"], issuer="pisync") == {
        "sub": "Alice",
        "scopes": ["devices", "admin"],
        "iss": "pisync",
        "iat": now,
        "exp": now + 3600,
    }


def test_a_token_may_be_given_a_life_of_its_own(tokens: Tokens) -> None:
    payload = jwt.decode(tokens.issue("ci", [], ttl=7), SECRET, ["HS256"])
    assert payload["exp"] - payload["iat"] == 7


def test_claims_are_read(tokens: Tokens) -> None:
    assert claims_of(GOOD) == Claims("Alice", frozenset({"devices"}), 2_000_000_000.0)


@pytest.mark.parametrize(
    "scopes", [None, "devices", {"devices": 1}, ["devices", 1], [["devices"]], 7, True]
)
def test_scopes_that_are_no_list_of_strings_are_none(scopes: object) -> None:
    assert claims_of({**GOOD, "scopes": scopes}).scopes == frozenset()
    assert claims_of(without("scopes")).scopes == frozenset()


@pytest.mark.parametrize(
    "payload",
    [
        *[{**GOOD, "exp": exp} for exp in (None, "2000000000", True, [2e9])],
        *[{**GOOD, "exp": exp} for exp in (math.nan, math.inf, -math.inf, 10**400)],
        *[{**GOOD, "sub": subject} for subject in (None, "", 7, True, ["Alice"])],
        *[{**GOOD, "iss": issuer} for issuer in (None, "", "Pisync", "pisync ", ["pisync"], 7)],
        *[without(claim) for claim in ("exp", "sub", "iss")],
        *[None, [], "pisync", 7],
    ],
)
def test_claims_that_are_missing_or_of_another_type_are_refused(payload: object) -> None:
    with pytest.raises(InvalidToken):
        claims_of(payload)


_TEXT = st.text("aé\0", max_size=3)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=3,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "iss": st.just("pisync") | _JSON,
            "sub": st.just("Alice") | _JSON,
            "exp": st.just(2_000_000_000) | _JSON,
            "scopes": _JSON,
        },
    )
)
def test_whatever_the_claims_they_are_good_or_refused(payload: Mapping[str, Any]) -> None:
    try:
        claims = claims_of(payload)
    except InvalidToken:
        return
    assert payload["iss"] == "pisync"
    assert claims.subject == payload["sub"] != ""
    assert math.isclose(claims.expires_at, payload["exp"], abs_tol=1)
    assert all(isinstance(scope, str) for scope in claims.scopes)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b",
        "a.b.c.d",
        "..",
        "eyJhbGciOiJIUzI1NiJ9.e30.",
        "eyJhbGciOiJIUzI1NiJ9.e30.c2ln=",
        "eyJhbGciOiJIUzI1NiJ9.e3 0.c2ln",
        "eyJhbGciOiJIUzI1NiJ9.e30.c2ln\n",
        "eyJhbGciOiJIUzI1NiJ9.e30.c2lné",
        "eyJhbGciOiJIUzI1NiJ9.e30.c2ln\udcff",
        f"eyJhbGciOiJIUzI1NiJ9.e30.{'c' * 8192}",
        "a.e30.c2ln",
        with_header(b"not JSON"),
        with_header(b"\xff\xff\xff"),
        with_header(["alg", "HS256"]),
        with_header("HS256"),
        with_header({}),
        *[
            with_header({"alg": alg})
            for alg in ("none", "None", "hs256", "HS512", "RS256", None, 1)
        ],
        with_header({"alg": ["HS256"]}),
        *[
            with_header({"alg": "HS256", extra: "x"})
            for extra in ("jku", "jwk", "x5u", "x5c", "crit", "b64", "cty", "zip", "enc", "")
        ],
    ],
)
def test_a_token_of_another_form_is_refused_before_a_library_sees_it(
    tokens: Tokens, token: str
) -> None:
    with pytest.raises(InvalidToken) as refused:
        tokens.check_form(token)
    assert len(token) < 5 or token not in str(refused.value)


@pytest.mark.parametrize("extra", [{}, {"typ": "JWT"}, {"kid": "7"}, {"typ": "JWT", "kid": "k"}])
def test_a_header_may_have_a_type_and_a_key_id(tokens: Tokens, extra: dict[str, str]) -> None:
    tokens.check_form(with_header({"alg": "HS256", **extra}))


def test_an_accepted_token_is_remembered_until_it_expires(
    tokens: Tokens, clock: ManualTime
) -> None:
    token = tokens.issue("Alice", ["devices"], ttl=10)
    assert tokens.remembered(token) is None
    claims = tokens.accept(token, {**GOOD, "exp": clock.wall_time / 1e6 + 10})
    assert tokens.remembered(token) is claims
    clock.wall_time = round(claims.expires_at * 1e6) - 1000
    assert tokens.remembered(token) is claims
    clock.wall_time += 1000
    assert tokens.remembered(token) is None


def test_a_refused_token_is_remembered(tokens: Tokens) -> None:
    token = tokens.issue("Alice", ["devices"])
    tokens.accept(token, GOOD)
    tokens.refuse(token, Flaw("no good"))
    assert tokens.remembered(token) is None
    with pytest.raises(InvalidToken, match="no good"):
        tokens.check_form(token)


def test_a_token_that_expired_by_a_clock_that_was_wrong_is_good_when_that_is_right(
    tokens: Tokens, clock: ManualTime
) -> None:
    token = tokens.issue("Alice", ["devices"], ttl=10)
    payload = jwt.decode(token, options={"verify_signature": False})
    clock.wall_time += 20_000_000
    for _ in range(2):
        with pytest.raises(InvalidToken, match="expired"):
            tokens.accept(token, payload)
        assert tokens.flaw(token)
    clock.wall_time -= 15_000_000
    assert tokens.flaw(token) is None
    tokens.check_form(token)
    assert tokens.accept(token, payload) == tokens.remembered(token)


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_whose_time_has_not_come_is_not_remembered_as_bad(
    tokens: Tokens, clock: ManualTime, claim: str
) -> None:
    begins = clock.wall_time / 1e6 + LEEWAY + 1
    payload = {**GOOD, claim: begins}
    with pytest.raises(InvalidToken, match="future"):
        tokens.accept("early", payload)
    assert tokens.flaw("early") is None
    clock.wall_time += 2_000_000
    assert tokens.accept("early", payload)


def test_a_token_whose_claims_are_bad_is_remembered_as_bad(tokens: Tokens) -> None:
    token = tokens.issue("Alice", ["devices"])
    tokens.check_form(token)
    with pytest.raises(InvalidToken, match="sub"):
        tokens.accept(token, without("sub"))
    with pytest.raises(InvalidToken, match="sub"):
        tokens.check_form(token)


def test_only_the_last_tokens_are_remembered(tokens: Tokens) -> None:
    for number in range(REMEMBERED + 2):
        tokens.accept(f"good {number}", GOOD)
        tokens.refuse(with_header({"alg": "HS256", "kid": str(number)}), Flaw("bad"))
    assert [tokens.remembered(f"good {n}") is not None for n in (0, 1, 2)] == [False, False, True]
    assert tokens.remembered(f"good {REMEMBERED + 1}")
    tokens.check_form(with_header({"alg": "HS256", "kid": "1"}))
    with pytest.raises(InvalidToken):
        tokens.check_form(with_header({"alg": "HS256", "kid": "2"}))


def test_an_accounts_token_says_its_generation(tokens: Tokens, clock: ManualTime) -> None:
    def generation(token: str) -> float:
        return claims_of(jwt.decode(token, SECRET, ["HS256"])).generation

    assert generation(tokens.issue("Alice", [], generation=7)) == 7
    assert generation(tokens.issue("Alice", [], generation=0)) == 0
    assert generation(tokens.issue("a service", [])) == clock.wall_time // 1_000_000 * 1_000_000


@pytest.mark.parametrize("odd", [None, "7", True, [7], 7.0])
def test_a_generation_that_is_no_number_is_none(odd: object) -> None:
    assert claims_of({**GOOD, "gen": odd}).generation == 0
    assert claims_of({**GOOD, "iat": odd}).generation == (7_000_000 if odd == 7.0 else 0)


def test_a_revocation_refuses_what_is_remembered_and_what_comes(tokens: Tokens) -> None:
    tokens.accept("old", {**GOOD, "gen": 4})
    tokens.accept("new", {**GOOD, "gen": 5})
    tokens.accept("bob's", {**GOOD, "sub": "Bob"})
    tokens.revoke([TokenRevocation("alice", tokens_since=5)])
    assert [tokens.remembered(each) is None for each in ("old", "new", "bob's")] == [
        True,
        False,
        False,
    ]
    with pytest.raises(InvalidToken):
        tokens.accept("old", {**GOOD, "gen": 4})
    tokens.revoke([TokenRevocation("alice", disabled=True, tokens_since=5)])
    with pytest.raises(InvalidToken):
        tokens.accept("newer", {**GOOD, "gen": 6})
    tokens.revoke([TokenRevocation("alice", tokens_since=6)])
    assert tokens.accept("newer", {**GOOD, "gen": 6}) == tokens.remembered("newer")
    assert tokens.remembered("new") is None


def test_who_watches_a_token_hears_of_its_end_once(tokens: Tokens) -> None:
    old, new = claims_of({**GOOD, "gen": 4}), claims_of({**GOOD, "gen": 5})
    ended: list[str] = []
    with (
        tokens.watched(old, lambda: ended.append("old")),
        tokens.watched(new, lambda: ended.append("new")),
    ):
        with tokens.watched(old, lambda: ended.append("gone")):
            pass
        tokens.revoke([TokenRevocation("bob", disabled=True)])
        assert ended == []
        tokens.revoke([TokenRevocation("alice", tokens_since=5)])
        assert ended == ["old"]
    with tokens.watched(old, lambda: ended.append("late")):
        assert ended == ["old", "late"]


def test_the_secret_does_not_show(tokens: Tokens) -> None:
    assert SECRET not in repr(tokens)
