"""The Docker engine, as tests use it."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.support.paths import ROOT


def docker(*arguments: str, environ: Mapping[str, str] | None = None) -> str:
    """Run a docker command to its good end and return what it printed."""
    return run("docker", *arguments, environ=environ)


def run(*command: str, environ: Mapping[str, str] | None = None) -> str:
    """Run a command to its good end and return what it printed."""
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def unset_settings() -> dict[str, str]:
    """Return this process's environment without settings: the default deployment is meant."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PISYNC_")}


def need_engine() -> None:
    """Skip a test where there is no engine; fail it where nothing may be wanting."""
    for needed in (["info"], ["compose", "version"], ["buildx", "version"]):
        try:
            docker(*needed)
        except (AssertionError, FileNotFoundError):
            why = f"needs Docker with BuildKit and Compose v2: `docker {' '.join(needed)}` failed"
            if os.environ.get("CI") == "true":
                pytest.fail(why)
            pytest.skip(why)


@contextmanager
def built_image() -> Iterator[str]:
    """Build the image, where there is an engine, and have it until the end of the `with` block."""
    need_engine()
    name = f"pisync-test-{uuid4().hex[:8]}"
    docker("build", "--quiet", "--tag", name, ".")
    try:
        yield name
    finally:
        docker("image", "rm", "--force", name)
