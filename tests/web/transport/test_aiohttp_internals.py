"""The fence around aiohttp: what lies behind it is there, is named, and nobody else touches it."""

import ast
import asyncio
import tomllib
from collections.abc import Iterator
from inspect import isclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from packaging.requirements import Requirement

from pisync.web.transport import aiohttp_internals
from pisync.web.transport.aiohttp_internals import INTERNALS
from tests.support.paths import ROOT

FENCE = Path(aiohttp_internals.__file__)
OWNERS = [owner for owner in INTERNALS if isclass(owner)]
PUBLIC_MODULES = {"aiohttp", "aiohttp.abc", "aiohttp.hdrs", "aiohttp.typedefs", "aiohttp.web"}
PUBLIC_ELSEWHERE = {
    *("close", "data_received", "eof_received", "force_close", "keep_alive", "shutdown"),
}
"""Undocumented where they are used, but public members of asyncio's protocols and transports, or of
aiohttp's requests and responses, have the same names."""
HOLDERS = {"request", "message", "self", "response", "connection", "server"}
"""What variables are called that hold one of aiohttp's objects."""


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def members_of(owner: object) -> set[str]:
    """All members of a class or a module, with the attributes that its instances have."""
    return {*dir(owner), *getattr(owner, "__annotations__", {})}


PRIVATE_MEMBERS = {name for owner in OWNERS for name in members_of(owner) if private(name)}
UNDOCUMENTED = {
    name
    for owner, names in INTERNALS.items()
    if isclass(owner)
    for name in names
    if not name.startswith("_")
} - PUBLIC_ELSEWHERE


BASES = {
    "Connection": web.RequestHandler,
    "Protocol": web.RequestHandler,
    "Runner": web.AppRunner,
    "Server": web.Server,
    "aiohttp_internals.Server": web.Server,
}


def own_classes(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, type]]:
    """The classes that derive from one of aiohttp's, with that."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for base in map(ast.unparse, node.bases):
                known = BASES.get(base) or getattr(web, base.removeprefix("web."), None)
                if isclass(known):
                    yield node, known


def imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports, each name with the module that it comes from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_public(imported: str) -> bool:
    module, _, name = imported.rpartition(".")
    if not imported.startswith("aiohttp."):
        return True
    return imported in PUBLIC_MODULES or (
        module in PUBLIC_MODULES and not name.startswith(("http_", "web_")) and name != "http"
    )


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Every attribute that is used, with the text of what it is one of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr


def breaches(source: str) -> Iterator[str]:
    """Uses of what lies behind the fence, in a module outside of it."""
    tree = ast.parse(source)
    yield from (f"imports {name}" for name in imports(tree) if not is_public(name))
    for owner, name in attributes(tree):
        if (name in UNDOCUMENTED and owner in HOLDERS) or (
            name in PRIVATE_MEMBERS and owner not in {"self", "cls"}
        ):
            yield f"uses {owner}.{name}"
    for own, base in own_classes(tree):
        forbidden = {name for name in members_of(base) if private(name)} | UNDOCUMENTED
        for owner, name in attributes(own):
            if owner in {"self", "cls", "super()"} and name in forbidden:
                yield f"uses {owner}.{name} in {own.name}"
        for node in ast.walk(own):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in forbidden:
                yield f"overrides {node.name} in {own.name}"


async def test_aiohttp_has_every_member_that_is_used() -> None:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError

    server = web.Server(handle)
    connection = server()
    assert isinstance(connection, asyncio.Protocol)
    request = make_mocked_request("GET", "/")
    instances: dict[object, object] = {
        web.Server: server,
        web.RequestHandler: connection,
        web.BaseRequest: request,
    }
    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in INTERNALS.items()
        for name in names
        if not hasattr(instances.get(owner, owner), name) and name not in members_of(owner)
    ]
    assert missing == []


def test_the_fence_names_every_private_member_that_it_uses() -> None:
    tree = ast.parse(FENCE.read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = {name for names in INTERNALS.values() for name in names}
    assert (used & PRIVATE_MEMBERS) - named == set()
    assert {name for name in named if private(name)} - used == set()


def test_nobody_else_touches_what_lies_behind_the_fence() -> None:
    found = {
        f"{path.relative_to(ROOT)} {breach}"
        for path in (ROOT / "pisync").rglob("*.py")
        if path != FENCE
        for breach in breaches(path.read_text())
    }
    assert found == set()


@pytest.mark.parametrize(
    "source",
    [
        "from aiohttp.http import HttpVersion11",
        "from aiohttp import http_parser",
        "import aiohttp.web_protocol",
        "def size(request): return request.writer.output_size",
        "def size(request): return request.protocol",
        "def task(connection): return connection._task_handler",
        "class Connection(web.RequestHandler):\n def busy(self): return self._waiter",
        "class Connection(Protocol):\n def handle_error(self): ...",
        "class Answer(web.Response):\n async def _prepare_headers(self): ...",
    ],
)
def test_the_fence_sees_a_breach(source: str) -> None:
    assert [*breaches(source)] != []


@pytest.mark.parametrize(
    "source",
    [
        "from aiohttp import HttpVersion11, hdrs, web",
        "class Feed:\n def busy(self): return self._waiter",
        "class Connection(Protocol):\n def busy(self): return self._refusal",
    ],
)
def test_the_fence_lets_pass_what_is_public(source: str) -> None:
    assert [*breaches(source)] == []


def test_only_versions_that_were_tried_are_admitted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [aiohttp] = [text for text in project["dependencies"] if Requirement(text).name == "aiohttp"]
    assert "<3.15" in str(Requirement(aiohttp).specifier)
