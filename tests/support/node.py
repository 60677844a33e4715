"""Node, what the TypeScript client needs of it, and tools that npm has."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "clients/typescript"
INTEROP = ROOT / "tools/interop"
"""Other people's linters, generators and proxies: one installation for all tests."""
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


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have a folder to oneself, with its packages: other workers wait until the end."""
    need_node()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_newer(folder / "node_modules/.package-lock.json", folder / "package-lock.json"):
            run("npm", "ci", cwd=folder)
        yield


@contextmanager
def client_folder() -> Iterator[None]:
    """Have the TypeScript client's folder to oneself, with its packages."""
    with alone_in(FOLDER):
        yield


def interop_tool(name: str) -> str:
    """Return the path of one of `tools/interop`'s programs, installed if it was not."""
    with alone_in(INTEROP):
        return str(INTEROP / "node_modules/.bin" / name)


@contextmanager
def built_client() -> Iterator[None]:
    """Have the client's folder to oneself, with the client built."""
    with client_folder():
        if not is_newer(FOLDER / "dist/index.js", *(FOLDER / "src").glob("*.ts")):
            run("npm", "run", "build")
        yield


def is_newer(made: Path, *sources: Path) -> bool:
    """Whether a file is there, and as new as those that it is made of."""
    newest = max(source.stat().st_mtime for source in sources)
    return made.exists() and made.stat().st_mtime >= newest


def blocks(language: str, text: str) -> list[str]:
    """The blocks of a document whose fences name this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
