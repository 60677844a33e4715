"""What linters say of the OpenAPI document."""

import re
from pathlib import Path

import pytest

from tests.support.documented import DOCUMENT
from tests.support.node import INTEROP, interop_tool, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]  # it may have to install packages


def test_spectral_finds_nothing(document: Path) -> None:
    rules = str(INTEROP / "spectral.yaml")
    command = (interop_tool("spectral"), "lint", "--fail-severity", "hint", "--ruleset", rules)
    assert "No results with a severity" in run(*command, str(document), cwd=document.parent)


def test_redocly_finds_nothing(document: Path) -> None:
    command = (interop_tool("redocly"), "lint", "--config", str(INTEROP / "redocly.yaml"))
    run(*command, str(document), cwd=document.parent, REDOCLY_TELEMETRY="off")


def test_operation_ids_read_as_the_names_of_methods() -> None:
    ids = [call["operationId"] for calls in DOCUMENT["paths"].values() for call in calls.values()]
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []
    assert len(ids) == len(set(ids))
