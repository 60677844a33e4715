"""The man pages: one for each command, as the commands are now."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pisync.cli.main import main
from tests.support.node import need
from tools import man

PAGES = sorted(man.FOLDER.glob("*.1"))


@pytest.mark.filterwarnings("ignore:'click.utils.make_default_short_help'")  # click-man uses it
def test_each_command_has_one_that_says_what_its_help_says(tmp_path: Path) -> None:
    man.write(tmp_path)
    written = {page.name: page.read_text() for page in tmp_path.iterdir()}
    assert {page.name: page.read_text() for page in PAGES} == written, "run `make man`"
    assert {"pisync.1", *(f"pisync-{name}.1" for name in main.commands)} <= written.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_it_is_formatted_without_a_warning(page: Path) -> None:
    need(shutil.which("groff"), "needs groff: apt-get install groff-base")
    formatted = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=100n", str(page)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert formatted.stderr == ""
    assert "[OPTIONS]" in formatted.stdout
