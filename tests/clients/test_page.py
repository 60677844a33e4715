"""The shell examples of docs/clients.md that tests/repository/test_docs.py does not run."""

import re
import shutil
from collections.abc import Iterator

import pytest

from pisync.in_process import RunningServer, running_server
from tests.support import node
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/clients.md").read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


def block_of(heading: str) -> str:
    """The one shell example below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (found,) = node.blocks("sh", section)
    return found


@pytest.mark.parametrize(
    ("heading", "program", "package", "shows"),
    [
        ("HTTPie", "http", "httpie", '"sync_status_code": ?202'),
        ("wrk", "wrk", "wrk", r"requests in"),
    ],
)
def test_a_shell_example(
    server: RunningServer, heading: str, program: str, package: str, shows: str
) -> None:
    node.need(shutil.which(program), f"needs {program}: apt-get install {package}")
    script = (
        block_of(heading)
        .replace(node.ADDRESS, server.url)
        .replace("http --", "http --ignore-stdin --")
    )
    printed = node.run("bash", "-ec", script, cwd=ROOT, TOKEN=server.token("devices"))
    assert re.search(shows, printed)
    assert "Non-2xx" not in printed


def test_every_row_of_the_table_has_its_section() -> None:
    linked = re.findall(r"^\| \[.+?\]\(#(.+?)\)", PAGE, re.MULTILINE)
    assert len(linked) == 10
    headings = {heading.lower() for heading in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)}
    assert set(linked) <= headings
