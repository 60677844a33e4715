"""Schemathesis reads the OpenAPI document and holds a running service to it, word for word."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pisync.in_process import (
    SETTINGS,
    RunningServer,
    running_server,
)
from tests.fuzz.caller import LIMIT, MINUTES, seeds
from tests.support.paths import ROOT


def prepare(server: RunningServer) -> None:
    """Make the fleet that the document's examples name, so that they find what they ask for."""
    fleet = server.client("suite-1")
    fleet.replace()
    fleet.manual_clock()
    fleet.script(7, [{"hold": True}])
    fleet.sync(7)


@pytest.mark.timeout(LIMIT)
def test_the_service_does_what_its_document_says_and_nothing_else() -> None:
    for seed in seeds():
        check(seed)


def check(seed: int) -> None:
    """Run it once, with cases drawn from a seed; with more of them where there is time."""
    more = ["--max-examples=50"] if MINUTES else []
    with running_server(SETTINGS) as server:
        prepare(server)
        token = server.token("devices", "admin", name="admin")
        run = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "--config-file=tests/support/schemathesis.toml",
                "--no-color",
                "run",
                f"--seed={seed}",
                *more,
                f"{server.url}/openapi.json",
            ],
            check=False,
            cwd=ROOT,
            env={**os.environ, "PISYNC_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    assert run.returncode == 0, run.stdout + run.stderr
