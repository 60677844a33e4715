"""The dashboard's files: what they load, and that they keep to what the page may do."""

import re
from pathlib import Path

import pytest

import pisync
from pisync.web.handlers.pages import DASHBOARD

FOLDER = Path(pisync.__file__).parent / "web/dashboard"
MODULES = sorted(FOLDER.rglob("*.js"))
VENDORED = {
    *("preact.js", "uplot.js", "uplot.css", "pico.css"),
    *("eventsource-parser/parse.js", "eventsource-parser/errors.js"),
}
NOT_SERVED = {"index.html", "types.d.ts"}
"""Served at another path, and for editors and the type check alone."""
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
    assert served == own - NOT_SERVED | VENDORED


def test_every_file_is_loaded_by_the_page_or_by_a_module() -> None:
    page, style = ((FOLDER / name).read_text() for name in ("index.html", "style.css"))
    # Relative to the page, and to the style sheet, so that a proxy may strip a path.
    from_page = {f"/{path}" for path in re.findall(r'"(dashboard/[^"]+)"', page)}
    from_style = {f"/dashboard/{path}" for path in re.findall(r'@import url\("([^"]+)"', style)}
    vendored = {"/dashboard/eventsource-parser/errors.js"}  # by the parser, beside it
    assert from_page.union(from_style, vendored, *map(imported, MODULES)) == {*DASHBOARD}


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
