"""The TypeScript client's own suite, against the server of this checkout.

It runs as its developers run it: `npm test` in clients/typescript.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pisync.client import FleetClient
from tests.support.paths import ROOT

FOLDER = ROOT / "clients/typescript"
SOURCE = FOLDER / "src"
OLDEST_NODE = 20


def node_version() -> int | None:
    """The major version of Node, None where there is none."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    shown = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return int(shown.stdout.removeprefix("v").partition(".")[0])


def need(condition: object, why: str) -> None:
    """Skip the test unless the condition holds; in CI, fail."""
    if not condition:
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


def npm(*arguments: str) -> None:
    own = {name: text for name, text in os.environ.items() if not name.startswith("PISYNC_")}
    done = subprocess.run(
        ["npm", *arguments],
        cwd=FOLDER,
        env=own
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CHROMIUM": shutil.which("chromium") or "",
            "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1",
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.browser
@pytest.mark.timeout(600)  # it takes less than a minute on a machine that does nothing else
def test_its_own_suite_passes() -> None:
    version = node_version()
    need(version, "needs Node and npm for clients/typescript: apt-get install nodejs npm")
    need(version and version >= OLDEST_NODE, f"needs Node {OLDEST_NODE} or newer")
    need(shutil.which("chromium"), "needs Chromium: apt-get install chromium")
    installed = FOLDER / "node_modules/.package-lock.json"
    lock = FOLDER / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        npm("ci")
    npm("test")


def camel_case(name: str) -> str:
    return re.sub(r"_(.)", lambda match: match[1].upper(), name)


def test_a_fleets_client_has_every_call_that_pythons_has() -> None:
    calls = {name for name in vars(FleetClient) if not name.startswith("_")}
    assert "manual_clock" in calls
    classes = (SOURCE / "fleet.ts").read_text() + (SOURCE / "client.ts").read_text()
    methods = set(
        re.findall(r"^  (?:async |get |readonly )?([a-z]\w*)[(<:]", classes, re.MULTILINE)
    )
    fields = {"token", "admin_token", "timeout"}  # the options of both
    assert {camel_case(name) for name in calls - fields} - methods - {"fleet"} == set()


def test_its_lock_names_no_place_that_packages_came_from() -> None:
    assert '"resolved"' not in (FOLDER / "package-lock.json").read_text()


def test_its_lock_holds_a_hash_for_every_package() -> None:
    lock = (FOLDER / "package-lock.json").read_text()
    versions = len(re.findall(r'^      "version"', lock, re.MULTILINE))
    assert lock.count('"integrity": "sha512-') == versions - 1  # its own, at the top, has none
