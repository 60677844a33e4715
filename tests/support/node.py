"""Node, and what the TypeScript client needs of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "clients/typescript"
OLDEST_NODE = 20
ADDRESS = "http://127.0.0.1:8080"
"""What documents write for the server's address."""


def need(condition: object, why: str) -> None:
    """Skip the test unless the condition holds; in CI, fail it."""
    if not condition:
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)


def need_node() -> None:
    """Skip the test, or in CI fail it, where there is no Node that is new enough."""
    need(shutil.which("node") and shutil.which("npm"), "needs Node: apt-get install nodejs npm")
    shown = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    major = int(shown.stdout.removeprefix("v").partition(".")[0])
    need(major >= OLDEST_NODE, f"needs Node {OLDEST_NODE} or newer, not {shown.stdout.strip()}")


def environment() -> dict[str, str]:
    """The process's own, without settings; `pisync` is the checkout's."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("PISYNC_")}
    return own | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CHROMIUM": shutil.which("chromium") or "",
        "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1",
        "NO_COLOR": "1",
    }


def run(*command: str, cwd: Path = FOLDER, **variables: str) -> str:
    """Run a command; return what it printed. Fail the test if the command fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install() -> None:
    """Install the packages that the lock names, unless they are there."""
    installed = FOLDER / "node_modules/.package-lock.json"
    lock = FOLDER / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("npm", "ci")


def build() -> None:
    """Build the client, unless what was built is newer than its source."""
    built = FOLDER / "dist/index.js"
    sources = (FOLDER / "src").glob("*.ts")
    if not built.exists() or built.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        run("npm", "run", "build")


def blocks(language: str, text: str) -> list[str]:
    """The blocks of a document whose fences name this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
