"""The recipes of docs/load-testing.md, run as they are pasted."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientError, ClientSession

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
async def test_locust_in_compose() -> None:
    engine.need_engine()
    project, port = f"pisync-load-{uuid4().hex[:8]}", free_port()
    environ = engine.unset_settings() | {
        "COMPOSE_PROJECT_NAME": project,
        "PISYNC_IMAGE": project,
        "PISYNC_PORT": "0",
        "LOCUST_PORT": str(port),
        "LOCUST_USERS": "5",
        "LOCUST_RUN_TIME": "5s",
    }
    script = recipe("locust", "docker compose")
    try:
        await asyncio.to_thread(engine.run, "bash", "-c", script, environ=environ)
        told = await until_stopped(f"http://127.0.0.1:{port}/stats/requests")
    finally:
        await asyncio.to_thread(
            engine.docker,
            "compose",
            "--profile",
            "load",
            "down",
            "--volumes",
            "--rmi",
            "all",
            environ=environ,
        )
    assert told["total_fail_per_sec"] == 0
    assert told["errors"] == []
    counts = {each["name"]: each["num_requests"] for each in told["stats"]}
    assert counts["/devices/{device_id}/sync"] > 0
    assert counts["Aggregated"] > 20


async def until_stopped(page: str) -> Any:
    """Read what locust's page shows when its run is over."""
    async with asyncio.timeout(120), ClientSession() as client:
        while True:
            await asyncio.sleep(0.5)
            try:
                async with client.get(page) as answer:
                    told = await answer.json()
            except ClientError:
                continue
            if told["state"] == "stopped":
                return told
