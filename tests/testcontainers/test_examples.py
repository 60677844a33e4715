"""The examples of docs/testcontainers.md, run against the image."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import node
from tests.support.engine import built_image, docker
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/testcontainers.md").read_text()
# Its image can't be pulled everywhere, and every container here is removed by its test.
NO_REAPER = {"TESTCONTAINERS_RYUK_DISABLED": "true"}

pytestmark = [
    pytest.mark.container,
    pytest.mark.timeout(600),  # the first build downloads the dependencies
]


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with built_image() as name:
        yield name


def example(language: str, image: str) -> str:
    """The page's one example in a language, for this image."""
    [text] = node.blocks(language, PAGE)
    return text.replace("PiSyncContainer(", f'PiSyncContainer("{image}", ').replace(
        'GenericContainer("pisync")', f'GenericContainer("{image}")'
    )


def left_over(image: str) -> str:
    return docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}").strip()


def test_the_example_in_python(image: str, tmp_path: Path) -> None:
    (tmp_path / "test_example.py").write_text(example("python", image))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", tmp_path],
        cwd=tmp_path,
        env=node.environment() | NO_REAPER | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert left_over(image) == ""


def test_the_example_in_node(image: str, tmp_path: Path) -> None:
    node.need_node()
    for file in (ROOT / "tests/testcontainers/node").glob("package*.json"):
        (tmp_path / file.name).write_text(file.read_text())
    node.run("npm", "ci", cwd=tmp_path)
    (tmp_path / "example.js").write_text(example("js", image))
    printed = node.run("node", "example.js", cwd=tmp_path, **NO_REAPER)
    assert printed == "202 202\n"
    assert left_over(image) == ""


def test_the_log_line_and_the_admins_token_are_as_the_page_says(image: str) -> None:
    started = docker("run", "--detach", "--env", f"PISYNC_JWT_SECRET={32 * 'x'}", image).strip()
    try:
        said = re.compile(r'"event":"PiSync \S+ listens on http://\S+ and is ready",')
        deadline = time.monotonic() + 120
        while not said.search(docker("logs", started)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        [mint] = re.findall(r"docker exec CONTAINER (pisync token .+?)`", PAGE)
        token = docker("exec", started, "sh", "-c", mint).strip()
        assert re.fullmatch(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", token)
    finally:
        docker("rm", "--force", "--volumes", started)
