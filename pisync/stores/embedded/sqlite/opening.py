"""Opening an SQLite file: whose it is, the lock on it, its schema, and who may read it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from pisync.stores.errors import CannotOpen
from pisync.stores.schema import migrations

APPLICATION_ID = 0x50695379
"""Stands in the head of PiSync's files. Those of 0.1.0 have 0."""


class OpenFile:
    """A file that is open in this process alone, with what lies beside it."""

    def __init__(self, path: Path) -> None:
        """Open the file, make it if there is none, and bring its schema up to date.

        Raises:
            CannotOpen: It can't be used. If it is another program's, nothing was touched.
        """
        refuse_others(path)
        with _naming(path):
            self._lock = _lock(path)
            try:
                self.connection = _open(path)
                self._places = {name: _place(name) for name in _files(path)}
            except BaseException:
                self._lock.release()
                raise

    def check(self) -> None:
        """Return if every file is still where it was: what is written elsewhere would be lost.

        Raises:
            OSError: One was removed or replaced.
        """
        for path, place in self._places.items():
            try:
                is_same = _place(path) == place
            except FileNotFoundError:
                is_same = False
            if not is_same:
                raise OSError(f"{path} was removed or replaced")

    def close(self) -> None:
        """Close the file; another process may open it then."""
        self.connection.close()
        self._lock.release()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of which file it is that it can't be opened, whatever the reason."""
    try:
        yield
    except (CannotOpen, migrations.SchemaRefused) as exc:
        raise CannotOpen(f"{path}: {exc}") from exc
    except Exception as exc:
        raise CannotOpen(f"{path}: {_reason(exc)}") from exc


def refuse_others(path: Path) -> None:
    """Refuse a file that is another program's, or a newer PiSync's; leave nothing beside it.

    Raises:
        CannotOpen: It is, or there is no place for it.
    """
    with _naming(path):
        if not path.parent.is_dir():
            raise CannotOpen(f"there is no directory {path.parent}")
        _check_owner(path)


def _check_owner(path: Path) -> None:
    if not path.exists() or not path.stat().st_size or _beside(path, "-journal").exists():
        return

    def connect() -> sqlite3.Connection:
        # Not even the files of a write-ahead log are made.
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    with engine.connect() as connection:
        if _application_id(connection) not in {0, APPLICATION_ID}:
            raise CannotOpen("this file belongs to another program. Give PiSync one of its own.")
        migrations.check(connection)


def _lock(path: Path) -> FileLock:
    """Take the lock of a file beside it, for as long as the process lives.

    Raises:
        CannotOpen: Another process has it.
    """
    lock = FileLock(_beside(path, ".lock"), timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise CannotOpen("another process has it open") from None
    return lock


def _open(path: Path) -> sqlite3.Connection:
    # It holds password hashes. SQLite gives what it makes beside the file the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for name in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError, PermissionError):
            _beside(path, name).chmod(0o600)
    _migrate(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("SELECT count(*) FROM fleets").fetchall()  # makes the log's files
    return connection


def _migrate(path: Path) -> None:
    # The driver begins no transaction by itself before it makes a table; without one, a start that
    # is cut short would leave half a schema behind. It takes the path as it is, not as a URL.
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(path, isolation_level=None), poolclass=NullPool
    )
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        migrations.upgrade(connection)
        if _application_id(connection) != APPLICATION_ID:
            connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def _application_id(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA application_id").scalar_one())


def _files(path: Path) -> list[Path]:
    return [_beside(path, name) for name in ("", "-wal", "-shm", ".lock")]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _place(path: Path) -> tuple[int, int]:
    """Return what identifies a file, whatever its name: it may be moved or removed."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _reason(exc: Exception) -> str:
    """Say what went wrong in one line, without the statement."""
    if isinstance(exc, DBAPIError):
        return str(exc.orig)
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
