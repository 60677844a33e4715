"""Accounts in an admin's hands, passwords in their owners', and what becomes of their tokens."""

import asyncio
import time
from dataclasses import replace
from itertools import pairwise

import jwt
import pytest

from pisync.config.texts import LoginFailures
from tests.conftest import SETTINGS, Api, MakeApi
from tests.support.fleet_lab import (
    next_page,
)
from tests.support.raw_connection import capture_logs
from tests.support.waiting import eventually

RIGHT, OTHER = "correct horse", "another password"


def given(username: str = "Alice", password: str = RIGHT) -> dict[str, str]:
    return {"username": username, "password": password}


async def register(api: Api, username: str = "Alice", password: str = RIGHT) -> Api:
    """Return the calls of somebody who has just registered."""
    answer = await api.post("/register", given(username, password))
    assert answer.status == 201
    return replace(api, token=answer.json["token"])


async def login(api: Api, username: str = "Alice", password: str = RIGHT) -> Api:
    answer = await api.post("/login", given(username, password))
    assert answer.status == 200
    return replace(api, token=answer.json["token"])


async def works(caller: Api, path: str = "/devices") -> bool:
    """Say whether a token is good, and check that one which is not is refused as it should be."""
    answer = await caller.get(path)
    if answer.status == 401:
        answer.assert_problem(401)
        assert answer.headers["WWW-Authenticate"] == (
            'Bearer error="invalid_token", '
            'error_description="The account is disabled, or its tokens were ended"'
        )
        return False
    assert answer.status == 200
    return True


# Listing


async def test_accounts_are_listed_in_pages_and_no_hash_is_shown(api: Api, admin: Api) -> None:
    await eventually(lambda: _has(admin, "admin"))
    for name in ("carol", "Bob", "alice"):
        await register(api, name)
    listed = await admin.get("/admin/accounts")
    assert listed.json == [
        {"username": "admin", "scopes": ["devices", "admin"], "disabled": False},
        {"username": "alice", "scopes": ["devices"], "disabled": False},
        {"username": "Bob", "scopes": ["devices"], "disabled": False},
        {"username": "carol", "scopes": ["devices"], "disabled": False},
    ]
    assert (listed.headers["X-Total-Count"], next_page(listed)) == ("4", None)
    first = await admin.get("/admin/accounts", params={"limit": 3})
    assert first.headers["X-Total-Count"] == "4"
    second = await admin.get(str(next_page(first)))
    assert first.json + second.json == listed.json
    assert next_page(second) is None


async def _has(admin: Api, name: str) -> bool:
    return (await admin.get(f"/admin/accounts/{name}")).status == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=1001", "limit"), ("after=a", "after"), ("x=1", "x")],
)
async def test_another_query_is_422(admin: Api, query: str, field: str) -> None:
    (await admin.get(f"/admin/accounts?{query}")).assert_problem(422, field)


async def test_an_account_is_found_whatever_the_case(api: Api, admin: Api) -> None:
    await register(api, "Alice")
    for name in ("alice", "ALICE"):
        answer = await admin.get(f"/admin/accounts/{name}")
        assert answer.json == {"username": "Alice", "scopes": ["devices"], "disabled": False}
    (await admin.get("/admin/accounts/nobody")).assert_problem(404)
    for no_name in ("ab", "a%20bc", "-abc", "a" * 65, "a%00bc", "%C3%A4bc"):
        (await admin.get(f"/admin/accounts/{no_name}")).assert_problem(404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/accounts"),
        ("GET", "/admin/accounts/alice"),
        ("PATCH", "/admin/accounts/alice"),
        ("DELETE", "/admin/accounts/alice"),
    ],
)
async def test_only_admins_may(api: Api, user: Api, method: str, path: str) -> None:
    (await api.call(method, path)).assert_problem(401)
    (await user.call(method, path, json={"disabled": True})).assert_problem(403)


# Disabling, scopes, deleting


async def test_a_disabled_accounts_tokens_end_and_nobody_logs_in(api: Api, admin: Api) -> None:
    alice, bob = await register(api), await register(api, "bob")
    assert await works(alice)
    changed = await admin.patch("/admin/accounts/alice", {"disabled": True})
    assert changed.json == {"username": "Alice", "scopes": ["devices"], "disabled": True}
    assert (await works(alice), await works(bob)) == (False, True)
    wrong = await api.post("/login", given(password=OTHER))
    disabled = await api.post("/login", given())
    assert (wrong.status, wrong.body) == (disabled.status, disabled.body)
    (await api.post("/register", given())).assert_problem(409)
    await admin.patch("/admin/accounts/alice", {"disabled": False})
    assert not await works(alice)
    assert await works(await login(api))


async def test_other_scopes_are_had_by_who_logs_in_again(api: Api, admin: Api) -> None:
    alice = await register(api)
    changed = await admin.patch("/admin/accounts/alice", {"scopes": ["admin", "devices", "admin"]})
    assert changed.json["scopes"] == ["devices", "admin"]
    assert not await works(alice)
    alice = await login(api)
    assert await works(alice, "/admin/fleets")
    await admin.patch("/admin/accounts/alice", {"scopes": []})
    assert not await works(alice)
    (await (await login(api)).get("/devices")).assert_problem(403)


async def test_a_change_that_changes_nothing_ends_nothing(api: Api, admin: Api) -> None:
    alice = await register(api)
    await admin.patch("/admin/accounts/alice", {"disabled": False, "scopes": ["devices"]})
    assert await works(alice)


async def test_a_deleted_accounts_tokens_are_nobodys(api: Api, admin: Api) -> None:
    alice = await register(api)
    assert (await admin.delete("/admin/accounts/ALICE")).status == 204
    (await admin.get("/admin/accounts/alice")).assert_problem(404)
    (await admin.delete("/admin/accounts/alice")).assert_problem(404)
    (await api.post("/login", given())).assert_problem(401)
    assert not await works(alice)
    another = await register(api, "alice", OTHER)
    assert (await works(another), await works(alice)) == (True, False)


@pytest.mark.parametrize("change", [{"disabled": True}, {"scopes": []}, {"scopes": ["admin"]}])
async def test_the_admin_stays(admin: Api, change: dict[str, object]) -> None:
    (await admin.patch("/admin/accounts/admin", change)).assert_problem(409)
    (await admin.delete("/admin/accounts/Admin")).assert_problem(409)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({}, ["body"]),
        ({"disabled": "yes"}, ["disabled"]),
        ({"disabled": None}, ["disabled"]),
        ({"scopes": "admin"}, ["scopes"]),
        ({"scopes": ["root"]}, ["scopes.0"]),
        ({"scopes": None}, ["scopes"]),
        ({"password": OTHER}, ["password"]),
        ({"username": "eve"}, ["username"]),
    ],
)
async def test_another_change_is_422(
    api: Api, admin: Api, change: dict[str, object], fields: list[str]
) -> None:
    alice = await register(api)
    (await admin.patch("/admin/accounts/alice", change)).assert_problem(422, *fields)
    assert await works(alice)


async def test_who_did_it_is_logged(api: Api, admin: Api) -> None:
    await register(api)
    with capture_logs() as logged:
        await admin.patch("/admin/accounts/alice", {"disabled": True})
        await admin.delete("/admin/accounts/alice")
    assert [(line["event"], line["username"].lower(), line["by"]) for line in logged] == [
        ("account changed", "alice", "admin"),
        ("account deleted", "alice", "admin"),
    ]


# Tokens of services


async def test_a_services_tokens_are_good_whatever_is_done_to_accounts(
    api: Api, admin: Api
) -> None:
    service = api.as_("devices", name="load-test")
    assert await works(service)
    await register(api)
    await admin.delete("/admin/accounts/alice")
    assert await works(service)


async def test_a_token_that_names_no_generation_goes_by_when_it_was_issued(
    api: Api, admin: Api
) -> None:
    await register(api)
    now = int(time.time())

    def minted(**claims: int) -> Api:
        payload = {"iss": "pisync", "sub": "ALICE", "scopes": ["devices"], "exp": now + 60}
        return replace(api, token=jwt.encode(payload | claims, str(SETTINGS.jwt_secret), "HS256"))

    before, timeless = minted(iat=now - 5), minted()
    assert (await works(before), await works(timeless)) == (True, True)
    await admin.patch("/admin/accounts/alice", {"scopes": ["devices", "admin"]})
    assert (await works(before), await works(timeless)) == (False, False)
    next_second = int(time.time()) + 1
    await asyncio.sleep(next_second - time.time() + 0.01)
    assert await works(minted(iat=next_second))
    await admin.patch("/admin/accounts/alice", {"disabled": True})
    assert not await works(minted(iat=next_second))


# Streams


@pytest.mark.parametrize("end", ["disable", "delete", "password"])
async def test_a_stream_ends_with_its_token(api: Api, admin: Api, end: str) -> None:
    alice, bob = await register(api), await register(api, "bob")
    headers = [{"Authorization": f"Bearer {each.token}"} for each in (alice, bob)]
    async with (
        api.client.get("/events", headers=headers[0]) as ended,
        api.client.get("/events", headers=headers[1]) as stays,
    ):
        if end == "disable":
            await admin.patch("/admin/accounts/alice", {"disabled": True})
        elif end == "delete":
            await admin.delete("/admin/accounts/alice")
        else:
            await alice.post("/password", {"password": RIGHT, "new_password": OTHER})
        async with asyncio.timeout(60):
            await ended.read()
        assert not stays.content.at_eof()


# Another password


async def test_a_new_password_ends_all_tokens_but_the_one_in_the_answer(api: Api) -> None:
    here = await register(api)
    elsewhere = await login(api)
    answer = await here.post("/password", {"password": RIGHT, "new_password": OTHER})
    assert answer.status == 200
    assert answer.json == {"message": "Password changed.", "token": answer.json["token"]}
    assert (await works(here), await works(elsewhere)) == (False, False)
    assert await works(replace(api, token=answer.json["token"]))
    (await api.post("/login", given())).assert_problem(401)
    assert await works(await login(api, password=OTHER))


async def test_however_soon_one_follows_another_just_the_last_token_is_good(api: Api) -> None:
    passwords = [f"password {n}" for n in range(6)]
    callers = [await register(api, "alice", passwords[0])]
    for old, new in pairwise(passwords):
        answer = await callers[-1].post("/password", {"password": old, "new_password": new})
        callers.append(replace(api, token=answer.json["token"]))
    assert [await works(each) for each in callers] == [False] * 5 + [True]


async def test_the_admin_changes_the_own_password_too(api: Api) -> None:
    root = await login(api, "admin", str(SETTINGS.admin_password))
    body = {"password": SETTINGS.admin_password, "new_password": OTHER}
    assert (await root.post("/password", body)).status == 200
    assert await works(await login(api, "admin", OTHER), "/admin/fleets")


async def test_any_token_will_do_but_some_token_must(api: Api) -> None:
    await register(api)
    body = {"password": RIGHT, "new_password": OTHER}
    (await api.post("/password", body)).assert_problem(401)
    assert (await api.as_(name="alice").post("/password", body)).status == 200
    (await api.as_("devices", "admin", name="a service").post("/password", body)).assert_problem(
        404
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": OTHER, "new_password": OTHER}, "password"),
        ({"password": "x" * 100, "new_password": OTHER}, "password"),
        ({"password": RIGHT, "new_password": "short"}, "new_password"),
        ({"password": RIGHT, "new_password": "é" * 37}, "new_password"),
        ({"password": RIGHT, "new_password": "with\0NUL!"}, "new_password"),
        ({"password": RIGHT}, "new_password"),
        ({"new_password": OTHER}, "password"),
        ({"password": RIGHT, "new_password": OTHER, "username": "bob"}, "username"),
    ],
)
async def test_another_body_is_422_and_changes_nothing(
    api: Api, body: dict[str, str], field: str
) -> None:
    alice = await register(api)
    (await alice.post("/password", body)).assert_problem(422, field)
    assert await works(alice)
    assert await works(await login(api))


async def test_a_stolen_token_does_not_help_to_guess_the_password(make_api: MakeApi) -> None:
    api = await make_api(login_failures=LoginFailures(2, 60))
    alice = await register(api)
    body = {"password": "a guess, and", "new_password": OTHER}
    for status in (422, 422, 429):
        assert (await alice.post("/password", body)).status == status
    (await api.post("/login", given())).assert_problem(429)
