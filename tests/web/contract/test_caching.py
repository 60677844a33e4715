"""What caches may keep: nothing that a token bought, but what is asked for each time."""

import pytest

from tests.conftest import Api

VARY = "Authorization, Pisync-Fleet"


@pytest.mark.parametrize(
    ("path", "cache_control"),
    [
        ("/devices", "private, no-cache"),
        ("/devices/1", "private, no-cache"),
        ("/stats", "no-store"),
        ("/errors", "no-store"),
        ("/devices/99", "no-store"),
        ("/devices?limit=0", "no-store"),
    ],
)
async def test_what_a_token_bought_is_shown_to_nobody_else(
    path: str, cache_control: str, user: Api
) -> None:
    answer = await user.get(path)
    assert answer.headers.getall("Cache-Control") == [cache_control]
    assert answer.headers.getall("Vary") == [VARY]


async def test_nor_is_what_has_not_changed(user: Api) -> None:
    tag = (await user.get("/devices")).headers["ETag"]
    answer = await user.get("/devices", headers={"If-None-Match": tag})
    assert answer.status == 304
    assert answer.headers.getall("Cache-Control") == ["private, no-cache"]
    assert answer.headers.getall("Vary") == [VARY]


@pytest.mark.parametrize(
    "path", ["/admin/accounts", "/admin/fleets", "/admin/fleets/default", "/admin/nowhere"]
)
async def test_what_admins_see_is_not_kept(path: str, admin: Api) -> None:
    answer = await admin.get(path)
    assert answer.headers.getall("Cache-Control") == ["no-store"]
    assert answer.headers.getall("Vary") == [VARY]


async def test_tokens_are_not_kept(api: Api) -> None:
    account = {"username": "alice", "password": "correct horse"}
    for path in ("/register", "/login"):
        answer = await api.post(path, account)
        assert "token" in answer.json
        assert answer.headers.getall("Cache-Control") == ["no-store"]


@pytest.mark.parametrize("path", ["/devices", "/nowhere"])
async def test_a_refusal_is_not_kept(path: str, api: Api) -> None:
    answer = await api.get(path)
    assert answer.status == 401
    assert answer.headers.getall("Cache-Control") == ["no-store"]


async def test_what_is_open_does_not_vary_by_token(api: Api) -> None:
    assert "Vary" not in (await api.get("/livez")).headers
    document = await api.get("/openapi.json")
    assert document.headers["Cache-Control"] == "no-cache"
    assert "Authorization" not in document.headers.get("Vary", "")
