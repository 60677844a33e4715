"""The file by which `pisync serve` tells a program where it listens."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from pisync import __version__
from pisync.web.transport.addresses import url


class CannotWriteReadyFile(Exception):
    """The file can't be written, or an earlier one can't be removed."""


def ready_file_path(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """Check the option, as a callback of click.

    Raises:
        click.BadParameter: No file can be made there.
    """
    if path is not None and not os.access(path.parent, os.W_OK):
        problem = "can't write to" if path.parent.is_dir() else "there is no"
        raise click.BadParameter(f"{problem} directory {path.parent}")
    return path


def write_ready_file(
    path: Path, addresses: Sequence[tuple[str, int]], *, tls: bool = False
) -> None:
    """Write the file at once: whoever sees it sees all of it.

    Args:
        path: Where the file goes; one that is there is replaced.
        addresses: Hosts and ports that this process accepts connections on, one at least.
        tls: Whether they are reached by HTTPS.

    Raises:
        CannotWriteReadyFile: The disk is full, for one.
    """
    urls = [url(*address, tls=tls) for address in addresses]
    content = {"url": urls[0], "urls": urls, "pid": os.getpid(), "version": __version__}
    # In the same folder: a rename is atomic only within a file system.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(content) + "\n")
        unfinished.replace(path)
    except OSError as exc:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise CannotWriteReadyFile(f"Can't write {path}: {exc.strerror}") from exc


@contextmanager
def only_while_serving(path: Path | None) -> Iterator[None]:
    """Remove the file of an earlier run now, and this process's own at the end of the block.

    Raises:
        CannotWriteReadyFile: The file of an earlier run can't be removed.
    """
    if path is None:
        yield
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise CannotWriteReadyFile(f"Can't remove {path}: {exc.strerror}") from exc
    try:
        yield
    finally:
        # Another process may have taken the path over meanwhile.
        with suppress(OSError, ValueError):
            if json.loads(path.read_text())["pid"] == os.getpid():
                path.unlink()
