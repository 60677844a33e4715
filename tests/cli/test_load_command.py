"""`pisync load` as people run it, against a real server."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from pisync.in_process import (
    SETTINGS,
    RunningServer,
    running_server,
)

SECRET = "a secret that only these tests know"
PASSWORD = "the admin's password"
QUICK = {"seed": 1, "delay": {"distribution": "uniform", "min": 0.05, "max": 0.1}}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    settings = replace(
        SETTINGS, jwt_secret=SECRET, admin_password=PASSWORD, devices=100, profile=QUICK
    )
    with running_server(settings) as running:
        yield running


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pisync", "load", "--url", url, *arguments]


def environment(**variables: str) -> dict[str, str]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("PISYNC_")}
    return own | (variables or {"PISYNC_JWT_SECRET": SECRET})


def load(
    url: str, *arguments: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(url, "--connections", "4", "--duration", "0.5", *arguments),
        env=environ or environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_tells_what_it_did_and_what_the_ledger_says(server: RunningServer) -> None:
    before = server.client().ledger()
    done = load(server.url, "--json", "--max-p99", "10000", "--max-error-rate", "0")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    after = server.client().ledger()
    assert told["good"]
    assert told["problems"] == told["missed"] == []
    assert told["syncs"]["accepted"] == after.accepted - before.accepted > 0
    assert told["syncs"]["joined"] == after.joined - before.joined
    assert sum(each["count"] for each in told["syncs"]["outcomes"]) == told["syncs"]["accepted"]
    actions = told["actions"]
    assert actions.keys() == {"sync", "device", "devices", "errors", "stats"}
    assert actions["sync"]["statuses"] == {"202": actions["sync"]["requests"]}
    assert sum(each["requests"] for each in actions.values()) == told["requests"]
    latency = told["latency"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]


def test_a_fleets_base_url_is_loaded_below_it(server: RunningServer) -> None:
    with server.new_fleet(100, QUICK) as fleet:
        done = load(fleet.base_url, "--json", "--mix", "sync=1,devices=1")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["url"], report["fleet"]) == (server.url, fleet.fleet)
        assert report["syncs"]["accepted"] == fleet.ledger().accepted > 0
        other = load(fleet.base_url, "--fleet", "default")
    assert other.returncode == 2
    assert "--fleet: must be the fleet of the URL" in other.stderr


def test_it_tells_people_the_same(server: RunningServer) -> None:
    done = load(server.url, "--mix", "sync=1")
    assert done.returncode == 0, done.stderr
    assert "nothing is lost" in done.stdout
    assert "200 success" in done.stdout


def test_on_a_terminal_it_shows_how_it_goes(server: RunningServer) -> None:
    ours, terminal = pty.openpty()
    with closing(os.fdopen(ours, "rb", buffering=0)) as screen:
        done = subprocess.run(
            command(server.url, "--duration", "1", "--mix", "stats=1"),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=120,
            check=True,
        )
        os.close(terminal)
        shown = screen.read(65_536)
    assert re.search(rb"%  [\d,]+/s  p50 [\d.]+ ms  p99 [\d.]+ ms  errors 0", shown)
    assert b"p99 " not in done.stdout.splitlines()[1]


def test_a_rate_is_kept_to(server: RunningServer) -> None:
    done = load(server.url, "--json", "--rate", "40", "--duration", "1", "--mix", "stats=1")
    assert json.loads(done.stdout)["requests"] == 40


@pytest.mark.parametrize(
    ("threshold", "complaint"),
    [
        (["--max-p99", "0.001"], "p99 is"),
        (["--min-rate", "1000000"], "good answers a second"),
    ],
    ids=["latency", "rate"],
)
def test_a_missed_threshold_ends_it_with_status_1(
    server: RunningServer, threshold: list[str], complaint: str
) -> None:
    done = load(server.url, *threshold)
    assert done.returncode == 1
    assert complaint in done.stdout.partition("\nMISSED: ")[2]


def test_errors_end_it_with_status_1(server: RunningServer) -> None:
    with server.new_fleet(100, {"max_pending": 1, **QUICK}) as fleet:
        done = load(server.url, "--fleet", fleet.fleet, "--max-error-rate", "1", "--mix", "sync=1")
        assert done.returncode == 1
        assert "% are errors, more than 1" in done.stdout
        assert "nothing is lost" in done.stdout


def test_what_is_not_finished_in_time_ends_it_with_status_1(server: RunningServer) -> None:
    slow = {"delay": {"distribution": "constant", "seconds": 3600}}
    with server.new_fleet(2, slow) as fleet:
        done = load(server.url, "--fleet", fleet.fleet, "--mix", "sync=1", "--wait", "0")
    assert done.returncode == 1
    assert "LEDGER: 2 syncs still pending: devices 1, 2" in done.stdout


def test_the_admins_password_does_instead_of_the_secret(server: RunningServer) -> None:
    done = load(server.url, environ=environment(PISYNC_ADMIN_PASSWORD=PASSWORD))
    assert done.returncode == 0, done.stderr
    wrong = load(server.url, environ=environment(PISYNC_ADMIN_PASSWORD="a wrong password"))
    assert wrong.returncode == 1
    assert "answers 401: Invalid username or password." in wrong.stderr


def test_another_secret_than_the_servers_is_what_it_asks_about(server: RunningServer) -> None:
    done = load(server.url, environ=environment(PISYNC_JWT_SECRET="x" * 32))
    assert done.returncode == 1
    assert "401: The token is not valid. Is the secret here the one" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        ([], {"PATH": os.environ["PATH"]}, "PISYNC_ADMIN_PASSWORD"),
        (["--mix", "fly=1"], None, "'fly': must be one of sync,"),
        (["--connections", "0"], None, "--connections"),
    ],
    ids=["no secret", "mix", "connections"],
)
def test_a_mistake_ends_it_with_status_2(
    arguments: list[str], environ: dict[str, str] | None, said: str
) -> None:
    done = load("http://127.0.0.1:9", *arguments, environ=environ)
    assert done.returncode == 2
    assert said in done.stderr


def test_where_there_is_no_server_it_says_so(server: RunningServer) -> None:
    done = load("http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("http://127.0.0.1:9: ")
    done = load(server.url, "--fleet", "nowhere")
    assert done.returncode == 1
    assert "404" in done.stderr


def test_an_interrupt_ends_the_load_and_still_looks_at_the_ledger(server: RunningServer) -> None:
    began = time.monotonic()
    before = server.client().stats().attempts
    with subprocess.Popen(
        command(server.url, "--duration", "600", "--json"),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while server.client().stats().attempts == before and time.monotonic() - began < 120:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told = json.loads(process.communicate(timeout=120)[0])
    assert process.returncode == 0
    assert told["good"]
    assert told["seconds"] < 300


def test_goes_to_the_port_of_the_settings_here(server: RunningServer) -> None:
    port = server.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "pisync", "load", "--duration", "0.2", "--json"],
        env=environment(PISYNC_JWT_SECRET=SECRET, PISYNC_PORT=port),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["url"] == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    "url", ["http://me:geheim@host", "geheim", "http://host?geheim", "ftp://geheim"]
)
def test_an_address_that_is_none_is_not_repeated(url: str) -> None:
    done = load(url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "must be http://HOST:PORT" in done.stderr
    assert "geheim" not in done.stderr
