"""The recipes of docs/load-testing.md, run as they are pasted."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from pisync.in_process import (
    SETTINGS,
    RunningServer,
    running_server,
)
from tests.support import engine
from tests.support.paths import ROOT
from tools.ports import free_port

PAGE = (ROOT / "docs/load-testing.md").read_text()
SECRET = "a secret of mine that is long enough"
QUICK = {"delay": {"distribution": "uniform", "min": 0.05, "max": 0.2}}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    settings = replace(SETTINGS, jwt_secret=SECRET, devices=10_000, profile=QUICK)
    with running_server(settings) as running:
        yield running


def need(program: str) -> None:
    if shutil.which(program) is None:
        why = f"needs {program}: apt-get install {program}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


def recipe(heading: str, call: str) -> str:
    """The one example below a heading that has such a call in it."""
    section = re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    (found,) = (
        each
        for each in re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        if call in each
    )
    assert isinstance(found, str)
    return found


def run(script: str, server: RunningServer, folder: Path) -> str:
    """Run a recipe against a server; return what it printed."""
    script = script.replace("http://127.0.0.1:8080", server.url).replace("/tmp", str(folder))  # noqa: S108 - the page's
    if "pisync load" in script:
        script = script.replace("pisync load", f"pisync load --url {server.url}")
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=ROOT,
        env=engine.unset_settings()
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PISYNC_JWT_SECRET": SECRET,
        },
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_pisync_load(server: RunningServer, tmp_path: Path) -> None:
    # Latency is the machine's, which may be busy.
    script = recipe("pisync load", "pisync load").replace("--max-p99 250", "--max-p99 10000")
    assert "nothing is lost" in run(script, server, tmp_path)


@pytest.mark.parametrize("call", ["/devices?limit=100", "/sync"], ids=["reads", "syncs"])
def test_wrk(server: RunningServer, tmp_path: Path, call: str) -> None:
    need("wrk")
    before = server.client().stats().attempts
    said = run(recipe("wrk", call), server, tmp_path)
    requests = re.search(r"(\d+) requests in", said)
    assert requests
    assert int(requests[1]) > 100
    assert "Non-2xx" not in said
    assert (server.client().stats().attempts > before) == (call == "/sync")


@pytest.mark.timeout(180)  # it installs locust
def test_locust(server: RunningServer, tmp_path: Path) -> None:
    before = server.client().stats().attempts
    said = run(recipe("locust", "venv"), server, tmp_path)
    totals = re.findall(r"^ +Aggregated +(\d+) +0\(0\.00%\)", said, re.MULTILINE)
    assert totals, said
    assert int(totals[-1]) > 50
    assert server.client().stats().attempts > before


@pytest.mark.container
@pytest.mark.timeout(600)  # the first build downloads the dependencies
def test_locust_in_compose() -> None:
    engine.need_engine()
    project = f"pisync-load-{uuid4().hex[:8]}"
    environ = engine.unset_settings() | {
        "COMPOSE_PROJECT_NAME": project,
        "PISYNC_IMAGE": project,
        "PISYNC_PORT": str(free_port()),
        "LOCUST_USERS": "5",
        "LOCUST_RUN_TIME": "5s",
    }
    try:
        said = engine.run("bash", "-c", recipe("locust", "docker compose"), environ=environ)
        locust = engine.docker("compose", "ps", "--all", "--quiet", "locust", environ=environ)
        [shown] = json.loads(engine.docker("inspect", locust.strip()))
    finally:
        down = ("compose", "--profile", "load", "down", "--volumes", "--rmi", "all")
        engine.docker(*down, environ=environ)
    said = said.replace("\x1b[2K", "")
    totals = re.findall(r"^ +Aggregated +(\d+) +0\(0\.00%\)", said, re.MULTILINE)
    assert totals, said
    assert int(totals[-1]) > 20
    assert re.search(r"^POST +/devices/{device_id}/sync +[1-9]", said, re.MULTILINE), said
    # A page would take orders from any web site; and what it need not know, it can't lose.
    assert not any(shown["NetworkSettings"]["Ports"].values())
    assert [mount["Destination"] for mount in shown["Mounts"]] == ["/token"]
    assert not [entry for entry in shown["Config"]["Env"] if entry.startswith("PISYNC_")]
