"""docs/security.md: the tests that it names are there, and what no other test shows."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
PACKAGE = TESTS.parent / "pisync"
PAGE = (TESTS.parent / "docs/security.md").read_text()
ROWS = [
    row
    for row in re.findall(r"^\| (.+) \|$", PAGE, re.MULTILINE)
    if not row.startswith(("---", "threat ", "chapter ", "section ", "who ", "what somebody "))
]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::([\w:]+)`", PAGE)))


def names_in(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield from (f"{node.name}::{name}" for name in names_in(ast.Module(node.body, [])))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda part: part.replace("/", "."))
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert name.rpartition("::")[2].startswith("test_")
    assert name in names_in(ast.parse((TESTS / file).read_text()))


def test_every_row_names_a_test() -> None:
    assert len(ROWS) > 20
    assert [row for row in ROWS if "::test_" not in row] == []


def test_the_service_has_no_http_client() -> None:
    # For Python suites, for `pisync healthcheck` and for `pisync load`: other processes.
    ours = {"client", "cli", "load", "pytest_plugin"}
    clients = re.compile(r"ClientSession|urllib\.request|http\.client|import (httpx|requests)\b")
    found = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if clients.search(path.read_text())
    }
    assert found - ours == set()
    assert found
