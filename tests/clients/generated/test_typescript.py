"""What generators of TypeScript make of the OpenAPI document compiles, and makes calls."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.generators import generate, use
from tests.support.node import INTEROP, interop_tool, run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]  # it may have to install packages

PROGRAMS = Path(__file__).with_name("programs")


def by_openapi_generator(document: Path, folder: Path) -> None:
    options = ("-p", "importFileExtension=.js")
    generate(document, "typescript-fetch", folder / "client", options)


def by_openapi_typescript(document: Path, folder: Path) -> None:
    run(interop_tool("openapi-typescript"), str(document), "-o", "schema.d.ts", cwd=folder)


def by_orval(document: Path, folder: Path) -> None:
    command = (interop_tool("orval"), "--input", str(document), "--client", "fetch")
    run(*command, "--output", "orval.ts", cwd=folder)


@pytest.mark.parametrize(
    ("make", "program"),
    [
        (by_openapi_generator, "fetch"),
        (by_openapi_typescript, "openapi_fetch"),
        (by_orval, "orval_calls"),
    ],
    ids=["openapi-generator", "openapi-typescript", "orval"],
)
def test_it_compiles_and_makes_the_calls(
    make: Callable[[Path, Path], None], program: str, document: Path, tmp_path: Path
) -> None:
    compiler = interop_tool("tsc")
    (tmp_path / "node_modules").symlink_to(INTEROP / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    make(document, tmp_path)
    shutil.copy(PROGRAMS / f"{program}.ts", tmp_path)
    target = ("--target", "es2022", "--module", "nodenext", "--outDir", "built")
    run(compiler, "--strict", *target, f"{program}.ts", cwd=tmp_path)
    use("node", f"built/{program}.js", cwd=tmp_path)
