"""The version that was released last, to see what became slower since."""

import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from bench import machine
from bench.servers import PISYNC, ROOT, Server

COMMIT = "5526e9e522dd08f4f2106d38332527e273d8b9b5"
VERSION = f"the release at {COMMIT[:7]}"


def need_history() -> None:
    """See that the released version can be had.

    Raises:
        CannotMeasure: It can't.
    """
    if subprocess.run(_git("cat-file", "-e", COMMIT), capture_output=True, check=False).returncode:
        raise machine.CannotMeasure(f"{VERSION} is not in this clone: git fetch --unshallow")


@contextmanager
def released() -> Iterator[Server]:
    """Unpack the released version; it runs with the packages of today's."""
    archive = subprocess.run(_git("archive", COMMIT, "pisync"), capture_output=True, check=True)
    with tempfile.TemporaryDirectory(prefix="pisync-bench-") as folder:
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        yield replace(PISYNC, name=f"PiSync, {VERSION}", checkout=Path(folder))


def _git(*arguments: str) -> tuple[str, ...]:
    return ("git", "-C", str(ROOT), *arguments)
