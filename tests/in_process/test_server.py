"""A server in a thread of the process that uses it."""

import asyncio
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from pisync.client import CallFailed
from pisync.in_process import (
    SEED,
    SETTINGS,
    RunningServer,
    running_server,
)
from tests.support.paths import ROOT


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "pisync"]


def refuses_connections(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) != 0


def test_runs_for_as_long_as_the_block_and_leaves_no_thread() -> None:
    before = threads()
    with running_server() as server:
        assert len(threads()) == len(before) + 1
        assert len(server.client().devices()) == 10
    assert threads() == before
    assert refuses_connections(server.url)


def test_stops_though_a_client_keeps_its_connection() -> None:
    with running_server() as server:
        connection = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        connection.request("GET", "/livez")
        assert connection.getresponse().read()
    assert refuses_connections(server.url)
    connection.close()


@pytest.mark.parametrize("kept", ["server = running.__enter__()", "running.__enter__()"])
def test_one_whose_block_nobody_leaves_ends_with_the_process(kept: str) -> None:
    statements = f"""
from pisync.in_process import running_server
running = running_server()
{kept}
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", statements],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_stops_when_the_block_raises() -> None:
    with pytest.raises(KeyError), running_server() as server:
        raise KeyError
    assert refuses_connections(server.url)


def test_servers_run_side_by_side_and_know_nothing_of_each_other() -> None:
    with running_server() as one, running_server() as other:
        assert one.url != other.url
        with pytest.raises(CallFailed, match="401"):
            replace(other.client(), token=one.token("devices")).devices()


def test_keeps_to_the_limits_of_its_settings() -> None:
    with running_server(replace(SETTINGS, max_connections=1)) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        with (
            socket.create_connection((host, int(port)), timeout=60),
            pytest.raises(CallFailed, match="503"),
        ):
            server.client().devices()


def test_does_not_mind_an_event_loop_around_it() -> None:
    async def use() -> int:
        with running_server() as server:
            return len(server.client().devices())

    assert asyncio.run(use()) == 10


def test_a_start_that_fails_says_why() -> None:
    before = threads()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = replace(SETTINGS, port=taken.getsockname()[1])
        with pytest.raises(OSError, match="Address already in use"), running_server(settings):
            pytest.fail("it listens where somebody else does")
    assert threads() == before


def test_listens_on_the_loopback_alone_with_the_settings_given() -> None:
    with running_server(replace(SETTINGS, devices=3)) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert len(server.client().devices()) == 3


def test_tokens_have_the_scopes_and_the_life_that_were_asked_for(
    pisync_server: RunningServer,
) -> None:
    client = pisync_server.client()
    for token, status in {
        pisync_server.token(): 403,
        pisync_server.token("admin"): 403,
        pisync_server.token("devices", ttl=-1): 401,
    }.items():
        with pytest.raises(CallFailed) as failure:
            replace(client, token=token).devices()
        assert failure.value.status == status
    assert replace(client, token=pisync_server.token("devices", name="alice")).devices()


def test_new_fleets_are_separate_and_gone_after_their_block(pisync_server: RunningServer) -> None:
    with pisync_server.new_fleet(3) as one, pisync_server.new_fleet(5, {"seed": 9}) as other:
        one.sync(1)
        assert (one.view().devices, one.view().seed) == (3, SEED)
        assert (other.view().devices, other.view().seed) == (5, 9)
        assert other.stats().attempts == 0
    for gone in (one, other):
        with pytest.raises(CallFailed, match="404"):
            gone.view()


def test_a_new_fleet_may_be_deleted_before_its_block_ends(pisync_server: RunningServer) -> None:
    with pisync_server.new_fleet() as fleet:
        fleet.delete()


def test_a_new_fleet_that_cant_be_deleted_says_why(pisync_server: RunningServer) -> None:
    with (
        pytest.raises(CallFailed, match="401"),
        running_server() as server,
        server.new_fleet() as fleet,
    ):
        # Another server's token is of no use to this one.
        object.__setattr__(fleet, "admin_token", pisync_server.token("admin"))
