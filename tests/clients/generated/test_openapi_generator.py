"""What openapi-generator makes of the OpenAPI document compiles, and makes calls."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.documented import DOCUMENT
from tests.support.generators import generate, openapi_generator, use
from tests.support.node import need, run

pytestmark = pytest.mark.interop

PROGRAMS = Path(__file__).with_name("programs")
GO_LIBRARIES = Path("/usr/share/gocode")
"""Where Debian keeps Go's libraries."""

RENAMED = ("--parameter-name-mappings", "wait=waitSeconds")
"""An option by which no method is called `wait`: every Java object has one already."""
GENERATED_ANNOTATION = """
package javax.annotation;

public @interface Generated { String value(); String date(); String comments(); }
"""
"""What Java no longer brings along; a build gets it from `javax.annotation-api`."""


def test_it_finds_nothing_wrong(document: Path) -> None:
    output = run(openapi_generator(), "validate", "-i", str(document), cwd=document.parent)
    assert "No validation issues detected." in output


@pytest.mark.parametrize("language", ["go", "java", "typescript-fetch"])
def test_names_are_sensible(document: Path, language: str, tmp_path: Path) -> None:
    generate(document, language, tmp_path)
    names = {path.stem.lower().replace("_", "") for path in tmp_path.rglob("*") if path.is_file()}
    schemas = {name.lower() for name in DOCUMENT["components"]["schemas"]} - {
        "scriptbody",
        "faultsbody",
    }
    assert {name for name in schemas if not names & {name, f"model{name}"}} == set()
    odd = [name for name in names if any(part in name for part in ("anyof", "oneof", "inline"))]
    assert odd == []
    assert not names & {"modelerror", "error"}


def test_go_compiles_and_makes_the_calls(document: Path, tmp_path: Path) -> None:
    need(shutil.which("go"), "needs Go: apt-get install golang-go")
    validator = GO_LIBRARIES / "src/gopkg.in/validator.v2"
    need(validator.exists(), "needs a Go library: apt-get install golang-gopkg-validator.v2-dev")
    generate(document, "go", tmp_path / "src/openapi")
    where = {"GO111MODULE": "off", "GOPATH": f"{tmp_path}:{GO_LIBRARIES}"}
    built = str(tmp_path / "calls")
    run("go", "build", "-o", built, str(PROGRAMS / "calls.go"), cwd=tmp_path, **where)
    use(built, cwd=tmp_path)


def test_java_compiles_and_makes_the_calls(document: Path, tmp_path: Path) -> None:
    """Its variant for `java.net.http`, whose libraries are all in the generator's own archive."""
    need(shutil.which("javac"), "needs a JDK: apt-get install default-jdk-headless")
    options = "openApiNullable=false,useJakartaEe=false,useSingleRequestParameter=true"
    generate(
        document,
        "java",
        tmp_path,
        # It writes List<DeviceSpec>.class, which Java does not have, for what may be a list.
        (
            *("--library", "native", "-p", options, "--schema-mappings", "FirstData=Object"),
            *RENAMED,
        ),
    )
    openapi_generator()
    package = find_spec("openapi_generator_cli")
    assert package
    assert package.origin
    archive = Path(package.origin).with_name("openapi-generator.jar")
    source = tmp_path / "src/main/java"
    (source / "javax/annotation").mkdir(parents=True)
    (source / "javax/annotation/Generated.java").write_text(GENERATED_ANNOTATION)
    run(
        *("javac", "-proc:none", "-cp", str(archive), "-sourcepath", str(source)),
        *("-d", "classes", str(PROGRAMS / "Calls.java"), *map(str, source.rglob("*.java"))),
        cwd=tmp_path,
    )
    use("java", "-cp", f"classes:{archive}", "Calls", cwd=tmp_path)
