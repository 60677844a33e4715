"""The house: which rooms there are, who may import whom, and who alone touches the outside."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "pisync"

# From the bottom up: a room imports from itself and from those before it, never from one beside it.
ROOMS = (
    ("pisync.clocks", "pisync.concurrency", "pisync.model"),
    ("pisync.config", "pisync.telemetry"),
    ("pisync.stores.errors", "pisync.stores.fleet_snapshots"),
    ("pisync.stores.base",),
    ("pisync.stores.changes", "pisync.stores.first_fleets", "pisync.stores.schema"),
    ("pisync.stores.embedded", "pisync.stores.postgres"),
    ("pisync.auth", "pisync.simulation"),
    ("pisync.keys",),
    ("pisync.web.transport.aiohttp_internals",),
    ("pisync.web.contract",),
    ("pisync.fleet_files", "pisync.snapshots", "pisync.web.pipeline"),
    ("pisync.web.handlers",),
    ("pisync.web.routes",),
    ("pisync.web.openapi", "pisync.web.transport"),
    ("pisync.app",),
    ("pisync.client",),
    ("pisync.in_process", "pisync.load"),
    ("pisync.cli", "pisync.pytest_plugin", "pisync.testcontainers"),
    ("pisync.__main__",),
)
KNOWS_AIOHTTP = (
    *("pisync.web", "pisync.app", "pisync.keys", "pisync.cli"),
    *("pisync.load.generator", "pisync.load.run"),
)
READS_THE_ENVIRONMENT = ("pisync.config.settings",)
PICKS_A_STORE = ("pisync.app", "pisync.stores")


def lies_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def room_of(module: str) -> tuple[int, str]:
    """The floor of a module's room, and the room's name; packages between rooms have neither."""
    for floor, rooms in enumerate(ROOMS):
        for room in rooms:
            if lies_in(module, room):
                return floor, room
    if module in {"pisync", "pisync.stores", "pisync.web"}:
        return -1, module
    pytest.fail(f"{module} has no place in ROOMS yet: give it one")


def may_import(module: str, name: str) -> bool:
    (floor, room), (other_floor, other_room) = room_of(module), room_of(name)
    return room == other_room or other_floor < floor


def names_imported(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that an import could mean: `from a import b` may be of module a or a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            assert not node.level, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def touches_the_environment(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
        for node in ast.walk(tree)
    )


def broken_rules(module: str, source: str) -> Iterator[str]:
    tree = ast.parse(source)
    for name in names_imported(tree):
        if (
            lies_in(name, "pisync")
            and name != "pisync.__version__"
            and not may_import(module, name)
        ):
            yield f"{module} imports {name}, from a room above or beside its own"
        if name.startswith("aiohttp") and not lies_in(module, *KNOWS_AIOHTTP):
            yield f"{module} imports {name}"
        if lies_in(name, "environs", "os.environ", "os.getenv") and not lies_in(
            module, *READS_THE_ENVIRONMENT
        ):
            yield f"{module} imports {name}"
        if (
            lies_in(name, "pisync.stores")
            and not lies_in(name, "pisync.stores.base", "pisync.stores.errors")
            and not lies_in(module, *PICKS_A_STORE)
        ):
            yield f"{module} picks a store: {name}"
    if touches_the_environment(tree) and not lies_in(module, *READS_THE_ENVIRONMENT):
        yield f"{module} reads the environment"


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def test_imports_point_one_way_and_each_outside_thing_has_its_place() -> None:
    found = modules()
    del found["pisync"]  # the version, for everyone
    assert "pisync.model.device" in found
    assert [
        rule for name, path in found.items() for rule in broken_rules(name, path.read_text())
    ] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pisync.model.device", "from pisync.stores.base import Store"),
        ("pisync.stores.base", "import pisync.simulation.simulator"),
        ("pisync.simulation.simulator", "from pisync.web.contract import request"),
        ("pisync.simulation.simulator", "import aiohttp"),
        ("pisync.auth.accounts", "from pisync.simulation.events import Broker"),
        ("pisync.auth.accounts", "def late():\n    from aiohttp_jwt import JWTMiddleware"),
        ("pisync.cli.main", "import os\nos.environ['PISYNC_PORT']"),
        ("pisync.app", "from os import getenv"),
        ("pisync.web.handlers.devices", "from pisync.stores.embedded.store import EmbeddedStore"),
        ("pisync.web.handlers.devices", "from pisync.stores import embedded"),
    ],
)
def test_the_import_rules_see_a_breach(module: str, source: str) -> None:
    assert len(list(broken_rules(module, source))) == 1


def test_the_import_rules_allow_what_is_meant() -> None:
    assert (
        list(broken_rules("pisync.app", "from pisync.stores.embedded.store import EmbeddedStore"))
        == []
    )
    assert list(broken_rules("pisync.web.handlers.health", "from aiohttp import web")) == []
    assert list(broken_rules("pisync.config.settings", "import os\nos.environ")) == []


@pytest.mark.parametrize(("folder", "other"), [("bench", "tests"), ("tests", "bench")])
def test_tests_and_benchmarks_do_not_know_each_other(folder: str, other: str) -> None:
    imports = {
        name
        for path in (ROOT / folder).rglob("*.py")
        for name in names_imported(ast.parse(path.read_text()))
    }
    assert {name for name in imports if lies_in(name, folder)}
    assert {name for name in imports if lies_in(name, other)} == set()


MAX_FILES = 12
"""Python files side by side in one folder, its `__init__` aside."""


def folders() -> list[Path]:
    return sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


def test_at_the_top_stand_the_wiring_and_folders() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {
        *("__init__", "__main__", "app", "clocks", "keys"),
    }


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_is_small_and_says_what_lives_there(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= MAX_FILES
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert docstring
    assert docstring.count(".") >= 1


def test_tests_mirror_the_rooms() -> None:
    rooms = {
        path.relative_to(PACKAGE)
        for path in folders()
        if path != PACKAGE and "migrations" not in path.parts
    }
    assert [room for room in sorted(rooms) if not (ROOT / "tests" / room).is_dir()] == []
