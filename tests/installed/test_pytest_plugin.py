"""The plugin in an environment of its own, where nothing else is installed."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def run(
    *command: str | Path, cwd: Path, environ: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=cwd, env=environ, check=False, capture_output=True, text=True
    )


@pytest.mark.timeout(600)  # it installs all that PiSync needs
def test_a_project_that_has_nothing_else_installed_uses_it(tmp_path: Path) -> None:
    built = run(
        *(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", tmp_path),
        cwd=ROOT,
        environ=os.environ,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")

    # What this run of the tests is told is not for that one.
    ours = ("PYTEST_", "PYTHON", "COVERAGE_", "COV_", "PISYNC_", "VIRTUAL_ENV")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    python = tmp_path / "venv/bin/python"
    made = run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path, environ=environ)
    assert made.returncode == 0, made.stderr
    installed = run(
        *(python, "-m", "pip", "install", "--quiet", f"{wheel}[pytest]"),
        cwd=tmp_path,
        environ=environ,
    )
    if "connection broken by" in installed.stderr and os.environ.get("CI") != "true":
        pytest.skip("needs the package index: `pip install` could not reach it")
    assert installed.returncode == 0, installed.stderr

    project = tmp_path / "project"
    project.mkdir()
    (project / "test_retries.py").write_text(PROJECT)
    tested = run(python, "-m", "pytest", "-W", "error", cwd=project, environ=environ)
    assert "3 passed" in tested.stdout, tested.stdout + tested.stderr
    assert tested.returncode == 0
    assert tested.stderr == ""


PROJECT = '''
"""The tests of a project that syncs devices, and tries again when that fails."""

import json
import time
from urllib.request import Request, urlopen

import pytest

from pisync.client import FleetClient


def call(method, url, headers):
    with urlopen(Request(url, method=method, headers=headers)) as answer:
        return json.load(answer)


def sync_with_retries(url, headers, device_id, tries):
    """The code under test: it knows PiSync's HTTP API, and nothing of this fixture."""
    for _ in range(tries):
        device = call("POST", f"{url}/devices/{device_id}/sync", headers)
        while device["sync_status_code"] == 202:
            time.sleep(0.01)
            device = call("GET", f"{url}/devices/{device_id}", headers)
        if device["sync_status_code"] == 200:
            return True
    return False


TIMEOUT = {"sync_status_code": 500, "error_message": "Connection Timeout", "delay": 0}


def test_tries_again_after_failures(pisync: FleetClient):
    pisync.script(7, [TIMEOUT, TIMEOUT, {"sync_status_code": 200, "delay": 0}])
    assert sync_with_retries(pisync.url, pisync.headers, 7, tries=3)
    assert [log.attempt for log in pisync.errors(device_id=7)] == [2, 1]


def test_gives_up_in_the_end(pisync: FleetClient):
    pisync.script(7, [{**TIMEOUT, "sticky": True}])
    assert not sync_with_retries(pisync.url, pisync.headers, 7, tries=3)
    assert pisync.ledger().failed == {500: {"Connection Timeout": 3}}


@pytest.mark.pisync(devices=1000, profile={"seed": 20261122})
def test_an_hour_of_syncs(pisync: FleetClient):
    pisync.manual_clock()
    for _ in range(6):
        pisync.sync_all()
        pisync.advance(600)
    ledger = pisync.ledger()
    assert ledger.balanced
    assert ledger.accepted == 6000
'''
