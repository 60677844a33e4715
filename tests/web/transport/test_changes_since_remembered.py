"""What has changed since header lines were remembered counts at once."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from pisync import keys
from pisync.model.account import TokenRevocation
from tests.support.raw_connection import Answer, RawConnection, raw_connection
from tests.support.waiting import eventually
from tests.support.warm_server import LIST, SYNC, TOKEN, Warm, ask, know, warm_server

ADMIN_TOKEN = "an.admin.token"
FLEET = "/admin/fleets/suite"
PROFILE = {
    "seed": 7,
    "outcomes": [{"sync_status_code": 200, "weight": 1}],
    "delay": {"distribution": "constant", "seconds": 10},
}


def request(target: str, token: str = TOKEN, *, method: str = "GET", more: str = "") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
    return head.encode()


@dataclass(frozen=True)
class Remembered:
    """A warm server, a client's connection, and an admin's."""

    warm: Warm
    client: RawConnection
    admin: RawConnection

    async def call(self, method: str, path: str, body: object = None) -> Answer:
        """Do what an admin does."""
        data = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if data else ""
        more = f"{kind}Content-Length: {len(data)}\r\n"
        await self.admin.send(request(path, ADMIN_TOKEN, method=method, more=more) + data)
        answer = await self.admin.answer()
        assert answer.status < 300, answer.body
        return answer

    async def ask(self, sent: bytes) -> Answer:
        await self.client.send(sent)
        return await self.client.answer()

    def was_answered_in_front(self) -> bool:
        """Whether the last request was."""
        return self.warm.front.taken[-1]

    async def remember(self, sent: bytes, status: int = 200) -> None:
        """Have a request's header lines remembered, and see that they are."""
        for _ in range(4):
            assert (await self.ask(sent)).status == status
        assert self.warm.front.taken[-1]


@asynccontextmanager
async def remembered() -> AsyncIterator[Remembered]:
    async with (
        warm_server(cors_origins=("https://a.example", "https://b.example")) as warm,
        raw_connection(warm.port) as client,
        raw_connection(warm.port) as admin,
    ):
        know(warm.app, ADMIN_TOKEN, scopes=["devices", "admin"], sub="admin")
        yield Remembered(warm, client, admin)


# Tokens


async def status_after(change: Callable[[Warm], Awaitable[None]]) -> int:
    """The status of a known request after something has changed, on a connection in use."""
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        assert [await ask(connection, LIST), await ask(connection, LIST)] == [200, 200]
        assert warm.front.taken[-1]
        await change(warm)
        return await ask(connection, LIST)


async def test_a_token_that_has_expired_is_refused() -> None:
    async def expire(warm: Warm) -> None:
        warm.time.pass_seconds(200)

    assert await status_after(expire) == 401


@pytest.mark.parametrize("disabled", [True, False])
async def test_a_token_that_was_revoked_is_refused(disabled: bool) -> None:
    async def revoke(warm: Warm) -> None:
        since = 0 if disabled else 2**60
        revocation = TokenRevocation("tester", tokens_since=since, disabled=disabled)
        warm.app[keys.TOKENS].revoke([revocation])

    assert await status_after(revoke) == 401


async def test_the_token_of_an_account_that_was_disabled_is_refused() -> None:
    account = {"username": "alice", "password": "correct horse"}
    async with remembered() as each:
        token = (await each.call("POST", "/register", account)).json()["token"]
        sent = [request("/devices", token), request("/devices/3/sync", token, method="POST")]
        await each.remember(sent[0])
        await each.remember(sent[1], 202)
        await each.call("PATCH", "/admin/accounts/alice", {"disabled": True})
        for one in sent:
            answer = await each.ask(one)
            answer.assert_problem(401)
            assert "disabled" in answer.headers["WWW-Authenticate"]
        assert (await each.ask(LIST)).status == 200


# Fleets


@pytest.mark.parametrize(
    "sent",
    [
        request("/devices", more="Pisync-Fleet: suite\r\n"),
        request("/fleets/suite/devices"),
        request("/fleets/suite/stats"),
        request("/fleets/suite/devices/3"),
        request("/fleets/suite/devices/3/sync", method="POST"),
    ],
    ids=["header", "base URL", "counts", "device", "sync"],
)
async def test_a_fleet_that_was_made_or_deleted_since_is_there_or_not(sent: bytes) -> None:
    good = 202 if sent.startswith(b"POST") else 200
    async with remembered() as each:
        await each.remember(sent, 404)
        await each.call("PUT", FLEET, {"devices": 5, "profile": PROFILE})
        await each.remember(sent, good)
        await each.call("DELETE", FLEET)
        (await each.ask(sent)).assert_problem(404)


async def test_a_fault_that_was_set_since_is_met() -> None:
    fault = {"calls": ["devices", "sync"], "fault": {"kind": "status", "status": 503}}
    async with remembered() as each:
        await each.remember(LIST)
        await each.remember(SYNC, 202)
        await each.call("PUT", "/admin/fleets/default/faults", [fault])
        assert [(await each.ask(sent)).status for sent in (LIST, SYNC)] == [503, 503]
        await each.call("DELETE", "/admin/fleets/default/faults")
        await each.remember(LIST)


async def test_a_read_counts_where_an_attempt_has_polls_since() -> None:
    sent = request("/fleets/suite/devices/3")
    async with remembered() as each:
        await each.call("PUT", FLEET, {"devices": 5, "profile": PROFILE})
        await each.remember(sent)
        failure = {"sync_status_code": 500, "error_message": "Connection Timeout", "polls": 2}
        await each.call("PUT", f"{FLEET}/devices/3/script", [failure])
        assert (await each.ask(sent.replace(b"GET", b"POST").replace(b"/3 ", b"/3/sync "))).status
        codes = [(await each.ask(sent)).json()["sync_status_code"] for _ in range(4)]
    assert codes == [202, 202, 500, 500]


# The server


async def test_while_it_drains_the_connection_is_told_to_close() -> None:
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        assert [await ask(connection, LIST), await ask(connection, LIST)] == [200, 200]
        warm.app[keys.DRAINING].set()
        await connection.send(LIST)
        assert (await connection.answer()).headers["Connection"] == "close"


async def test_a_signal_ends_connections_behind_whole_answers_and_what_was_begun_is_kept() -> None:
    async with (
        warm_server() as warm,
        raw_connection(warm.port) as one,
        raw_connection(warm.port) as other,
    ):
        for connection in (one, other):
            assert [await ask(connection, LIST), await ask(connection, LIST)] == [200, 200]
        before = await warm.app[keys.SIMULATOR].queries.stats("default")
        await one.send(SYNC.replace(b"/3/", b"/5/"))
        await other.send(LIST)
        signal.raise_signal(signal.SIGTERM)
        assert ((await one.answer()).status, (await other.answer()).status) == (202, 200)
        after = await warm.app[keys.SIMULATOR].queries.stats("default")
        assert after.pending == before.pending + 1
        await eventually(warm.app[keys.DRAINING].is_set)
        # Whoever asks behind the signal is answered as a whole, or not at all.
        for connection in (one, other):
            with_more = await _last_words(connection)
            assert with_more in (b"", b"200 close")


async def _last_words(connection: RawConnection) -> bytes:
    try:
        await connection.send(LIST)
    except ConnectionError:
        return b""
    received = await connection.parts()
    if not received:
        return b""
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"Content-Length: (\d+)", head)
    assert len(body) == int(length)
    (status,) = re.findall(rb"^HTTP/1.1 (\d+) ", head)
    return bytes(status) + (b" close" if b"Connection: close" in head else b"")


# What belongs to one request


async def test_each_answer_has_an_id_of_its_own() -> None:
    async with remembered() as each:
        for sent, status in ((LIST, 200), (SYNC, 202)):
            await each.remember(sent, status)
            ids = [(await each.ask(sent)).headers["X-Request-ID"] for _ in range(5)]
            assert each.warm.front.taken[-5:] == [True] * 5
            assert len({*ids}) == 5
            assert all(re.fullmatch("[A-Za-z0-9._-]{16,}", one) for one in ids)


async def test_each_request_is_noted_with_its_own_caller_id_and_path() -> None:
    async with remembered() as each:
        know(each.warm.app, "bobs.known.token", sub="bob")
        sent = [
            request(target, token, method=method, more=f"User-Agent: {agent}\r\n")
            for token, agent in ((TOKEN, "probe/1"), ("bobs.known.token", "probe/2"))
            for method, target in CALLS
        ]
        ids = [(await each.ask(one)).headers["X-Request-ID"] for one in sent * 4]
        assert each.warm.front.taken[-len(sent) :] == [True] * len(sent)
        noted = (await each.call("GET", "/admin/fleets/default/requests")).json()
        newest = [*reversed(noted[: len(sent)])]
        assert [one["request_id"] for one in newest] == ids[-len(sent) :]
        assert [(one["user"], one["user_agent"]) for one in newest] == [
            *[("tester", "probe/1")] * 3,
            *[("bob", "probe/2")] * 3,
        ]
        assert [(one["method"], one["path"], one["status"]) for one in newest] == [
            (*call, status) for call, status in zip(CALLS, (200, 404, 202), strict=True)
        ] * 2


CALLS = (("GET", "/devices"), ("GET", "/devices/99"), ("POST", "/devices/3/sync"))


async def test_pages_of_each_origin_read_the_answers_to_their_own_requests() -> None:
    async with remembered() as each:
        origins = [f"https://{name}.example" for name in "abc"]
        for method, target in CALLS:
            asked = [
                request(target, method=method, more=f"Origin: {origin}\r\n") for origin in origins
            ]
            for sent in asked * 3:
                await each.ask(sent)
            for sent, origin in zip(asked, origins, strict=True):
                answer = await each.ask(sent)
                assert each.was_answered_in_front()
                allowed = answer.headers.get("Access-Control-Allow-Origin")
                assert allowed == (None if "c." in origin else origin)
                parsed = await each.ask(
                    sent.replace(b"Host: a", b"Host: a\r\nX: " + target.encode())
                )
                assert not each.was_answered_in_front()
                assert [*answer.headers] == [*parsed.headers]


async def test_a_strangers_host_is_refused_whatever_target_came_with_it_before() -> None:
    more = "Origin: http://evil.example\r\n"
    stranger = request("/stats", more=more).replace(b"Host: a", b"Host: evil.example")
    async with warm_server() as warm, raw_connection(warm.port) as connection:
        for target in (b"http://localhost/stats", b"http://a/stats", b"/stats"):
            for _ in range(3):
                await ask(connection, stranger.replace(b"/stats", target, 1))
            assert await ask(connection, stranger) == 421
        assert True not in warm.front.taken


async def test_what_was_asked_on_another_connection_is_not_answered_here() -> None:
    """Two clients whose requests cross: each has its own answers, in their order."""
    async with remembered() as each, raw_connection(each.warm.port) as other:
        know(each.warm.app, "a.bound.token", fleet="suite")
        await each.call("PUT", FLEET, {"devices": 5, "profile": PROFILE})
        bound = request("/stats", "a.bound.token")
        await each.remember(bound)
        assert [await ask(other, request("/stats")) for _ in range(3)] == [200] * 3
        for _ in range(5):
            await each.client.send(bound)
            await other.send(request("/stats"))
            counts = [(await one.answer()).json()["devices"] for one in (other, each.client)]
            assert counts == [10, 5]


async def test_requests_that_wait_behind_another_are_not_taken_for_each_other() -> None:
    slow = {"calls": ["stats"], "fault": {"kind": "delay", "delay": DELAY}}
    async with remembered() as each:
        know(each.warm.app, "a.bound.token", fleet="suite")
        for name, devices in (("suite", 5), ("slow", 1)):
            await each.call("PUT", f"/admin/fleets/{name}", {"devices": devices})
        await each.call("PUT", "/admin/fleets/slow/faults", [slow])
        # Heads that nobody has sent yet: they are learned, if at all, while they wait.
        first, second = (
            request("/stats", token, more="X: y\r\n") for token in (TOKEN, "a.bound.token")
        )
        for _ in range(3):
            for sent in (request("/fleets/slow/stats"), first, second):
                await each.client.send(sent)
                await asyncio.sleep(0.02)
            counts = [(await each.client.answer()).json()["devices"] for _ in range(3)]
            assert counts == [1, 10, 5]
        for _ in range(3):
            assert (await each.ask(second)).json()["devices"] == 5
            assert (await each.ask(first)).json()["devices"] == 10


DELAY = {"distribution": "constant", "seconds": 0.15}


async def test_the_longest_heads_are_not_remembered() -> None:
    async with remembered() as each:
        sent = request("/devices", more=f"X: {'y' * 9_000}\r\n")
        for _ in range(4):
            assert (await each.ask(sent)).status == 200
            assert not each.was_answered_in_front()
