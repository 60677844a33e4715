"""The dashboard's files: what they load, and that they keep to what the page may do."""

import re
from pathlib import Path

import pytest

import pisync
from pisync.web.handlers.pages import DASHBOARD

FOLDER = Path(pisync.__file__).parent / "web/dashboard"
MODULES = sorted(FOLDER.rglob("*.js"))
VENDORED = {"preact.js", "uplot.js", "uplot.css", "pico.css"}
IMPORTED = re.compile(r'^(?:import|export)\b[^;]*?from "(?P<path>[^"]+)";', re.MULTILINE)


def imported(module: Path) -> set[str]:
    """The paths that a module imports, as a browser asks for them."""
    folder = Path("/dashboard") / module.relative_to(FOLDER).parent
    return {
        path if path.startswith("/") else re.sub(r"[\w-]+/\.\./", "", str(folder / path))
        for path in IMPORTED.findall(module.read_text())
    }


def test_every_file_of_the_dashboard_is_served_and_no_other() -> None:
    own = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    served = {path.removeprefix("/dashboard/") for path in DASHBOARD}
    assert served == own - {"index.html"} | VENDORED


def test_every_file_is_loaded_by_the_page_or_by_a_module() -> None:
    page = (FOLDER / "index.html").read_text() + (FOLDER / "style.css").read_text()
    loaded = set(re.findall(r'"(/dashboard/[^"]+)"', page)).union(*map(imported, MODULES))
    assert loaded == {*DASHBOARD}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_does_nothing_that_the_policy_forbids(module: Path) -> None:
    source = module.read_text()
    assert re.findall(r"\beval\(|new Function|innerHTML|setAttribute\(.style", source) == []
    assert re.findall(r'\sstyle="', source) == []
    assert re.findall(r"https?://", source) == []
    assert re.findall(r"localStorage|document\.cookie", source) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_says_what_it_is_for(module: Path) -> None:
    assert re.match(r"// [A-Z].+[.;]\n", module.read_text())
