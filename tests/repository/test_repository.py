"""The repository itself: what is locked, vendored, shipped and run."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pisync
from pisync.config.settings import unknown_variables
from pisync.config.settings_schema import VARIABLES
from tests.support.paths import ROOT

PACKAGE = ROOT / "pisync"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = [
    *sorted(ROOT.glob("requirements*.txt")),
    ROOT / "docker/locust/requirements.txt",
    ROOT / "tests/fuzz/requirements.txt",
    ROOT / "tools/film/requirements.txt",
]
VENDORED = sorted(path for path in (PACKAGE / "web/vendor").iterdir() if path.is_dir())


def locked(path: Path) -> dict[str, str]:
    """Name to version, of every line of a lock file that is no comment and no hash."""
    return {
        canonicalize_name(match["name"]): match["version"]
        for match in re.finditer(
            r"^(?P<name>[\w.-]+)==(?P<version>\S+)", path.read_text(), re.MULTILINE
        )
    }


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
class TestLock:
    def test_names_no_place_that_packages_came_from(self, path: Path) -> None:
        assert (
            re.findall(r".*(?:://|--(?!hash=)|^-| @ |\.(?:org|com|io)\b).*", path.read_text()) == []
        )

    def test_holds_a_hash_for_every_package(self, path: Path) -> None:
        entries = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
        assert len(locked(path)) > 0
        for entry in re.split(r"\n(?=\S)", entries.strip()):
            assert re.fullmatch(
                r"[\w.-]+==\S+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry
            )


def test_the_locks_agree_with_each_other() -> None:
    runtime, build, dev = (
        locked(ROOT / f"requirements{suffix}.txt") for suffix in ("", "-build", "-dev")
    )
    assert runtime.items() <= dev.items()
    assert {name: build[name] for name in build.keys() & dev.keys()}.items() <= dev.items()


@pytest.mark.parametrize(
    ("declared", "lock"),
    [
        (PROJECT["dependencies"], "requirements.txt"),
        (PROJECT["optional-dependencies"]["dev"], "requirements-dev.txt"),
        (PROJECT["optional-dependencies"]["pytest"], "requirements-dev.txt"),
    ],
    ids=["runtime", "dev", "pytest"],
)
def test_a_lock_holds_what_the_project_declares(declared: list[str], lock: str) -> None:
    versions = locked(ROOT / lock)
    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])


def test_a_start_does_not_find_rich() -> None:
    # structlog would import it: see docs/decisions/0006-load-without-rich.md.
    assert "rich" not in locked(ROOT / "requirements.txt")


@pytest.mark.parametrize("folder", VENDORED, ids=lambda path: path.name)
def test_what_is_vendored_has_its_licence_and_version_beside_it(folder: Path) -> None:
    assert (folder / "LICENSE").stat().st_size > 500
    assert re.search(r"\d+\.\d+\.\d+", (folder / "VERSION").read_text())


def test_nothing_is_vendored_outside_a_folder_of_its_own() -> None:
    assert VENDORED
    assert [path for path in (PACKAGE / "web/vendor").iterdir() if path.is_file()] == []


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT
    tracked = subprocess.run(
        ["git", "grep", "-lF", f'"{pisync.__version__}"', "--", ":!tests", ":!*.json"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert tracked.stdout.split() == ["pisync/__init__.py"]


def test_the_wheel_ships_types_pages_vendored_files_licences_and_manuals(
    tmp_path: Path,
) -> None:
    hatchling = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "-d",
        str(tmp_path),
    ]
    subprocess.run(hatchling, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    shipped = set(zipfile.ZipFile(wheel).namelist())
    wanted = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {str(path.relative_to(ROOT)) for path in wanted} <= shipped
    assert "pisync/py.typed" in shipped
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in shipped)
    assert any(name.endswith(".data/data/share/man/man1/pisync-serve.1") for name in shipped)


def test_the_compose_file_hands_every_setting_on() -> None:
    service, _, _ = (ROOT / "docker-compose.yml").read_text().partition("\n    volumes:")
    handed_on = re.findall(r"^ +(PISYNC_\w+):", service, re.MULTILINE)
    assert handed_on == sorted(name for variable in VARIABLES for name in variable.names)


def test_what_only_the_compose_files_read_is_known() -> None:
    read = {
        name
        for path in (ROOT / "docker-compose.yml", *ROOT.glob("docker/compose.*.yml"))
        for name in re.findall(r"\$\{(PISYNC_\w+)", path.read_text())
    }
    assert "PISYNC_MEMORY" in read
    assert unknown_variables(dict.fromkeys(read, "x")) == []


def test_make_help_lists_every_target() -> None:
    targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    # A make above this one would hand it its own options.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    shown = subprocess.run(
        ["make"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert re.findall(r"^  make ([\w-]+) +\S", shown, re.MULTILINE) == targets == phony
    assert {"run", "test", "check", "format", "lock", "image", "up", "down", "clean"} < {*targets}


def test_ci_runs_the_checks_and_then_the_tests() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert os.access(ROOT / ".ci/run", os.X_OK)
    calls = re.findall(r"^(?:if ! )?(?:make|tests) ([\w-]+)", script, re.MULTILINE)
    assert calls == ["check", "audit", "test-next", "test-system", "test"]


def test_what_needs_more_than_python_is_in_the_target_for_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (system,) = re.findall(r"^SYSTEM := \$\(addprefix tests/,(.+)\)$", makefile, re.MULTILINE)
    marked = {
        path.relative_to(ROOT / "tests").parts[0]
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"mark\.(container|browser|interop)", path.read_text())
    }
    assert marked <= {*system.split()}
    assert all((ROOT / "tests" / folder).is_dir() for folder in system.split())


def test_hooks_and_the_hosted_workflow_call_the_same_commands() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"entry: (.+)", hooks) == ["make check"]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    assert re.findall(r"run: .*?(make check|\.ci/run)$", workflow, re.MULTILINE) == [
        "make check",
        ".ci/run",
    ]


def test_each_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    numbers = [int(page.name.partition("-")[0]) for page in pages]
    assert numbers == [*range(1, len(pages) + 1)]
    assert [page.read_text().split(maxsplit=2)[1] for page in pages] == [f"{n}." for n in numbers]
